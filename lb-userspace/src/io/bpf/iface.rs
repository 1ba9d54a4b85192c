//! What the kernel says of an interface: index, MAC, XDP program. Asked by netlink, since sysfs
//! shows the interfaces of the network namespace in which it was mounted.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use super::error::BpfError;

// include/uapi/linux/rtnetlink.h, if_link.h.
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLMSG_ERROR: u16 = 2;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const NLA_TYPE_MASK: u16 = 0x3fff;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct ifinfomsg`.
const IFINFO: usize = 16;

/// How an XDP program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XdpMode {
    /// By the driver, before a packet buffer is made.
    Native,
    /// By the kernel's stack.
    Generic,
}

impl XdpMode {
    /// `native` or `generic`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            XdpMode::Native => "native",
            XdpMode::Generic => "generic",
        }
    }
}

/// An interface as the kernel has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct IfaceState {
    pub(super) ifindex: u32,
    pub(super) mac: Option<[u8; 6]>,
    /// Mode and id of the XDP program.
    pub(super) xdp: Option<(Option<XdpMode>, u32)>,
}

/// Asks for an interface of this thread's network namespace.
pub(super) fn query(ifname: &str) -> Result<IfaceState, BpfError> {
    ask(ifname).map_err(|source| match source.raw_os_error() {
        Some(libc::ENODEV) => BpfError::NoInterface {
            ifname: ifname.to_owned(),
        },
        _ => BpfError::Netlink {
            ifname: ifname.to_owned(),
            source,
        },
    })
}

fn ask(ifname: &str) -> io::Result<IfaceState> {
    // SAFETY: a plain system call.
    let fd = unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::NETLINK_ROUTE,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let request = request(ifname)?;
    // SAFETY: the buffer lives through the call.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            request.as_ptr().cast(),
            request.len(),
            0,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut buffer = vec![0u8; 64 * 1024];
    // SAFETY: the buffer lives through the call and its size is given.
    let got = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
        )
    };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    answer(&buffer[..got.min(buffer.len())])
}

fn request(ifname: &str) -> io::Result<Vec<u8>> {
    // IFNAMSIZ with its zero.
    if ifname.is_empty() || ifname.len() > 15 || ifname.bytes().any(|b| b == 0) {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    let mut name = ifname.as_bytes().to_vec();
    name.push(0);
    let attribute = 4 + name.len();
    name.resize(name.len().next_multiple_of(4), 0);
    let len = HEADER + IFINFO + 4 + name.len();
    let mut out = Vec::with_capacity(len);
    out.extend((len as u32).to_ne_bytes());
    out.extend(RTM_GETLINK.to_ne_bytes());
    out.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    out.extend([0; 8]);
    out.extend([0; IFINFO]);
    out.extend((attribute as u16).to_ne_bytes());
    out.extend(IFLA_IFNAME.to_ne_bytes());
    out.extend(name);
    Ok(out)
}

fn answer(bytes: &[u8]) -> io::Result<IfaceState> {
    let short = || {
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "a netlink answer that is cut off",
        )
    };
    let kind = u16_at(bytes, 4).ok_or_else(short)?;
    if kind == NLMSG_ERROR {
        let code = u32_at(bytes, HEADER).ok_or_else(short)? as i32;
        return Err(io::Error::from_raw_os_error(-code));
    }
    if kind != RTM_NEWLINK {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not the answer to the question",
        ));
    }
    let mut state = IfaceState {
        ifindex: u32_at(bytes, HEADER + 4).ok_or_else(short)?,
        ..IfaceState::default()
    };
    for (kind, value) in attributes(bytes.get(HEADER + IFINFO..).ok_or_else(short)?) {
        match kind {
            IFLA_ADDRESS => state.mac = value.try_into().ok(),
            IFLA_XDP => state.xdp = xdp(value),
            _ => {}
        }
    }
    Ok(state)
}

fn xdp(nested: &[u8]) -> Option<(Option<XdpMode>, u32)> {
    let (mut mode, mut program) = (None, 0);
    for (kind, value) in attributes(nested) {
        match kind {
            // XDP_ATTACHED_DRV, XDP_ATTACHED_SKB; hardware and several at once are not ours.
            IFLA_XDP_ATTACHED => {
                mode = match value.first() {
                    Some(1) => Some(XdpMode::Native),
                    Some(2) => Some(XdpMode::Generic),
                    _ => None,
                }
            }
            IFLA_XDP_PROG_ID => program = u32_at(value, 0).unwrap_or(0),
            _ => {}
        }
    }
    (program != 0).then_some((mode, program))
}

/// The attributes of a netlink message: type and value.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & NLA_TYPE_MASK;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_index_1() {
        assert_eq!(query("lo").unwrap().ifindex, 1);
        assert!(matches!(
            query("no-such-iface"),
            Err(BpfError::NoInterface { .. })
        ));
        assert!(matches!(
            query("a-name-that-is-too-long"),
            Err(BpfError::NoInterface { .. })
        ));
    }

    #[test]
    fn an_answer_that_is_cut_off_is_an_error() {
        let mut whole = vec![0u8; HEADER + IFINFO];
        whole[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
        whole[HEADER + 4] = 7;
        whole.extend([10, 0, 1, 0, 2, 0, 0, 0, 0, 9, 0, 0]);
        let state = answer(&whole).unwrap();
        assert_eq!((state.ifindex, state.mac), (7, Some([2, 0, 0, 0, 0, 9])));
        for end in 0..HEADER + IFINFO {
            assert!(answer(&whole[..end]).is_err(), "{end}");
        }
        for end in HEADER + IFINFO..whole.len() - 2 {
            assert_eq!(answer(&whole[..end]).unwrap().mac, None, "{end}");
        }
    }
}
