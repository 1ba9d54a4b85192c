//! A row of the table: what is there, what comes in, what goes out, and everything that has
//! changed afterwards.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use lb_common::flow::FlowValue;
use lb_common::maps::{Counters, Load, Template, TemplateKey, load_word, split_load};
use lb_common::reason::Reason;
use lb_common::tcp::State;
use lb_tests::dataplane::{Action, Director, IFINDEX};

use crate::before::{Before, FlowKey};
use crate::fields::{Fields, hex};
use crate::frame::Frame;
use crate::output::{forwarded, told};

/// What becomes of the frame.
#[derive(Clone, Debug)]
enum Then {
    /// Forwarded to this server.
    To(u16),
    /// Up the stack, untouched, counted at this server, which is this host.
    Here(u16),
    /// Passed or dropped for this reason, untouched.
    Because(Reason),
    /// Its sender is told that so many bytes fit.
    TooBig(u32),
}

/// What has become of the flow of the row's frame.
#[derive(Clone, Copy, Debug)]
enum FlowAfter {
    /// What it was before, or nothing.
    AsBefore,
    /// It goes to this server and is in this state, just seen.
    Is(u16, State),
    /// It is gone.
    Gone,
}

/// A row of the table.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    before: Before,
    frame: Frame,
    then: Then,
    flow: FlowAfter,
    /// The server that got a new connection.
    connection: Option<u16>,
    notes: Vec<Reason>,
    /// The client's server by its template afterwards, where it is new or another.
    template: Option<u16>,
}

/// A row that lacks its outcome; one of the methods below gives it.
pub(crate) fn row(name: &'static str, before: impl Into<Before>, frame: Frame) -> Row {
    Row {
        name,
        before: before.into(),
        frame,
        then: Then::Because(Reason::Internal),
        flow: FlowAfter::AsBefore,
        connection: None,
        notes: Vec::new(),
        template: None,
    }
}

impl Row {
    /// A new connection: scheduled to this server, and the flow is in this state.
    pub(crate) fn opens(mut self, server: u16, state: State) -> Row {
        self.connection = Some(server);
        self.stays(server, state)
    }

    /// Forwarded to this server, to which its flow goes already, which is in this state now.
    pub(crate) fn stays(mut self, server: u16, state: State) -> Row {
        self.then = Then::To(server);
        self.flow = FlowAfter::Is(server, state);
        self
    }

    /// As `opens`, and the server is this host.
    pub(crate) fn opens_here(self, server: u16, state: State) -> Row {
        Row {
            then: Then::Here(server),
            ..self.opens(server, state)
        }
    }

    /// As `stays`, and the server is this host.
    pub(crate) fn stays_here(self, server: u16, state: State) -> Row {
        Row {
            then: Then::Here(server),
            ..self.stays(server, state)
        }
    }

    /// Passed or dropped, as the reason is; after `opens` or `stays` the flow is as they say all the
    /// same.
    pub(crate) fn because(mut self, reason: Reason) -> Row {
        self.then = Then::Because(reason);
        self
    }

    /// Forwarded to this server; no flow changes.
    pub(crate) fn follows(mut self, server: u16) -> Row {
        self.then = Then::To(server);
        self
    }

    /// As `follows`, and the server is this host.
    pub(crate) fn follows_here(mut self, server: u16) -> Row {
        self.then = Then::Here(server);
        self
    }

    /// Scheduled to this server without a flow.
    pub(crate) fn scheduled(mut self, server: u16) -> Row {
        self.connection = Some(server);
        self.follows(server)
    }

    /// Too long: its sender is told how many bytes fit. After `opens` or `stays` the flow is as they
    /// say all the same.
    pub(crate) fn too_big(mut self, mtu: u32) -> Row {
        self.then = Then::TooBig(mtu);
        self
    }

    /// The flow of the frame is gone afterwards.
    pub(crate) fn ends(mut self) -> Row {
        self.flow = FlowAfter::Gone;
        self
    }

    /// This is counted besides.
    pub(crate) fn noted(mut self, note: Reason) -> Row {
        self.notes.push(note);
        self
    }

    /// The client's template names this server afterwards, just used.
    pub(crate) fn keeps(mut self, server: u16) -> Row {
        self.template = Some(server);
        self
    }

