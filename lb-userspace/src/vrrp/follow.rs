//! What instances follow, and what that does to their priority.

use std::collections::{BTreeMap, BTreeSet};

use super::event::{Followed, LinkState, Reason};
use super::net::Net;
use super::track::{Scripts, Standing};
use crate::model::{ServiceTrack, Track, Tracks};

/// The priority of an address owner, which nothing changes.
const OWNER: u8 = 255;
/// At this and below a track is a fault (keepalived's limit of a file's value times its weight).
const FAULT: i64 = -254;

/// What is known of everything that is followed.
#[derive(Debug, Default)]
pub(super) struct Following {
    pub(super) scripts: Scripts,
    /// Values of files; none when nothing was told yet.
    files: BTreeMap<String, i64>,
    /// Services and the like: whether they are good.
    others: BTreeMap<(Followed, String), bool>,
}

/// What a track does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Nothing is known yet.
    Unknown,
    /// This is added to the priority.
    Adds(i32),
    /// Its instance cannot take part.
    Fault,
}

fn adds(sum: i64) -> Effect {
    match sum {
        ..=FAULT => Effect::Fault,
        sum => Effect::Adds(i32::try_from(sum.min(253)).unwrap_or(253)),
    }
}

/// Of something that is good or bad.
fn standing(standing: Standing, weight: i16, reverse: bool) -> Effect {
    let good = match standing {
        Standing::Unknown => return Effect::Unknown,
        Standing::Good => true,
        Standing::Bad => false,
    };
    if weight == 0 {
        return match good == reverse {
            true => Effect::Fault,
            false => Effect::Adds(0),
        };
    }
    let counts = if good == (weight > 0) { weight } else { 0 };
    adds(i64::from(if reverse { -counts } else { counts }))
}

/// Of a file.
fn value(value: Option<i64>, track: &Track) -> Effect {
    let Some(value) = value else {
        return Effect::Unknown;
    };
    if track.weight == 0 {
        return match (value == 0) == track.reverse {
            true => Effect::Fault,
            false => Effect::Adds(0),
        };
    }
    let product = value.saturating_mul(track.weight.into());
    adds(if track.reverse { -product } else { product })
}

impl Following {
    /// Keeps of what was told only what somebody follows.
    pub(super) fn retain(&mut self, tracks: &[Tracks]) {
        let files: BTreeSet<&str> = tracks
            .iter()
            .flat_map(|t| &t.files)
            .map(|t| t.name.as_str())
            .collect();
        self.files.retain(|name, _| files.contains(name.as_str()));
        let processes: BTreeSet<&str> = tracks
            .iter()
            .flat_map(|t| &t.processes)
            .map(|t| t.name.as_str())
            .collect();
        let bfds: BTreeSet<&str> = tracks
            .iter()
            .flat_map(|t| &t.bfds)
            .map(|t| t.name.as_str())
            .collect();
        let services: BTreeSet<String> = tracks
            .iter()
            .flat_map(|t| &t.services)
            .map(|t| t.key.to_string())
            .collect();
        let statics: BTreeSet<&String> = tracks.iter().flat_map(|t| &t.statics).collect();
        self.others.retain(|(what, name), _| match what {
            Followed::Statics => statics.contains(name),
            Followed::Service => services.contains(name),
            Followed::Process => processes.contains(name.as_str()),
            Followed::Bfd => bfds.contains(name.as_str()),
            Followed::File | Followed::Interface => false,
        });
    }

    /// A file was read; whether its value is another one.
    pub(super) fn file(&mut self, name: &str, value: i64) -> bool {
        self.files.insert(name.to_owned(), value) != Some(value)
    }

    /// Something is good or not; whether that is new.
    pub(super) fn told(&mut self, what: Followed, name: &str, good: bool) -> bool {
        self.others.insert((what, name.to_owned()), good) != Some(good)
    }

    fn other(&self, what: Followed, name: String) -> Standing {
        match self.others.get(&(what, name)) {
            None => Standing::Unknown,
            Some(true) => Standing::Good,
            Some(false) => Standing::Bad,
        }
    }

    fn service(&self, track: &ServiceTrack) -> Effect {
        let now = self.other(Followed::Service, track.key.to_string());
        standing(now, track.weight, track.reverse)
    }

