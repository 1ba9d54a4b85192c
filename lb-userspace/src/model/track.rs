//! What changes the priority of instances.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Script, ServiceKey};

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

/// `track_file`: a file with a number in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrackFile {
    /// Its name, unique.
    pub name: String,
    /// `file`.
    pub path: String,
    /// `init_file`: what it is made with when it is not there.
    #[serde(default)]
    pub init: Option<InitFile>,
}

/// `init_file`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitFile {
    /// -2147483648..=2147483648.
    pub value: i64,
    /// `overwrite`: at the start of the daemon also a file that is there.
    #[serde(default)]
    pub overwrite: bool,
}

impl TrackFile {
    /// The values that a file may have.
    pub const VALUES: std::ops::RangeInclusive<i64> = -0x8000_0000..=0x8000_0000;

    /// The number that a file begins with, as `strtol` reads it: white space, a sign, then decimal,
    /// `0x` or `0` digits; 0 without any. None when it is out of [`TrackFile::VALUES`].
    #[must_use]
    pub fn value(text: &[u8]) -> Option<i64> {
        let text = text.trim_ascii_start();
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (radix, digits) = match text {
            [b'0', b'x' | b'X', rest @ ..] if rest.first().is_some_and(u8::is_ascii_hexdigit) => {
                (16, rest)
            }
            [b'0', ..] => (8, text),
            rest => (10, rest),
        };
        let digits = digits
            .iter()
            .map_while(|b| char::from(*b).to_digit(radix))
            .try_fold(0i64, |sum, digit| {
                sum.checked_mul(radix.into())?.checked_add(digit.into())
            })?;
        let value = if negative { -digits } else { digits };
        TrackFile::VALUES.contains(&value).then_some(value)
    }
}

/// Something that is followed, and what it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Track {
    /// Name of an interface, or of a [`VrrpScript`], [`TrackFile`], [`super::TrackProcess`] or
    /// [`super::Bfd`] that exists.
    pub name: String,
    /// -254..=254. Of what is good or bad: above 0 added while it is good; below: subtracted while it
    /// is bad; 0: FAULT while it is bad. A file's value is multiplied by it; 0: FAULT unless it is 0.
    pub weight: i16,
    /// `reverse`: adds become subtractions and the reverse; with weight 0, FAULT while it is good.
    #[serde(default)]
    pub reverse: bool,
}

/// A service that is followed: good while it has its quorum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceTrack {
    /// A service that exists, or one of a group's.
    pub key: ServiceKey,
    /// As in [`Track`].
    pub weight: i16,
    /// As in [`Track`].
    #[serde(default)]
    pub reverse: bool,
}

/// What an instance or a sync group follows. Nothing has a weight where weights mean nothing: at the
/// owner of the addresses, and in a group without `tracking_weight`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tracks {
    /// `track_interface`: good while it is up. The instance's own must be up anyhow.
    pub interfaces: Vec<Track>,
    /// `track_script`.
    pub scripts: Vec<Track>,
    /// `track_file`.
    pub files: Vec<Track>,
    /// `track_process`.
    pub processes: Vec<Track>,
    /// `track_bfd`: sessions that instances hear of.
    pub bfds: Vec<Track>,
    /// lbd's own `track_service`.
    pub services: Vec<ServiceTrack>,
    /// `track_group` of which an instance is a member: FAULT while a static address, route or rule of
    /// it cannot be set. None of a sync group.
    pub statics: Vec<String>,
}

impl Tracks {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        let named = [
            &self.interfaces,
            &self.scripts,
            &self.files,
            &self.processes,
            &self.bfds,
        ];
        named.iter().map(|t| t.len()).sum::<usize>() + self.services.len() + self.statics.len()
    }

    /// These and those of `group`.
    #[must_use]
    pub fn and(&self, group: &Tracks) -> Tracks {
        Tracks {
            interfaces: [&*self.interfaces, &group.interfaces].concat(),
            scripts: [&*self.scripts, &group.scripts].concat(),
            files: [&*self.files, &group.files].concat(),
            processes: [&*self.processes, &group.processes].concat(),
            bfds: [&*self.bfds, &group.bfds].concat(),
            services: [&*self.services, &group.services].concat(),
            statics: self.statics.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TrackFile;

    #[test]
    fn a_file_is_read_as_strtol_reads_it() {
        for (text, want) in [
            ("", Some(0)),
            ("\n", Some(0)),
            ("7\n", Some(7)),
            (" \t-12x", Some(-12)),
            ("+5 6", Some(5)),
            ("0x1F", Some(31)),
            ("-0X10", Some(-16)),
            ("0xg", Some(0)),
            ("017", Some(15)),
            ("09", Some(0)),
            ("no", Some(0)),
            ("--3", Some(0)),
            ("2147483648", Some(2_147_483_648)),
            ("-2147483648", Some(-2_147_483_648)),
            ("2147483649", None),
            ("-2147483649", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(TrackFile::value(text.as_bytes()), want, "{text:?}");
        }
    }
}
