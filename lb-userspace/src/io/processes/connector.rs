//! The kernel's process connector (`cn_proc`): who begins, is named anew, ends.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// `CN_IDX_PROC` and `CN_VAL_PROC`.
const PROC: u32 = 1;
/// `PROC_CN_MCAST_LISTEN`.
const LISTEN: u32 = 1;
/// Of `struct nlmsghdr` and `struct cn_msg`.
const HEADERS: usize = 16 + 20;
/// Of `struct proc_event` before its union.
const EVENT: usize = 16;

/// What happened to a process (not to a thread of it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It was made by another.
    Began {
        /// Who made it.
        parent: i32,
        /// It.
        process: i32,
    },
    /// It runs another program, or has another name.
    Changed(i32),
    /// It has ended.
    Ended(i32),
    /// There was more than could be kept.
    Missed,
}

#[derive(Debug)]
pub(super) struct Connector {
    socket: OwnedFd,
}

impl AsFd for Connector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Connector {
    /// Listens. Needs CAP_NET_ADMIN, and to be in the first network namespace.
    pub(super) fn open() -> io::Result<Connector> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no pointers.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_CONNECTOR) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it is new and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zeros is one.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = PROC;
        let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: the address is as long as is said.
        let bound = unsafe { libc::bind(fd, (&raw const address).cast(), length) };
        if bound < 0 {
            return Err(io::Error::last_os_error());
        }
        let total = HEADERS + 4;
        let mut request = Vec::with_capacity(total);
        request.extend((total as u32).to_ne_bytes());
        request.extend((libc::NLMSG_DONE as u16).to_ne_bytes());
        request.extend([0; 10]);
        for word in [PROC, PROC, 0, 0] {
            request.extend(word.to_ne_bytes());
        }
        request.extend(4u16.to_ne_bytes());
        request.extend([0; 2]);
        request.extend(LISTEN.to_ne_bytes());
        // SAFETY: the buffer is as long as is said.
        let sent = unsafe { libc::send(fd, request.as_ptr().cast(), request.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Connector { socket })
    }

    /// What has happened; none when nothing has.
    pub(super) fn next(&self) -> Option<News> {
        loop {
            let mut buffer = [0u8; 1024];
            let fd = self.socket.as_raw_fd();
            // SAFETY: the buffer is as long as is said.
            let got = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            let Ok(got) = usize::try_from(got) else {
                let error = io::Error::last_os_error();
                return match error.raw_os_error() {
                    Some(libc::ENOBUFS) => Some(News::Missed),
                    Some(libc::EINTR) => continue,
                    _ => None,
                };
            };
            if let Some(news) = parse(&buffer[..got.min(buffer.len())]) {
                return Some(news);
            }
        }
    }
}

/// A datagram of the connector; none when it is of no interest.
fn parse(datagram: &[u8]) -> Option<News> {
    let word = |at: usize| {
        let bytes = datagram.get(HEADERS + at..HEADERS + at + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let id = |n: usize| Some(word(EVENT + 4 * n)?.cast_signed());
    match word(0)? {
        // Fork: of a process, not of a thread.
        0x1 => {
            let (parent, child, process) = (id(1)?, id(2)?, id(3)?);
            (child == process).then_some(News::Began { parent, process })
        }
        // Exec, and a name given by prctl(2) to the first thread.
        0x2 => Some(News::Changed(id(1)?)),
        0x200 => (id(0)? == id(1)?).then_some(News::Changed(id(1)?)),
        0x8000_0000 => (id(0)? == id(1)?).then_some(News::Ended(id(1)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: u32, ids: &[u32]) -> Vec<u8> {
        let mut out = vec![0; HEADERS];
        out.extend(what.to_ne_bytes());
        out.extend([0; 12]);
        for id in ids {
            out.extend(id.to_ne_bytes());
        }
        out
    }

    #[test]
    fn events_are_those_of_processes() {
        let began = News::Began {
            parent: 7,
            process: 9,
        };
        for (what, ids, want) in [
            (1, &[8, 7, 9, 9][..], Some(began)),
            (1, &[8, 7, 10, 9], None),
            (2, &[11, 9], Some(News::Changed(9))),
            (0x200, &[9, 9], Some(News::Changed(9))),
            (0x200, &[10, 9], None),
            (0x8000_0000, &[9, 9, 0, 0], Some(News::Ended(9))),
            (0x8000_0000, &[10, 9, 0, 0], None),
            (4, &[9, 9], None),
            (1, &[8, 7], None),
        ] {
            assert_eq!(parse(&event(what, ids)), want, "{what:#x} {ids:?}");
        }
        assert_eq!(parse(&[0; 20]), None);
    }
}