    /// What each track does, but for scripts and what must be up anyhow.
    fn effects<'t>(
        &'t self,
        tracks: &'t Tracks,
        net: &'t Net,
    ) -> impl Iterator<Item = (Effect, Followed, String)> + 't {
        let interface = move |t: &'t Track| {
            let now = match net.link(&t.name) {
                None => Standing::Unknown,
                Some(LinkState::Up) => Standing::Good,
                Some(LinkState::Down | LinkState::Gone) => Standing::Bad,
            };
            let effect = standing(now, t.weight, t.reverse);
            (effect, Followed::Interface, t.name.clone())
        };
        let file = |t: &'t Track| {
            let effect = value(self.files.get(&t.name).copied(), t);
            (effect, Followed::File, t.name.clone())
        };
        let named = move |t: &'t Track, what: Followed| {
            let now = self.other(what, t.name.clone());
            (standing(now, t.weight, t.reverse), what, t.name.clone())
        };
        let process = move |t| named(t, Followed::Process);
        let bfd = move |t| named(t, Followed::Bfd);
        let service = |t: &'t ServiceTrack| (self.service(t), Followed::Service, t.key.to_string());
        let statics = move |name: &'t String| {
            let now = self.other(Followed::Statics, name.clone());
            (standing(now, 0, false), Followed::Statics, name.clone())
        };
        let interfaces = tracks.interfaces.iter().filter(|t| !must_be_up(t));
        interfaces
            .map(interface)
            .chain(tracks.files.iter().map(file))
            .chain(tracks.processes.iter().map(process))
            .chain(tracks.bfds.iter().map(bfd))
            .chain(tracks.services.iter().map(service))
            .chain(tracks.statics.iter().map(statics))
    }

    /// Of a script.
    fn script(&self, t: &Track) -> Effect {
        standing(self.scripts.standing(&t.name), t.weight, t.reverse)
    }

    /// Why an instance with these tracks cannot take part.
    pub(super) fn fault(&self, tracks: &Tracks, net: &Net) -> Option<Reason> {
        let mut scripts = tracks.scripts.iter();
        if let Some(t) = scripts.find(|t| self.script(t) == Effect::Fault) {
            let name = t.name.clone();
            return Some(Reason::Script { name });
        }
        self.effects(tracks, net).find_map(|(effect, what, name)| {
            (effect == Effect::Fault).then_some(Reason::Followed { what, name })
        })
    }

    /// Whether an instance with these tracks must wait until more is known. The first run of a script
    /// with a weight may come later, the others are known at once.
    pub(super) fn waits(&self, tracks: &Tracks, net: &Net) -> bool {
        let mut plain = tracks.scripts.iter().filter(|t| t.weight == 0);
        plain.any(|t| self.script(t) == Effect::Unknown)
            || self
                .effects(tracks, net)
                .any(|(effect, ..)| effect == Effect::Unknown)
    }

    /// The effective priority: 1..=254, or 255 of an owner.
    pub(super) fn priority(&self, base: u8, tracks: &Tracks, net: &Net) -> u8 {
        if base == OWNER {
            return OWNER;
        }
        let scripts = tracks.scripts.iter().map(|t| self.script(t));
        let others = self.effects(tracks, net).map(|(effect, ..)| effect);
        let sum: i32 = scripts
            .chain(others)
            .map(|effect| match effect {
                Effect::Adds(n) => n,
                Effect::Unknown | Effect::Fault => 0,
            })
            .sum();
        u8::try_from((i32::from(base) + sum).clamp(1, 254)).unwrap_or(1)
    }
}

