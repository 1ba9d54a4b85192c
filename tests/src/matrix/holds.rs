//! What must be true after each event.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::control::status::VrrpState;
use std::net::IpAddr;

use super::steps::Stage;
use crate::clock::{Instant, wait_for};
use crate::director::Kind;
use crate::recorder::What;

/// Who yields keeps the address until the winner was heard, and a daemon may be slow to let go.
const LIMIT: Duration = Duration::from_secs(10);

impl Stage {
    /// `master` is the only master, has the address on the right link, no other living director has it
    /// anywhere, and the client takes `master` for its owner.
    pub(super) fn holds(&self, master: usize) -> Result<()> {
        let limit = self.limit();
        let mac = self.lab.directors[master].host.mac;
        let (start, recorder) = (Instant::now(), &self.lab.recorder);
        self.lab
            .wait_sole_advertiser(master, None, self.advert, Instant(0), limit)?;
        self.ping
            .wait_answer(recorder, Some(mac), 3, start, limit)
            .with_context(|| self.lab.logs())?;
        for at in [0, 1].into_iter().filter(|at| self.lives[*at]) {
            let director = &self.lab.directors[at];
            match director.kind {
                Kind::Keepalived => director.wait_ready(limit)?,
                Kind::Lbd => director.wait_status("its state", LIMIT, |status| {
                    let right = |state| match state {
                        VrrpState::Master => at == master,
                        VrrpState::Backup | VrrpState::Fault => at != master,
                        VrrpState::Init => false,
                    };
                    status.vrrp.iter().all(|v| right(v.state)).then_some(())
                })?,
            }
        }
        let link = self.walk.wire.vmac().map_or("eth0", |(link, _)| link);
        let mut seen = Vec::new();
        wait_for("the virtual address on the master alone", LIMIT, || {
            seen = [0, 1].map(|at| self.links_with_the_address(at)).into();
            let right = |at: usize| match &seen[at] {
                Ok(links) if at == master => links == &[link],
                Ok(links) => links.is_empty(),
                Err(_) => false,
            };
            (right(0) && right(1)).then_some(())
        })
        .with_context(|| format!("it is on {seen:?}; {}", self.lab.logs()))?;
        let wanted = self.walk.wire.vmac().map_or(mac, |(_, mac)| mac);
        let mut known = None;
        wait_for("the client's neighbour entry", LIMIT, || {
            known = self.lab.client.ns.neighbour(self.vip).ok()?;
            (known == Some(wanted)).then_some(())
        })
        .with_context(|| format!("it is {known:?}, not {wanted}; {}", self.lab.logs()))
    }

    /// The links of a director that have the virtual address. One that is without power has none that
    /// matters.
    fn links_with_the_address(&self, at: usize) -> Result<Vec<String>> {
        if !self.powered[at] {
            return Ok(Vec::new());
        }
        let ns = &self.lab.directors[at].host.ns;
        let mut links = ns.links()?;
        links.retain(|link| link != "lo");
        let mut with = Vec::new();
        for link in links {
            let there = match self.vip {
                IpAddr::V4(vip) => ns.addresses(&link)?.iter().any(|(a, _)| *a == vip),
                IpAddr::V6(vip) => ns.v6_addresses(&link)?.iter().any(|(a, _)| *a == vip),
            };
            if there {
                with.push(link);
            }
        }
        Ok(with)
    }

    /// With a MAC of its own, nothing ever told the client another one.
    pub(super) fn one_mac(&self, since: Instant) -> Result<()> {
        let Some((_, mac)) = self.walk.wire.vmac() else {
            return Ok(());
        };
        let all = self.lab.recorder.since(since);
        let strangers: Vec<_> = all
            .iter()
            .filter(|f| matches!(f.what, What::Arp { spa, .. } if IpAddr::V4(spa) == self.vip))
            .filter(|f| f.src != mac)
            .collect();
        ensure!(strangers.is_empty(), "another MAC was told: {strangers:?}");
        Ok(())
    }

    /// Nobody but the first director answered since then.
    pub(super) fn role_stayed(&self, since: Instant) -> Result<()> {
        let first = self.lab.directors[0].host.mac;
        let frames = self.lab.recorder.since(since);
        let others = self.ping.answers(&frames).filter(|a| a.from != first);
        let others = others.count();
        ensure!(
            others == 0,
            "{others} answers of another: {}",
            self.lab.logs()
        );
        Ok(())
    }
}
