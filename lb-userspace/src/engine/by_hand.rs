//! What an operator sets by hand.

use std::net::IpAddr;

use super::{Action, Engine};
use crate::control::protocol::ServerReport;
use crate::health::{ByHand, SetServer};
use crate::model::ServiceKey;

impl Engine {
    /// Sets something by hand for the real server at `addr` of the service (of the group) that has the
    /// address `key`.
    ///
    /// # Errors
    /// When there is no such service or real server.
    pub fn set_server(
        &mut self,
        key: &ServiceKey,
        addr: IpAddr,
        set: SetServer,
    ) -> Result<ServerReport, String> {
        let service = self
            .model
            .service_at(key)
            .ok_or_else(|| format!("there is no service {key}"))?;
        let server = service
            .real_servers
            .iter()
            .find(|s| s.addr == addr)
            .ok_or_else(|| match service.sorry_server {
                Some(sorry) if sorry.addr == addr => {
                    format!("{addr} is the sorry server of {key}, which has no weight to set")
                }
                Some(_) | None => format!("service {key} has no real server {addr}"),
            })?;
        let (key, port, configured) = (service.key, server.port, server.weight);
        let had = self.health.quorum(&key).is_some_and(|(up, _)| up);
        let by_hand = self.health.set_by_hand(&key, addr, port, set);
        let by_hand = by_hand.ok_or_else(|| format!("service {key} has no real server {addr}"))?;
        let (quorum_up, live_weight) = self.health.quorum(&key).unwrap_or_default();
        let mut notes = Vec::new();
        if had && !quorum_up {
            notes.push(match &service.sorry_server {
                Some(sorry) => format!(
                    "the service has no quorum any more (living weight {live_weight}): the sorry server \
                     {} stands in",
                    sorry.addr
                ),
                None => format!(
                    "the service has no quorum any more (living weight {live_weight}), and no sorry server"
                ),
            });
        }
        if let (Some(0), Some(_), false) = (
            by_hand.weight,
            service.persistence,
            service.expire_quiescent_template,
        ) {
            notes.push(
                "clients that persistence knows are still sent to it, until their entry expires \
                 (`expire_quiescent_template` ends that)"
                    .to_owned(),
            );
        }
        let up = self.health.is_up(&key, addr, port);
        if !up && by_hand == ByHand::default() {
            notes.extend(
                self.health
                    .why_down(&key, addr, port)
                    .map(|why| format!("it is down: {why}")),
            );
        }
        self.keep();
        Ok(ServerReport {
            service: key,
            server: addr,
            configured,
            by_hand,
            up,
            notes,
        })
    }

    pub(super) fn keep(&mut self) {
        self.actions.push_back(Action::Keep(self.health.kept()));
    }
}
