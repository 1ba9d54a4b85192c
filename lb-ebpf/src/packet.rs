//! Reading a frame.

use aya_ebpf::programs::XdpContext;
use lb_common::flow::flow_tag;
use lb_common::maps::service_key;
use lb_common::reason::Reason;

const ETHER_LEN: usize = 14;
const ETHERTYPE_IPV4: u16 = 0x0800u16.to_be();
/// More-fragments flag and fragment offset.
const FRAGMENT: u16 = 0x3fffu16.to_be();
const FRAGMENT_OFFSET: u16 = 0x1fffu16.to_be();
/// Protocol number of TCP.
pub(crate) const TCP: u8 = 6;
/// Protocol number of UDP.
pub(crate) const UDP: u8 = 17;

/// An IPv4 TCP or UDP packet whose ports can be read.
pub(crate) struct Packet {
    data: usize,
    end: usize,
    l4: usize,
    /// Length of the IP packet.
    pub(crate) ip_len: u32,
    /// Length of what follows the IP header.
    l4_len: u32,
    /// Protocol number: [`TCP`] or [`UDP`].
    pub(crate) proto: u8,
    /// Whether it is the first of several fragments.
    pub(crate) first_fragment: bool,
    saddr: u32,
    daddr: u32,
    ports: u32,
}

/// Reads a field of the frame.
///
/// # Safety
/// The field lies within the frame, as compared with its end. Drivers align frames so that the IP
/// header is (`NET_IP_ALIGN`) or the CPU does not care; the kernel's own loads rely on it too.
#[inline(always)]
unsafe fn field<T: Copy>(at: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { *(at as *const T) }
}

impl Packet {
    /// Reads the headers, or says why the frame is none of our business.
    #[inline(always)]
    pub(crate) fn parse(ctx: &XdpContext) -> Result<Packet, Reason> {
        let (data, end) = (ctx.data(), ctx.data_end());
        if data + ETHER_LEN > end {
            return Err(Reason::NotIp);
        }
        // SAFETY (all of this function): each field was compared with `end` right before.
        unsafe {
            if field::<u16>(data + 12) != ETHERTYPE_IPV4 {
                return Err(Reason::NotIp);
            }
            if data + ETHER_LEN + 20 > end {
                return Err(Reason::Malformed);
            }
            let version_len = field::<u8>(data + 14);
            let header_len = usize::from(version_len & 15) * 4;
            let ip_len = u32::from(u16::from_be(field(data + 16)));
            if version_len >> 4 != 4 || header_len < 20 || ip_len > (end - data - ETHER_LEN) as u32
            {
                return Err(Reason::Malformed);
            }
            let fragment = field::<u16>(data + 20) & FRAGMENT;
            let proto = field::<u8>(data + 23);
            if proto != TCP && proto != UDP {
                return Err(Reason::OtherProtocol);
            }
            if fragment & FRAGMENT_OFFSET != 0 {
                return Err(Reason::LaterFragment);
            }
            let l4 = data + ETHER_LEN + header_len;
            // Eight bytes have the ports; with less the stack discards it.
            if l4 + 8 > end || ip_len < header_len as u32 + 8 {
                return Err(Reason::Malformed);
            }
            Ok(Packet {
                data,
                end,
                l4,
                ip_len,
                l4_len: ip_len - header_len as u32,
                proto,
                first_fragment: fragment != 0,
                saddr: field(data + 26),
                daddr: field(data + 30),
                ports: field(l4),
            })
        }
    }

    /// The key of the service that it is for, if that exists.
    #[inline(always)]
    pub(crate) fn service_key(&self) -> u64 {
        service_key(self.daddr, (self.ports >> 16) as u16, self.proto)
    }

    /// The tag of its flow.
    #[inline(always)]
    pub(crate) fn flow_tag(&self, service: u16) -> u64 {
        flow_tag(self.saddr, self.ports as u16, service)
    }

    /// The client's address.
    #[inline(always)]
    pub(crate) fn client(&self) -> u32 {
        self.saddr
    }

    /// The client's port.
    #[inline(always)]
    pub(crate) fn client_port(&self) -> u16 {
        self.ports as u16
    }

    /// The flags of the TCP header.
    #[inline(always)]
    pub(crate) fn tcp_flags(&self) -> Result<u8, Reason> {
        if self.l4 + 20 > self.end || self.l4_len < 20 {
            return Err(Reason::ShortHeader);
        }
        // SAFETY: just compared.
        Ok(unsafe { field(self.l4 + 13) })
    }

    /// Destination MAC: its first four bytes and its last two.
    #[inline(always)]
    pub(crate) fn dmac(&self) -> (u32, u16) {
        // SAFETY: `parse` saw the Ethernet header.
        unsafe { (field(self.data), field(self.data + 4)) }
    }

    /// Source MAC as `mac_key` makes it.
    #[inline(always)]
    pub(crate) fn smac_key(&self) -> u64 {
        // SAFETY: `parse` saw the Ethernet header.
        unsafe {
            u64::from(field::<u32>(self.data + 6)) | u64::from(field::<u16>(self.data + 10)) << 32
        }
    }

    /// Where the IP header starts in the frame.
    #[inline(always)]
    pub(crate) fn l3(&self) -> u32 {
        ETHER_LEN as u32
    }

    /// A number that all packets of a flow have in common.
    #[inline(always)]
    pub(crate) fn flow_hash(&self) -> u32 {
        self.saddr ^ self.ports
    }

    /// Where the frame starts; its first 34 bytes are there.
    #[inline(always)]
    pub(crate) fn start(&self) -> usize {
        self.data
    }
}
