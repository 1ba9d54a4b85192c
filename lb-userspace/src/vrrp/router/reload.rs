//! A new configuration as the difference to the running one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::config::Resume;
use super::super::event::{InstanceId, Reason};
use super::super::instance::{Instance, Proto};
use super::{Group, Router, ctx};
use crate::model::{Model, Tracks, VrrpInstance};
use crate::time::Time;

impl Router {
    pub(super) fn set_model(
        &mut self,
        model: &Model,
        resume: &BTreeMap<String, Resume>,
        now: Time,
    ) {
        let (instances, groups) = (&model.instances, &model.sync_groups);
        let (scripts, global) = (&model.vrrp_scripts, &model.global);
        self.pace.set(global);
        self.debounce.set(model);
        self.log_unknown_vrids = global.log_unknown_vrids;
        let virtual_addresses = instances
            .iter()
            .flat_map(|i| i.addresses.iter().chain(&i.excluded))
            .map(|a| a.addr);
        // Before the first advert of the new configuration asks for a primary address.
        self.net.add_virtual(virtual_addresses);

        let tracks = |i: &VrrpInstance| {
            let group = groups.iter().find(|g| g.members.contains(&i.name));
            group.map_or_else(|| i.tracks.clone(), |g| i.tracks.and(&g.tracks))
        };
        let all: Vec<Tracks> = instances.iter().map(tracks).collect();
        let followed: BTreeSet<&str> = all
            .iter()
            .flat_map(|t| &t.scripts)
            .map(|t| t.name.as_str())
            .collect();
        let scripts = scripts
            .iter()
            .filter(|s| followed.contains(s.name.as_str()));
        self.following.scripts.configure(scripts, now);
        self.following.retain(&all);

        let mut old = std::mem::take(&mut self.instances);
        for (config, tracks) in instances.iter().zip(all) {
            let named = |i: &Instance, config: &VrrpInstance| {
                !i.removed && i.config.is_beside(config) && *i.name == *config.name
            };
            // One that goes on under its name is nobody else's; one whose masters were others knows
            // nothing of these, and leaves its addresses to them.
            let renamed = |i: &Instance| {
                !i.removed && i.config.meets(config) && !instances.iter().any(|c| named(i, c))
            };
            let at = old
                .iter()
                .position(|i| named(i, config))
                .or_else(|| old.iter().position(renamed));
            let priority = self.following.priority(config.priority, &tracks, &self.net);
            let instance = match at {
                Some(at) => {
                    let mut instance = old.remove(at);
                    instance.tracks = tracks;
                    let priority = instance.with_raise(priority);
                    if (&instance.config, instance.priority) != (config, priority) {
                        self.change(&mut instance, config, priority, now);
                    }
                    instance
                }
                None => {
                    self.next_id += 1;
                    let resume = resume.get(&config.name).copied();
                    let id = InstanceId(self.next_id);
                    let mut instance = Instance::new(id, config, resume, now);
                    instance.tracks = tracks;
                    instance.priority = priority;
                    instance
                }
            };
            self.instances.push(instance);
        }
        for mut instance in old {
            instance.stop(Reason::Removed, &mut ctx!(self, now));
            instance.removed = true;
            self.instances.push(instance);
        }
        self.groups = groups
            .iter()
            .map(|g| Group {
                name: g.name.as_str().into(),
                members: g
                    .members
                    .iter()
                    .filter_map(|m| self.instances.iter().find(|i| *i.name == **m && !i.removed))
                    .map(|i| i.id)
                    .collect(),
            })
            .collect();
        // Those of removed instances stay virtual until they are gone.
        let vips = self.instances.iter().flat_map(|i| &i.vips);
        let virtual_addresses = vips.map(|v| v.address.addr).collect();
        self.net.set_virtual(virtual_addresses);
        self.evaluate(now);
    }

    /// A running instance gets another configuration. Its state stays.
    fn change(&mut self, instance: &mut Instance, config: &VrrpInstance, priority: u8, now: Time) {
        let timing = |i: &Instance| {
            let adverts = i.config.election.down_timer_adverts;
            (i.config.version, i.config.advert_int, i.priority, adverts)
        };
        let before = timing(instance);
        let gone = instance.set_config(config);
        instance.priority = priority;
        let retimed = timing(instance) != before;
        let mut ctx = ctx!(self, now);
        for address in gone {
            if ctx.net.is_present(&address) {
                ctx.releases.push((instance.id, address));
            }
        }
        match &mut instance.proto {
            Proto::Init | Proto::Fault | Proto::Stopped => {}
            Proto::Backup(_) => {
                if retimed {
                    instance.forget_interval();
                    // Priority 255 does not wait.
                    let wait = if config.priority == 255 {
                        Duration::ZERO
                    } else {
                        instance.down_interval()
                    };
                    let down_at = now + wait;
                    if let Proto::Backup(backup) = &mut instance.proto {
                        // Never later than it was to be.
                        backup.down_at = backup.down_at.min(down_at);
                    }
                }
            }
            Proto::Master(master) => {
                master.advert_at = now + config.advert_int;
                master.garps.retime(config, now);
                instance.send_advert(priority, &mut ctx);
                for at in 0..instance.vips.len() {
                    if !ctx.net.is_present(&instance.vips[at].address) {
                        instance.ask_for(at, &mut ctx);
                    }
                }
            }
        }
    }
}