    /// Runs it; what is not as it must be, a line each.
    pub(crate) fn run(&self, director: &mut Director) -> Result<Vec<String>> {
        self.before.set_up(director, &self.frame)?;
        let bytes = self.frame.bytes();
        let old = Snapshot::of(director, &self.before)?;
        let (action, out) = director.run(&bytes)?;
        let new = Snapshot::of(director, &self.before)?;
        let now = director.now()?;

        let mut wrong = Vec::new();
        self.check_verdict(action, &mut wrong)?;
        self.check_frame(&bytes, &out, &mut wrong)?;
        self.check_reasons(&old, &new, &mut wrong);
        self.check_servers(&old, &new, &mut wrong);
        self.check_flows(&old, &new, now, &mut wrong)?;
        self.check_loads(&new, &mut wrong);
        self.check_templates(&old, &new, now, &mut wrong);
        Ok(wrong)
    }

    fn check_verdict(&self, action: Action, wrong: &mut Vec<String>) -> Result<()> {
        let expected = match self.then {
            Then::To(server) if self.before.server(server)?.ifindex == IFINDEX => Action::Transmit,
            Then::To(_) => Action::Redirect,
            Then::Here(_) => Action::Pass,
            Then::Because(reason) if reason.passes() => Action::Pass,
            Then::Because(_) => Action::Drop,
            Then::TooBig(_) => Action::Transmit,
        };
        differ("verdict", &expected, &action, wrong);
        Ok(())
    }

    fn check_frame(&self, before: &[u8], after: &[u8], wrong: &mut Vec<String>) -> Result<()> {
        let expected = match self.then {
            Then::To(server) => forwarded(before, self.before.server(server)?)?,
            Then::TooBig(mtu) => told(&self.frame, mtu)?,
            Then::Here(_) | Then::Because(_) => {
                differ("frame", &hex(before), &hex(after), wrong);
                return Ok(());
            }
        };
        match Fields::of(after) {
            Ok(got) => wrong.extend(expected.differences(&got)),
            Err(error) => wrong.push(format!("frame out {}: {error:#}", hex(after))),
        }
        Ok(())
    }

    fn check_reasons(&self, old: &Snapshot, new: &Snapshot, wrong: &mut Vec<String>) {
        let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
        match self.then {
            Then::Because(reason) => *expected.entry(reason.name()).or_default() += 1,
            Then::TooBig(_) => *expected.entry(Reason::TooBigAnswered.name()).or_default() += 1,
            Then::To(_) | Then::Here(_) => {}
        }
        for note in &self.notes {
            *expected.entry(note.name()).or_default() += 1;
        }
        let mut got: BTreeMap<&str, u64> = BTreeMap::new();
        for (reason, (old, new)) in Reason::ALL.iter().zip(old.reasons.iter().zip(&new.reasons)) {
            if new != old {
                got.insert(reason.name(), new - old);
            }
        }
        differ("counted", &expected, &got, wrong);
    }

    fn check_servers(&self, old: &Snapshot, new: &Snapshot, wrong: &mut Vec<String>) {
        for (&index, old) in &old.counters {
            let got = new.counters[&index];
            let mut expected = *old;
            match self.then {
                Then::To(server) | Then::Here(server) if server == index => {
                    expected.packets += 1;
                    expected.bytes += self.frame.packet().len() as u64;
                }
                Then::To(_) | Then::Here(_) | Then::Because(_) | Then::TooBig(_) => {}
            }
            expected.conns += u64::from(self.connection == Some(index));
            for (what, old, expected, got) in [
                ("packets", old.packets, expected.packets, got.packets),
                ("bytes", old.bytes, expected.bytes, got.bytes),
                ("connections", old.conns, expected.conns, got.conns),
            ] {
                let what = format!("{what} of server {index}");
                differ(&what, &(expected - old), &(got - old), wrong);
            }
        }
    }

