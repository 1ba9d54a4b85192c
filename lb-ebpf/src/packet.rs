//! Reading a frame of the plain kind: Ethernet, IPv4 without options or IPv6 without extension
//! headers, TCP or UDP in one piece. All others are read by [`unusual`](crate::unusual).

use aya_ebpf::bindings::xdp_md;
use lb_common::reason::Reason;

/// Length of an Ethernet header.
pub(crate) const ETHER_LEN: usize = 14;
/// As it lies in the frame.
pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800u16.to_be();
/// As it lies in the frame.
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86ddu16.to_be();
/// More-fragments flag and fragment offset.
pub(crate) const FRAGMENT: u16 = 0x3fffu16.to_be();
/// Protocol number of TCP.
pub(crate) const TCP: u8 = 6;
/// Protocol number of UDP.
pub(crate) const UDP: u8 = 17;
/// Protocol number of SCTP.
pub(crate) const SCTP: u8 = 132;

/// Reads a field of the frame.
///
/// # Safety
/// The field lies within the frame, as compared with its end. Drivers align frames so that the IP
/// header is (`NET_IP_ALIGN`) or the CPU does not care; the kernel's own loads rely on it too.
#[inline(always)]
pub(crate) unsafe fn field<T: Copy>(at: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { *(at as *const T) }
}

/// Where the frame begins and ends, read again from the context: what was compared before does not
/// hold in another function. Volatile, or the compiler makes numbers of them and hands those over,
/// and leaves out a comparison that another one implies though the verifier does not see that.
#[inline(always)]
pub(crate) fn bounds(ctx: *mut xdp_md) -> (usize, usize) {
    // SAFETY: the context of an XDP program.
    unsafe {
        (
            core::ptr::read_volatile(&raw const (*ctx).data) as usize,
            core::ptr::read_volatile(&raw const (*ctx).data_end) as usize,
        )
    }
}

/// A frame of the plain kind.
pub(crate) struct Plain {
    /// Where it lies.
    pub(crate) frame: usize,
    /// Length of the IP packet.
    pub(crate) ip_len: u32,
    /// [`TCP`] or [`UDP`].
    pub(crate) proto: u8,
    /// The flags of the TCP header; UDP: 0.
    pub(crate) tcp_flags: u8,
    /// Source port, then destination port, as in the packet.
    pub(crate) ports: u32,
    /// Source, as `addr_words`; IPv4: in the lower half of the first, the rest zero.
    pub(crate) source: [u64; 2],
    /// Destination, in the same way.
    pub(crate) destination: [u64; 2],
}

impl Plain {
    /// Where the IP header begins.
    #[inline(always)]
    pub(crate) fn ip(&self) -> usize {
        self.frame + ETHER_LEN
    }

    /// Reads a frame whose Ethernet header (which is there) says IPv4 or IPv6; `None` when it is not
    /// of the plain kind or something is wrong with it.
    #[inline(always)]
    pub(crate) fn read<const V6: bool>(frame: usize, end: usize) -> Option<Plain> {
        let ip = frame + ETHER_LEN;
        let header_len = if V6 { 40 } else { 20 };
        let l4 = ip + header_len;
        if l4 + 8 > end {
            return None;
        }
        // SAFETY (all of this function): each field was compared with `end` before.
        unsafe {
            let (is_plain, ip_len, proto) = if V6 {
                (
                    field::<u8>(ip) >> 4 == 6,
                    u32::from(u16::from_be(field(ip + 4))) + 40,
                    field::<u8>(ip + 6),
                )
            } else {
                (
                    field::<u8>(ip) == 0x45 && field::<u16>(ip + 6) & FRAGMENT == 0,
                    u32::from(u16::from_be(field(ip + 2))),
                    field::<u8>(ip + 9),
                )
            };
            let least = header_len as u32 + if proto == TCP { 20 } else { 8 };
            if !is_plain
                || proto != TCP && proto != UDP
                || ip_len < least
                || ip_len > (end - ip) as u32
            {
                return None;
            }
            let mut tcp_flags = 0;
            if proto == TCP {
                if l4 + 20 > end {
                    return None;
                }
                tcp_flags = field(l4 + 13);
            }
            Some(Plain {
                frame,
                ip_len,
                proto,
                tcp_flags,
                ports: field(l4),
                source: if V6 {
                    field(ip + 8)
                } else {
                    [u64::from(field::<u32>(ip + 12)), 0]
                },
                destination: if V6 {
                    field(ip + 24)
                } else {
                    [u64::from(field::<u32>(ip + 16)), 0]
                },
            })
        }
    }

    /// A packet to itself would come back for ever from a server that answers.
    #[inline(always)]
    pub(crate) fn not_land(&self) -> Result<(), Reason> {
        if self.source == self.destination {
            return Err(Reason::Land);
        }
        Ok(())
    }
}
