//! Starts supervised workers, and gives standbys their slots.

use std::sync::Arc;

use super::Shell;
use crate::io::control::external::External;
use crate::io::control::messages::Event;
use crate::io::control::template::Started;
use crate::io::store;
use rcluster_core::control::Input;
use rcluster_core::ids::{Slot, Ticket, WorkerId};
use rcluster_sys::error::SysError;

impl Shell {
    pub(super) fn spawn(&mut self, ticket: Ticket, slot: Option<Slot>, retry: bool) {
        let without = Err(SysError::invalid("starting a worker without supervision"));
        let started =
            self.template.as_mut().map_or(without, |template| template.start(slot, retry, &self.common));
        let Started { worker, mut supervised, launched, inspect_port } = match started {
            Ok(started) => started,
            Err(error) => {
                let cause = error.to_string();
                return self.answers.push_back(Input::SpawnFailed { ticket, cause });
            }
        };
        let external = launched.link.external;
        self.common.logs.add(worker, slot, launched.logs);
        if external {
            let targets = launched.newcomer.targets();
            supervised.external = Some(External::watch(worker, targets, self.events.clone()));
        }
        store::on_started(worker, slot);
        if let Some(slot) = slot {
            self.common.slots.lock().take(worker, Some(slot));
            launched.newcomer.introduce(worker, slot, &self.common.dispatcher, &self.common.forwarding);
        } else {
            supervised.newcomer = Some(launched.newcomer);
        }
        let (pid, pidfd) = (supervised.pid, Arc::new(launched.child.pidfd));
        let failure = self.workers.adopt(worker, slot, Arc::clone(&pidfd), launched.link, Some(supervised));
        self.news.tell(Event::Spawned { worker, slot, pid, pidfd, pipes: launched.pipes, inspect_port });
        self.answers.push_back(Input::Spawned { ticket, worker, slot, external });
        let broke = failure.map(|error| Input::Broke { worker, why: error.to_string() });
        self.answers.extend(broke);
    }

    pub(super) fn promote(&mut self, worker: WorkerId, slot: Slot) {
        let Some(newcomer) = self.workers.promote(worker, slot) else { return };
        self.common.slots.lock().take(worker, Some(slot));
        store::on_slot(worker, Some(slot));
        self.common.logs.promote(worker, slot);
        newcomer.introduce(worker, slot, &self.common.dispatcher, &self.common.forwarding);
    }
}
