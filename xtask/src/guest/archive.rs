//! An initramfs: a cpio archive in the "newc" format (the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;
use std::path::{Component, Path};

/// The archive so far.
pub(super) struct Archive {
    bytes: Vec<u8>,
    there: BTreeSet<String>,
    inode: u32,
}

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

impl Archive {
    /// An empty one.
    pub(super) fn new() -> Self {
        Archive {
            bytes: Vec::new(),
            there: BTreeSet::new(),
            inode: 0,
        }
    }

    /// Adds a directory and those above it.
    pub(super) fn directory(&mut self, path: &str) {
        let mut name = String::new();
        for part in Path::new(path).components() {
            // The archive's names are relative to its root.
            if let Component::Normal(part) = part {
                if !name.is_empty() {
                    name.push('/');
                }
                name.push_str(&part.to_string_lossy());
                if self.there.insert(name.clone()) {
                    self.entry(&name, DIRECTORY, &[]);
                }
            }
        }
    }

    /// Adds a file that may be executed, unless its path is taken, and the directories above it.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) {
        let name = path.trim_start_matches('/').to_owned();
        if let Some((above, _)) = name.rsplit_once('/') {
            self.directory(above);
        }
        if self.there.insert(name.clone()) {
            self.entry(&name, PROGRAM, content);
        }
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.inode += 1;
        let links = if mode == DIRECTORY { 2 } else { 1 };
        let fields = [
            self.inode,
            mode,
            0, // owner
            0, // group
            links,
            0, // time of change
            content.len() as u32,
            0, // device, major and minor
            0,
            0, // device number of the node itself
            0,
            name.len() as u32 + 1,
            0, // checksum, unused in this format
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Header with name, and content, each end on a multiple of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_before_what_is_in_them_and_once() {
        let mut archive = Archive::new();
        archive.file("/a/b/one", b"1");
        archive.file("/a/b/two", b"22");
        archive.file("/a/b/two", b"again");
        let text = String::from_utf8(archive.finish()).unwrap();
        let names: Vec<&str> = text
            .split("070701")
            .skip(1)
            .map(|entry| entry[104..].split('\0').next().unwrap())
            .collect();
        assert_eq!(names, ["a", "a/b", "a/b/one", "a/b/two", "TRAILER!!!"]);
        assert_eq!(text.len() % 4, 0);
        assert!(!text.contains("again"));
    }
}