    fn check_flows(
        &self,
        old: &Snapshot,
        new: &Snapshot,
        now: u32,
        wrong: &mut Vec<String>,
    ) -> Result<()> {
        let mut expected = old.flows.clone();
        let key = || self.before.flow_key(&self.frame).context("no service");
        match self.flow {
            FlowAfter::AsBefore => {}
            FlowAfter::Is(server, state) => {
                let key = key()?;
                let set = self.before.timeouts_of(key.0 as u16);
                let value = FlowValue::new(server, state as u8, now).with_timeouts(set);
                expected.insert(key, (1, value));
            }
            FlowAfter::Gone => {
                expected.remove(&key()?).context("no flow to be gone")?;
            }
        }
        let show = |flows: &BTreeMap<FlowKey, (usize, FlowValue)>| -> Vec<String> {
            flows
                .iter()
                .map(|((tag, client), &(entries, value))| {
                    // The tick may have changed since.
                    let seen = if now.wrapping_sub(value.seen()) <= 1 {
                        "now".to_owned()
                    } else {
                        format!("tick {}", value.seen())
                    };
                    format!(
                        "{tag:016x} {client:016x?} x{entries}: server {} {} timeouts {} seen {seen}",
                        value.backend(),
                        value.state().map_or("?", State::name),
                        value.timeouts(),
                    )
                })
                .collect()
        };
        differ("flows", &show(&expected), &show(&new.flows), wrong);
        Ok(())
    }

    /// Connections counted are those that the table has.
    fn check_loads(&self, new: &Snapshot, wrong: &mut Vec<String>) {
        for server in self.before.servers() {
            let (mut active, mut inactive) = server.load;
            for (&(tag, _), &(_, value)) in &new.flows {
                let is_its = value.backend() == server.index;
                if server.is_counted && is_its && self.before.has(tag as u16, server.index) {
                    if value.state().is_some_and(State::is_active) {
                        active += 1;
                    } else {
                        inactive += 1;
                    }
                }
            }
            let what = format!("active and inactive connections of server {}", server.index);
            let expected = split_load(load_word(active, inactive));
            let got = split_load(new.loads[&server.index].counts);
            differ(&what, &expected, &got, wrong);
        }
    }

    fn check_templates(&self, old: &Snapshot, new: &Snapshot, now: u32, wrong: &mut Vec<String>) {
        let mut expected = old.templates.clone();
        if let Some(server) = self.template {
            let key = self.before.template_key(&self.frame);
            expected.insert(key, Template::new(server, now).0);
        }
        let show = |templates: &BTreeMap<TemplateKey, u64>| -> Vec<String> {
            templates
                .iter()
                .map(|(key, &value)| {
                    let idle = now.wrapping_sub(Template(value).used());
                    let idle = if idle <= 1 { 0 } else { idle };
                    format!(
                        "{key:08x?}: server {} idle {idle}",
                        Template(value).backend()
                    )
                })
                .collect()
        };
        differ("templates", &show(&expected), &show(&new.templates), wrong);
    }
}

fn differ<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &T,
    got: &T,
    wrong: &mut Vec<String>,
) {
    if expected != got {
        wrong.push(format!("{what}: expected {expected:?}, got {got:?}"));
    }
}

/// Everything that a frame may change.
struct Snapshot {
    reasons: Vec<u64>,
    counters: BTreeMap<u16, Counters>,
    loads: BTreeMap<u16, Load>,
    /// How many entries, the value of one.
    flows: BTreeMap<FlowKey, (usize, FlowValue)>,
    templates: BTreeMap<TemplateKey, u64>,
}

impl Snapshot {
    fn of(director: &Director, before: &Before) -> Result<Snapshot> {
        let mut flows: BTreeMap<FlowKey, (usize, FlowValue)> = BTreeMap::new();
        for (tag, client, value) in director.all_flows() {
            let is_wide = before.is_wide(tag as u16);
            let key = (tag, if is_wide { client } else { [0; 2] });
            flows.entry(key).or_insert((0, value)).0 += 1;
        }
        let counters = before
            .servers()
            .map(|server| Ok((server.index, director.counters(server.index)?)))
            .collect::<Result<_>>()?;
        let loads = before
            .servers()
            .map(|server| (server.index, director.load_of(server.index)))
            .collect();
        Ok(Snapshot {
            reasons: director.reasons()?,
            counters,
            loads,
            flows,
            templates: director.templates()?.into_iter().collect(),
        })
    }
}
