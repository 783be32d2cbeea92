//! Resolves the target of a request.

use super::frame::{Head, Status};
use super::pairs::Published;
use super::{ClientId, Exchange, Leaders, OTHER_MACHINES, Process, Scope, Target};
use crate::ids::WorkerId;

/// A process that was found, and its link.
pub(super) type Found = (Process, Result<ClientId, Status>);

impl Exchange {
    /// The processes that a request or notice of `from` targets: for each, its link that handles the name, or
    /// the reason why there is none.
    pub(super) fn find(
        &mut self,
        from: ClientId,
        target: Target<'_>,
        (name, data): (&[u8], &[u8]),
        leaders: Leaders<'_>,
        published: Published<'_>,
    ) -> Vec<Found> {
        let process = match target {
            Target::Worker(worker) => Ok(Process::Worker(worker)),
            Target::Slot(slot) => self.roster.of_slot(slot).map(Process::Worker).ok_or(Status::Gone),
            Target::Leader(scope, leader) => match leaders(scope, leader) {
                Some(process) => Ok(process),
                None if scope == Scope::All => return vec![self.found_on_other_machines()],
                None => Err(Status::NoLeader),
            },
            Target::Primary => Ok(Process::Primary),
            Target::Any if self.is_alone(name) => Ok(Process::Primary),
            Target::Everywhere => {
                let mut all = self.find_all(name);
                all.push(self.found_on_other_machines());
                return all;
            }
            Target::Any => self.least_busy(from, (name, data), published).ok_or(Status::NoHandler),
            Target::All => return self.find_all(name),
        };
        match process {
            Ok(process) => vec![(process, self.link(process, name))],
            Err(status) => vec![(Process::Primary, Err(status))],
        }
    }

    /// All workers, like [`find`](Self::find).
    pub(super) fn find_all(&self, name: &[u8]) -> Vec<Found> {
        if self.is_alone(name) {
            return vec![(Process::Primary, self.link(Process::Primary, name))];
        }
        let all = self.roster.all().map(Process::Worker);
        all.map(|process| (process, self.link(process, name))).collect()
    }

    /// Without workers the primary does their work, so that the same code runs with and without them.
    fn is_alone(&self, name: &[u8]) -> bool {
        self.roster.is_empty() && self.handler(Process::Primary, name).is_some()
    }

    /// Other machines, if they can be reached.
    fn found_on_other_machines(&self) -> Found {
        let is_linked = self.clients.contains_key(&OTHER_MACHINES);
        (Process::OtherMachines, is_linked.then_some(OTHER_MACHINES).ok_or(Status::Disconnected))
    }

    fn link(&self, process: Process, name: &[u8]) -> Result<ClientId, Status> {
        match process {
            Process::Worker(worker) if !self.roster.contains(worker) => Err(Status::Gone),
            _ => self.handler(process, name).ok_or(Status::NoHandler),
        }
    }

    /// The link of a process that handles a name.
    fn handler(&self, process: Process, name: &[u8]) -> Option<ClientId> {
        let links = self.links.get(&process)?;
        links
            .iter()
            .copied()
            .find(|link| self.clients.get(link).is_some_and(|its| its.handles.contains(name)))
    }

    /// The worker with the fewest unanswered calls. Workers with equally few take turns.
    fn least_busy(
        &mut self,
        from: ClientId,
        (name, data): (&[u8], &[u8]),
        published: Published<'_>,
    ) -> Option<Process> {
        let length = Head::LENGTH + name.len() + data.len();
        let able = self.roster.all().filter_map(|worker| {
            let link = self.handler(Process::Worker(worker), name)?;
            let its = self.clients.get(&link)?;
            // One whose inbox is full is used only if all are, and one that is leaving or a standby only if
            // there is no other.
            let is_full = !its.outbox.has_room(from, length);
            let served = self.calls.served_by(link) + self.pairs.served_by(link, published);
            Some(((is_full, !self.roster.is_in_service(worker), served), worker))
        });
        let able: Vec<_> = able.collect();
        let least = able.iter().map(|(load, _)| *load).min()?;
        let least: Vec<WorkerId> =
            able.into_iter().filter(|(load, _)| *load == least).map(|(_, worker)| worker).collect();
        self.turn = self.turn.wrapping_add(1);
        Some(Process::Worker(least[self.turn % least.len()]))
    }
}
