//! What changes the priority of instances.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Script;

/// `vrrp_script`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VrrpScript {
    /// Its name, unique.
    pub name: String,
    /// What is run, as `user` or `script_user`.
    pub script: Script,
    /// `interval`, default 1 s: from one start to the next.
    pub interval: Duration,
    /// `timeout`, default `interval`.
    pub timeout: Duration,
    /// `rise`, at least 1: so many successes in a row until it counts as good.
    pub rise: u32,
    /// `fall`, at least 1: so many failures in a row until it counts as bad.
    pub fall: u32,
    /// `init_fail`: bad until it has risen; otherwise the first run decides.
    #[serde(default)]
    pub init_fail: bool,
}

/// A line of `track_script`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Track {
    /// Name of a [`VrrpScript`] that exists.
    pub name: String,
    /// -253..=253. Above 0: added while it is good; below: subtracted while it is bad; 0: FAULT while
    /// it is bad.
    pub weight: i16,
    /// `reverse`: adds become subtractions and the reverse; with weight 0, FAULT while it is good.
    #[serde(default)]
    pub reverse: bool,
}