/// Whether this is an interface without which an instance is in FAULT.
pub(super) fn must_be_up(interface: &Track) -> bool {
    interface.weight == 0 && !interface.reverse
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::time::Time;
    use Effect::{Adds, Fault, Unknown};

    fn track(name: &str, weight: i16, reverse: bool) -> Track {
        Track {
            name: name.to_owned(),
            weight,
            reverse,
        }
    }

    #[test]
    fn what_is_good_or_bad_counts_by_the_sign_of_its_weight() {
        use Standing::{Bad, Good};
        for (now, weight, reverse, want) in [
            (Good, 10, false, Adds(10)),
            (Good, -10, false, Adds(0)),
            (Bad, 10, false, Adds(0)),
            (Bad, -10, false, Adds(-10)),
            (Good, 10, true, Adds(-10)),
            (Good, -10, true, Adds(0)),
            (Bad, 10, true, Adds(0)),
            (Bad, -10, true, Adds(10)),
            (Good, 254, false, Adds(253)),
            (Bad, -253, false, Adds(-253)),
            (Bad, -254, false, Fault),
            (Good, 254, true, Fault),
            (Good, 0, false, Adds(0)),
            (Bad, 0, false, Fault),
            (Good, 0, true, Fault),
            (Bad, 0, true, Adds(0)),
            (Standing::Unknown, 0, false, Unknown),
            (Standing::Unknown, 9, true, Unknown),
        ] {
            let got = standing(now, weight, reverse);
            assert_eq!(got, want, "{now:?} {weight} {reverse}");
        }
    }

    #[test]
    fn a_value_is_multiplied_by_its_weight() {
        for (read, weight, reverse, want) in [
            (Some(0), 1, false, Adds(0)),
            (Some(7), 1, false, Adds(7)),
            (Some(-7), 1, false, Adds(-7)),
            (Some(7), -3, false, Adds(-21)),
            (Some(7), 3, true, Adds(-21)),
            (Some(300), 1, false, Adds(253)),
            (Some(-253), 1, false, Adds(-253)),
            (Some(-254), 1, false, Fault),
            (Some(-2_147_483_648), 254, false, Fault),
            (Some(-2_147_483_648), 254, true, Adds(253)),
            (Some(0), 0, false, Adds(0)),
            (Some(5), 0, false, Fault),
            (Some(0), 0, true, Fault),
            (Some(-1), 0, true, Adds(0)),
            (None, 1, false, Unknown),
            (None, 0, false, Unknown),
        ] {
            let got = value(read, &track("f", weight, reverse));
            assert_eq!(got, want, "{read:?} {weight} {reverse}");
        }
    }

    #[test]
    fn all_tracks_add_up_within_1_to_254() {
        let mut f = Following::default();
        let mut net = Net::default();
        net.set_link("up", LinkState::Up);
        net.set_link("down", LinkState::Down);
        for (name, v) in [("five", 5), ("minus", -100), ("bad", -254)] {
            f.file(name, v);
        }
        let tracks = |interfaces: &[&Track], files: &[&Track]| Tracks {
            interfaces: interfaces.iter().map(|t| (*t).clone()).collect(),
            files: files.iter().map(|t| (*t).clone()).collect(),
            ..Tracks::default()
        };
        let up = track("up", 10, false);
        let down = track("down", -20, false);
        let five = track("five", 2, false);
        let minus = track("minus", 1, false);
        for (base, t, want) in [
            (100, tracks(&[&up, &down], &[]), 90),
            (100, tracks(&[&up], &[&five]), 120),
            (100, tracks(&[], &[&minus]), 1),
            (50, tracks(&[], &[&minus, &five]), 1),
            (250, tracks(&[&up], &[]), 254),
            (255, tracks(&[], &[&minus]), 255),
            (100, tracks(&[], &[&track("bad", 1, false)]), 100),
            (100, tracks(&[&track("down", 0, false)], &[]), 100),
        ] {
            assert_eq!(f.priority(base, &t, &net), want, "{base} {t:?}");
        }
        let words = |t: &Tracks| f.fault(t, &net).map(|r| r.to_string());
        assert_eq!(
            words(&tracks(&[], &[&track("bad", 1, false)])).as_deref(),
            Some("tracked file bad")
        );
        assert_eq!(
            words(&tracks(&[&track("up", 0, true)], &[])).as_deref(),
            Some("tracked interface up")
        );
        assert_eq!(words(&tracks(&[&up, &down], &[&five])), None);
        assert!(f.waits(&tracks(&[], &[&track("new", 1, false)]), &net));
        assert!(f.waits(&tracks(&[&track("new", 1, false)], &[]), &net));
        assert!(!f.waits(&tracks(&[], &[&track("bad", 1, false)]), &net));
        f.retain(&[tracks(&[], &[&track("bad", 1, false)])]);
        assert!(f.waits(&tracks(&[], &[&track("five", 1, false)]), &net));
        assert!(!f.waits(&tracks(&[], &[&track("bad", 1, false)]), &net));
    }

    #[test]
    fn what_is_told_counts_with_the_weight_of_its_track() {
        let key = crate::model::ServiceKey {
            addr: [192, 0, 2, 1].into(),
            port: 80,
            protocol: crate::model::Protocol::Tcp,
        };
        let mut f = Following::default();
        for what in [Followed::Process, Followed::Bfd] {
            f.told(what, "good", true);
        }
        f.told(Followed::Service, &key.to_string(), true);
        let script = crate::model::VrrpScript {
            name: "good".to_owned(),
            script: crate::model::Script {
                command: vec!["/s".to_owned()],
                user: None,
            },
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise: 1,
            fall: 1,
            init_fail: false,
        };
        f.scripts.configure([&script].into_iter(), Time::ZERO);
        f.scripts.tick(Time::ZERO, &mut Vec::new());
        f.scripts.ended(1, Some(true));
        for (weight, reverse, want) in [(7, false, 107), (7, true, 93), (-7, false, 100)] {
            let named = || vec![track("good", weight, reverse)];
            let service = ServiceTrack {
                key,
                weight,
                reverse,
            };
            for tracks in [
                Tracks {
                    scripts: named(),
                    ..Tracks::default()
                },
                Tracks {
                    processes: named(),
                    ..Tracks::default()
                },
                Tracks {
                    bfds: named(),
                    ..Tracks::default()
                },
                Tracks {
                    services: vec![service],
                    ..Tracks::default()
                },
            ] {
                let got = f.priority(100, &tracks, &Net::default());
                assert_eq!(got, want, "{tracks:?}");
            }
        }
    }
}
