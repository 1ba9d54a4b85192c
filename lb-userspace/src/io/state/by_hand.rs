//! What operators have set by hand for real servers, a line for each ([`Kept`]).

use std::path::Path;

use super::{StateError, replace};
use crate::health::Kept;

const NAME: &str = "by-hand";

/// What the predecessor left in `dir`; nothing if there is no file. Lines that make no sense are passed
/// over.
#[must_use]
pub fn read(dir: &Path) -> Vec<Kept> {
    let text = std::fs::read_to_string(dir.join(NAME)).unwrap_or_default();
    text.lines().filter_map(|l| l.parse().ok()).collect()
}

/// Writes all that is set by hand.
///
/// # Errors
/// When the file cannot be written.
pub fn write(dir: &Path, kept: &[Kept]) -> Result<(), StateError> {
    let text: String = kept.iter().map(|k| format!("{k}\n")).collect();
    replace(&dir.join(NAME), &text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::ByHand;
    use crate::model::{Protocol, ServiceKey};

    #[test]
    fn what_one_daemon_was_told_the_next_one_knows() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), []);
        let kept = |addr: &str, weight, disabled| Kept {
            service: ServiceKey {
                addr: addr.parse().unwrap(),
                port: 80,
                protocol: Protocol::Udp,
            },
            server: ("10.0.0.1".parse().unwrap(), 80),
            configured: 3,
            by_hand: ByHand { weight, disabled },
        };
        let all = [
            kept("192.0.2.1", Some(0), false),
            kept("2001:db8::1", Some(7), true),
            kept("192.0.2.2", None, true),
        ];
        write(dir.path(), &all).unwrap();
        assert_eq!(read(dir.path()), all);
        let path = dir.path().join(NAME);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text.lines().next(),
            Some("UDP 192.0.2.1:80 10.0.0.1:80 3 weight=0")
        );
        let wrong = "UDP 192.0.2.1:80 10.0.0.1:80 x\n\nUDP 192.0.2.1:80 10.0.0.1:80 3 weight=70000\n\
                     ICMP 192.0.2.1:80 10.0.0.1:80 3\nUDP 192.0.2.1:80 10.0.0.1:80 3 more\n";
        std::fs::write(&path, format!("{wrong}{text}")).unwrap();
        assert_eq!(read(dir.path()), all);
        write(dir.path(), &[]).unwrap();
        assert_eq!(read(dir.path()), []);
    }
}
