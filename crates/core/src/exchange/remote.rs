//! Requests between this machine's processes and other machines.
//!
//! All other machines take part like one process. A request to them is one call, with an outcome for each of
//! their workers, and ends when no more outcomes can arrive. Requests of other machines are requests of this
//! process.

use std::sync::Arc;

use super::frame::{Head, Kind, Status, TEXT};
use super::requests::Content;
use super::{CallId, Exchange, Leaders, MAX_CALLS, OTHER_MACHINES, Process, RequestId, Scope, Target};

impl Exchange {
    /// Another machine makes a request: to all workers, or to a leader if it is on this machine. Returns the
    /// workers that will answer; `None` if there are too many unanswered calls.
    pub fn on_remote_request(
        &mut self,
        id: RequestId,
        worker: u32,
        leader: Option<&[u8]>,
        (name, data): (&[u8], &[u8]),
        leaders: Leaders<'_>,
    ) -> Option<Vec<u32>> {
        let target = leader.map_or(Target::All, |leader| Target::Leader(Scope::All, leader));
        let mut found = self.find(OTHER_MACHINES, target, (name, data), leaders, &|_, _| 0);
        found.retain(|(process, _)| *process != Process::OtherMachines);
        if self.calls.made_by(OTHER_MACHINES) + found.len() > MAX_CALLS {
            return None;
        }
        let workers = found.iter().map(|(process, _)| process.number()).collect();
        if !found.is_empty() {
            let what = Content::from_other_machine(worker, name, data);
            self.begin(OTHER_MACHINES, id, &what, found, &|_, _| 0);
        }
        Some(workers)
    }

    /// Another machine has cancelled its request.
    pub fn on_remote_cancel(&mut self, id: RequestId) {
        self.cancel(OTHER_MACHINES, id, false);
    }

    /// Another machine sends a notice to a leader, if it is on this machine.
    pub fn on_remote_notice(
        &mut self,
        worker: u32,
        leader: &[u8],
        (name, data): (&[u8], &[u8]),
        leaders: Leaders<'_>,
    ) {
        let target = Target::Leader(Scope::All, leader);
        let mut found = self.find(OTHER_MACHINES, target, (name, data), leaders, &|_, _| 0);
        found.retain(|(process, _)| *process != Process::OtherMachines);
        self.notify(OTHER_MACHINES, &Content::from_other_machine(worker, name, data), found);
    }

    /// A worker of another machine has answered.
    pub fn on_remote_outcome(
        &mut self,
        call: CallId,
        machine: &[u8],
        worker: u32,
        status: Status,
        data: &[u8],
    ) {
        let Some((from, request, rest)) = self.calls.part(OTHER_MACHINES, call) else { return };
        let head = Head { worker, rest, number: request.0, name: machine, ..Head::new(Kind::Outcome) };
        self.send_outcome(from, &head, status, &data.into(), OTHER_MACHINES);
    }

    /// A call to other machines ends. `missing` is the number of machines that have not answered, and `why`
    /// the reason if they cannot be reached.
    pub fn on_remote_end(&mut self, call: CallId, status: Status, missing: u32, why: &str) {
        let Some(settled) = self.calls.settle(OTHER_MACHINES, call) else { return };
        let (rest, number) = (settled.rest, settled.request.0);
        let head = Head { worker: missing, rest, number, ..Head::new(Kind::Outcome) };
        // The process needs an error even if the reason is unknown.
        let text = [&[TEXT], why.as_bytes()].concat();
        let data = if why.is_empty() { Arc::clone(&self.nothing) } else { text.into() };
        self.send_outcome(settled.from, &head, status, &data, OTHER_MACHINES);
    }
}
