//! What the router is told beside the model.

use std::time::Duration;

use crate::time::Time;

/// Times that are ours, not the protocol's. The defaults are what the daemon uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long an instance that yielded keeps its addresses after the winner was heard; the
    /// winner adds its address and sends its gratuitous ARPs within this time.
    pub linger: Duration,
    /// What is added to the longest skew that a successor can have before a leaving master stops
    /// waiting for one.
    pub handover_margin: Duration,
    /// Shortest time between two blocks of gratuitous ARPs caused by adverts of others.
    pub garp_gap: Duration,
    /// Shortest time between two adverts caused by adverts of others.
    pub answer_gap: Duration,
    /// How often a master repeats one gratuitous ARP for each address, right behind an advert;
    /// zero: never; more often where adverts come more than ten times in it. `garp_master_refresh` of the
    /// configuration takes its place.
    pub refresh: Duration,
    /// How many addresses one such refresh covers at most; the next one goes on from there.
    pub refresh_addresses: usize,
    /// Version 3: a master's interval may exceed ours by this factor at its first advert...
    pub stretch: u32,
    /// ... or reach this time, whichever is more ...
    pub stretch_floor: Duration,
    /// ... and any value when this many adverts in a row from the same source said so.
    pub stretch_adverts: u32,
    /// How often the same notice may be given.
    pub notice_gap: Duration,
    /// How often an instance may say that something was rejected, whatever it is: who sends nonsense
    /// does not fill the log.
    pub line_gap: Duration,
    /// How often an instance may name a new master.
    pub master_gap: Duration,
    /// How often an instance may say that it heard an advert of lower priority.
    pub heard_gap: Duration,
    /// How soon a refused address is tried again.
    pub retry: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            linger: Duration::from_millis(150),
            handover_margin: Duration::from_millis(250),
            garp_gap: Duration::from_millis(20),
            answer_gap: Duration::from_millis(5),
            refresh: Duration::from_secs(1),
            refresh_addresses: 16,
            stretch: 3,
            stretch_floor: Duration::from_secs(1),
            stretch_adverts: 3,
            notice_gap: Duration::from_secs(10),
            line_gap: Duration::from_secs(1),
            master_gap: Duration::from_millis(100),
            heard_gap: Duration::from_millis(100),
            retry: Duration::from_secs(1),
        }
    }
}

/// What an earlier daemon of this host left, for one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// It was MASTER when it was last seen.
    pub was_master: bool,
    /// When it last sent an advert with a priority other than 0.
    pub last_advert_sent: Time,
    /// AH: the sequence number of its last advert.
    pub sequence: u32,
}
