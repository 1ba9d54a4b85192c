//! The end of an answer in chunks (RFC 9112, section 7.1).

use super::Progress;

/// Where in the chunks the last byte was.
#[derive(Clone, Copy, Debug)]
enum At {
    /// In the digits of a size.
    Size { size: u64, digits: u8 },
    /// Behind them.
    Extension { size: u64 },
    /// In the data, which has so many bytes left.
    Data { left: u64 },
    /// Behind the data, before the newline.
    DataEnd,
    /// Behind the last chunk; `empty`: this line has nothing so far.
    Trailer { empty: bool },
    /// What came is not in chunks: it ends with the connection.
    Broken,
}

/// A reader of chunks, which come in pieces of any size.
#[derive(Debug)]
pub(super) struct Chunks(At);

impl Default for Chunks {
    fn default() -> Self {
        Chunks(At::Size { size: 0, digits: 0 })
    }
}

impl Chunks {
    /// Takes in what came and gives the data in it to `data`; how much of it belongs to the answer,
    /// and whether that was the end.
    pub(super) fn take(&mut self, bytes: &[u8], mut data: impl FnMut(&[u8])) -> (usize, Progress) {
        let mut i = 0;
        while let Some(&b) = bytes.get(i) {
            i += 1;
            self.0 = match (self.0, b) {
                (At::Size { size, digits }, b) if b.is_ascii_hexdigit() => {
                    let digit = char::from(b).to_digit(16).unwrap_or(0);
                    match digits {
                        15.. => At::Broken,
                        _ => At::Size {
                            size: size << 4 | u64::from(digit),
                            digits: digits + 1,
                        },
                    }
                }
                (At::Size { digits: 0, .. }, _) => At::Broken,
                (At::Size { size, .. } | At::Extension { size }, b'\n') => match size {
                    0 => At::Trailer { empty: true },
                    left => At::Data { left },
                },
                (At::Size { size, .. } | At::Extension { size }, _) => At::Extension { size },
                (At::Data { left }, _) => {
                    let rest = &bytes[i - 1..];
                    let most = usize::try_from(left).unwrap_or(usize::MAX);
                    let n = most.min(rest.len());
                    data(&rest[..n]);
                    i += n - 1;
                    match left - n as u64 {
                        0 => At::DataEnd,
                        left => At::Data { left },
                    }
                }
                (At::DataEnd, b'\r') => At::DataEnd,
                (At::DataEnd, b'\n') => At::Size { size: 0, digits: 0 },
                (At::DataEnd, _) => At::Broken,
                (At::Trailer { empty: true }, b'\n') => return (i, Progress::Complete),
                (At::Trailer { empty: false }, b'\n') => At::Trailer { empty: true },
                (At::Trailer { empty }, b'\r') => At::Trailer { empty },
                (At::Trailer { .. }, _) => At::Trailer { empty: false },
                (At::Broken, _) => At::Broken,
            };
            if let At::Broken = self.0 {
                data(&bytes[i - 1..]);
                return (bytes.len(), Progress::More);
            }
        }
        (i, Progress::More)
    }
}
