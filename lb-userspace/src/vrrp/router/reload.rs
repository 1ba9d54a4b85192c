//! A new configuration as the difference to the running one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::config::Resume;
use super::super::event::{InstanceId, Reason};
use super::super::instance::{Instance, Proto};
use super::{Group, Router, ctx};
use crate::model::{Global, SyncGroup, VrrpInstance};
use crate::time::Time;

impl Router {
    pub(super) fn set_model(
        &mut self,
        instances: &[VrrpInstance],
        groups: &[SyncGroup],
        global: &Global,
        resume: &BTreeMap<String, Resume>,
        now: Time,
    ) {
        self.pace.set(global);
        self.log_unknown_vrids = global.log_unknown_vrids;
        let virtual_addresses = instances
            .iter()
            .flat_map(|i| i.addresses.iter().chain(&i.excluded))
            .map(|a| a.addr);
        // Before the first advert of the new configuration asks for a primary address.
        self.net.virtual_addresses.extend(virtual_addresses);

        let mut old = std::mem::take(&mut self.instances);
        for config in instances {
            let same = |i: &Instance| {
                !i.removed
                    && i.config.interface == config.interface
                    && i.config.virtual_router_id == config.virtual_router_id
            };
            let instance = match old.iter().position(same) {
                Some(at) => {
                    let mut instance = old.remove(at);
                    if instance.config != *config {
                        self.change(&mut instance, config, now);
                    }
                    instance
                }
                None => {
                    self.next_id += 1;
                    let resume = resume.get(&config.name).copied();
                    Instance::new(InstanceId(self.next_id), config, resume, now)
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
        self.net.virtual_addresses = self
            .instances
            .iter()
            .flat_map(|i| i.vips.iter().map(|v| v.address.addr))
            .collect();
        self.evaluate(now);
    }

    /// A running instance gets another configuration. Its state stays.
    fn change(&mut self, instance: &mut Instance, config: &VrrpInstance, now: Time) {
        let timing = |c: &VrrpInstance| {
            let adverts = c.election.down_timer_adverts;
            (c.version, c.advert_int, c.priority, adverts)
        };
        let retimed = timing(&instance.config) != timing(config);
        let gone = instance.set_config(config);
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
                instance.send_advert(config.priority, &mut ctx);
                for at in 0..instance.vips.len() {
                    if !ctx.net.is_present(&instance.vips[at].address) {
                        instance.ask_for(at, &mut ctx);
                    }
                }
            }
        }
    }
}
