//! What is known of a packet for a service once its headers have been read.

use core::arch::asm;

use lb_common::flow::{flow_tag, wide_tag};
use lb_common::hash::{addr_words, fold_addr};
use lb_common::maps::{SERVICE_ANY_PORT, SERVICE_WIDE, ServiceSlot, Settings};
use lb_common::reason::Reason;

use crate::maps::params;

/// TCP: its flags are in the low byte of [`Session::flags`].
pub(crate) const IS_TCP: u32 = 0x100;
/// SCTP: the type of the first chunk is in the low byte.
pub(crate) const IS_SCTP: u32 = 0x200;
/// IPv6.
pub(crate) const IS_V6: u32 = 0x400;
/// An ICMP error about the connection, which it neither begins nor changes.
pub(crate) const IS_ERROR: u32 = 0x800;
/// The first of several fragments.
pub(crate) const IS_FIRST_FRAGMENT: u32 = 0x1000;
/// The flow's tag lacks the client's address: it is compared too.
pub(crate) const IS_WIDE: u32 = 0x2000;
/// Where [`IS_FIRST_FRAGMENT`] is set: this host is a real server of the service.
pub(crate) const IS_LOCAL: u32 = 0x4000;

/// A packet and its connection, about which is to be decided. For an ICMP error the connection that
/// it is about.
#[repr(C)]
pub(crate) struct Session {
    pub(crate) service: *const ServiceSlot,
    pub(crate) tag: u64,
    /// The client's address as in the packet; IPv4: in the first word, the others zero.
    pub(crate) client: [u32; 4],
    /// TCP flags or chunk type and `IS_*` bits.
    pub(crate) flags: u32,
    pub(crate) now: u32,
    /// The client's port as in the packet.
    pub(crate) port: u16,
    /// The service's id.
    pub(crate) id: u16,
    /// Where the IP header begins in the frame, 14 to 22.
    pub(crate) l3: u32,
    /// Length of the IP packet.
    pub(crate) ip_len: u32,
    /// Identification, where [`IS_FIRST_FRAGMENT`] is set.
    pub(crate) fragment: u32,
}

impl Session {
    /// Stores the session word by word, none of which the verifier knows: it would else walk what
    /// follows once for each combination of flags, families and places of the header.
    ///
    /// # Safety
    /// `to` may be written.
    #[inline(always)]
    pub(crate) unsafe fn store(self, to: *mut Session, veil: u64) {
        let client = self.client_words();
        let port_id_l3 = u64::from(self.port) | u64::from(self.id) << 16 | u64::from(self.l3) << 32;
        // SAFETY: the structure is these words (checked below).
        unsafe {
            (&raw mut (*to).service).write_volatile(self.service);
            let to = to.cast::<u64>();
            to.add(1).write_volatile(self.tag ^ veil);
            to.add(2).write_volatile(client[0] ^ veil);
            to.add(3).write_volatile(client[1] ^ veil);
            to.add(4)
                .write_volatile((u64::from(self.flags) | u64::from(self.now) << 32) ^ veil);
            to.add(5).write_volatile(port_id_l3 ^ veil);
            to.add(6)
                .write_volatile((u64::from(self.ip_len) | u64::from(self.fragment) << 32) ^ veil);
        }
    }

    #[inline(always)]
    pub(crate) fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// The client's address as two words.
    #[inline(always)]
    pub(crate) fn client_words(&self) -> [u64; 2] {
        addr_words(self.client)
    }
}

const _: () = assert!(
    core::mem::offset_of!(Session, client) == 16
        && core::mem::offset_of!(Session, flags) == 32
        && core::mem::offset_of!(Session, now) == 36
        && core::mem::offset_of!(Session, port) == 40
        && core::mem::offset_of!(Session, id) == 42
        && core::mem::offset_of!(Session, l3) == 44
        && core::mem::offset_of!(Session, ip_len) == 48
        && core::mem::offset_of!(Session, fragment) == 52
        && size_of::<Session>() == 56
);

/// The tag of a flow. The client as `addr_words`, ports as in the packet.
#[inline(always)]
pub(crate) fn tag(
    client: [u64; 2],
    client_port: u16,
    vip_port: u16,
    id: u16,
    service_flags: u32,
) -> u64 {
    if service_flags & SERVICE_WIDE == 0 {
        return flow_tag(client[0] as u32, client_port, id);
    }
    let fold = fold_addr(client, params().hash_seed);
    let rest = if service_flags & SERVICE_ANY_PORT != 0 {
        u32::from(vip_port) << 16 | fold >> 16
    } else {
        fold
    };
    wide_tag(rest, client_port, id)
}

/// 0, but the verifier does not know: it would follow each value of an index, of a rank by itself
/// and not come to an end. Joined with this they are any number to it, and it follows them once.
#[inline(always)]
pub(crate) fn veil(settings: *const Settings) -> u64 {
    // SAFETY: within the element.
    unsafe { core::ptr::read_volatile(&raw const (*settings).zero) }
}

/// What a function returns in one register: a number below this, or a reason above it.
pub(crate) const FIRST_REASON: u32 = 1 << 16;

/// The two in one register.
#[inline(always)]
pub(crate) fn pack(answer: Result<u16, Reason>) -> u32 {
    match answer {
        Ok(number) => u32::from(number),
        Err(reason) => {
            let mut number = reason as u8;
            // The compiler would compute this beside the branch too, out of what is in the register
            // when there is no reason: perhaps a pointer.
            // SAFETY: changes nothing: it is a byte.
            unsafe { asm!("{0} &= 255", inout(reg) number, options(nomem, nostack)) };
            FIRST_REASON + u32::from(number)
        }
    }
}

/// What [`pack`] packed.
#[inline(always)]
pub(crate) fn unpack(answer: u32) -> Result<u32, Reason> {
    if answer < FIRST_REASON {
        return Ok(answer);
    }
    let number = answer - FIRST_REASON;
    if number as usize >= Reason::COUNT {
        return Err(Reason::Internal);
    }
    // SAFETY: a reason's number, the numbers being 0..COUNT without a gap.
    Err(unsafe { core::mem::transmute::<u8, Reason>(number as u8) })
}
