//! The echo of `PING_CHECK`: ICMP (RFC 792) and ICMPv6 (RFC 4443).

/// What is sent along: 56 octets, as by ping(8).
const DATA: &[u8; 56] = b"lbd PING_CHECK - lbd PING_CHECK - lbd PING_CHECK - lbd P";
const HEADER: usize = 8;
/// What is looked at of a packet; IPv4 may have 60 octets in front.
pub const LONGEST: usize = 60 + HEADER + DATA.len() + 1;
const ICMP: u8 = 1;

/// An echo that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// ICMPv6 instead of ICMP.
    pub v6: bool,
    /// Identifier and sequence number, by which the answer is known.
    pub id: [u8; 4],
}

impl Echo {
    /// The ICMP message that asks for it. The checksum of ICMPv6, which is over the addresses too, is
    /// left to the kernel.
    #[must_use]
    pub fn request(self) -> Vec<u8> {
        let mut out = self.message(if self.v6 { 128 } else { 8 });
        if !self.v6 {
            let sum = !sum(&out);
            out[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        out
    }

    fn message(self, kind: u8) -> Vec<u8> {
        let mut out = vec![kind, 0, 0, 0];
        out.extend(self.id);
        out.extend(DATA);
        out
    }

    /// Whether a packet is the answer. Of IPv4 it begins with the IP header, of IPv6 with the ICMPv6
    /// message, as the kernel gives them; its checksum must be right in IPv4, and in IPv6 it was.
    #[must_use]
    pub fn is_answered_by(self, packet: &[u8]) -> bool {
        let Some(message) = self.icmp(packet) else {
            return false;
        };
        let want = self.message(if self.v6 { 129 } else { 0 });
        message.len() == want.len()
            && message[..2] == want[..2]
            && message[4..] == want[4..]
            && (self.v6 || sum(message) == 0xffff)
    }

    fn icmp(self, packet: &[u8]) -> Option<&[u8]> {
        if self.v6 {
            return Some(packet);
        }
        let length = usize::from(packet.first()? & 0xf) * 4;
        (packet.get(9) == Some(&ICMP)).then(|| packet.get(length..))?
    }

    /// Whether an ICMP error is about this question, of which it carries the beginning.
    #[must_use]
    pub fn is(self, message: &[u8]) -> bool {
        let kind = if self.v6 { 128 } else { 8 };
        message.len() >= HEADER && message[..2] == [kind, 0] && message[4..8] == self.id
    }
}

/// The sum of RFC 1071, not complemented.
pub(super) fn sum(octets: &[u8]) -> u16 {
    let words = octets.chunks(2).map(|w| {
        let low = w.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([w[0], low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn echo(v6: bool) -> Echo {
        Echo {
            v6,
            id: [1, 2, 3, 4],
        }
    }

    /// What a host makes of a question.
    fn answer(echo: Echo) -> Vec<u8> {
        let mut message = echo.request();
        if echo.v6 {
            message[0] = 129;
            return message;
        }
        message[0] = 0;
        message[2..4].fill(0);
        let sum = !sum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut packet = vec![0x45; 20];
        packet[9] = 1;
        packet.extend(message);
        packet
    }

    #[test]
    fn the_checksum_is_that_of_other_programs() {
        // RFC 1071, section 3.
        assert_eq!(sum(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
        assert_eq!(sum(&echo(false).request()), 0xffff);
    }

    #[test]
    fn only_its_own_answer_counts() {
        for v6 in [false, true] {
            let e = echo(v6);
            let a = answer(e);
            assert!(e.is_answered_by(&a));
            assert!(!e.is_answered_by(&e.request()), "the question itself");
            let other = Echo {
                id: [1, 2, 3, 5],
                ..e
            };
            assert!(!other.is_answered_by(&a));
            assert!(!e.is_answered_by(&[&a[..], b"!"].concat()), "longer");
            assert!(e.is(&e.request()) && e.is(&e.request()[..8]));
            assert!(!e.is(&e.request()[..7]) && !other.is(&e.request()) && !e.is(&a));
        }
        // Options of IPv4.
        let a = answer(echo(false));
        let mut long = vec![0x46; 24];
        long[9] = 1;
        long.extend(&a[20..]);
        assert!(echo(false).is_answered_by(&long));
        let mut udp = a;
        udp[9] = 17;
        assert!(!echo(false).is_answered_by(&udp));
    }

    proptest! {
        #[test]
        fn what_is_changed_or_cut_is_no_answer(v6: bool, at: u16, bits in 1u8.., junk: Vec<u8>) {
            let e = echo(v6);
            let _ = (e.is_answered_by(&junk), e.is(&junk));
            let mut a = answer(e);
            let at = usize::from(at) % a.len();
            prop_assert!(!e.is_answered_by(&a[..at]));
            // What stands in the IP header beside its length, and the checksum of ICMPv6, are the
            // kernel's.
            let first = if v6 { 4 } else { 20 };
            if at >= first {
                a[at] ^= bits;
                prop_assert!(!e.is_answered_by(&a));
            }
        }
    }
}
