//! What an event may cost, whatever keepalived's pair pays for it.

use std::time::Duration;

use super::{Pairing, Row, Walk};

/// The skew of priority 99, in intervals.
const SKEW: f64 = 157.0 / 256.0;
/// How long it takes such a backup to give a silent master up.
pub(super) const DOWN: f64 = 3.0 + SKEW;

/// The most that the client may be without answers in one walk on a machine that does other things
/// too; `None` where keepalived alone has it in its hands.
#[must_use]
pub fn bound(walk: &Walk, row: Row) -> Option<Duration> {
    use Pairing::{KeepalivedKeepalived, KeepalivedOurs, OursKeepalived, OursOurs};
    let busy = Duration::from_millis(300);
    let down = walk.advert().mul_f64(DOWN) + busy;
    let skew = walk.advert().mul_f64(SKEW) + busy;
    let nothing = Duration::from_millis(100);
    match (row, walk.pairing) {
        (_, KeepalivedKeepalived) | (Row::Start | Row::StartAlone, _) => None,
        (Row::PowerLoss | Row::LinkDown | Row::LocalDown, _) => Some(down),
        // keepalived takes the address off before anybody else has it.
        (Row::Stop, KeepalivedOurs) => Some(skew),
        // It takes its own address away when it starts again.
        (Row::Kill, KeepalivedOurs) => None,
        (
            Row::Kill
            | Row::Stop
            | Row::Election
            | Row::ElectionAlone
            | Row::PowerReturn
            | Row::StopReturn
            | Row::LinkUp
            | Row::LocalUp
            | Row::Partition
            | Row::Heal
            | Row::Lowered
            | Row::Restored
            | Row::Release
            | Row::Takeover,
            OursKeepalived | KeepalivedOurs | OursOurs,
        ) => Some(if walk.pairing == OursOurs {
            nothing
        } else {
            busy
        }),
    }
}
