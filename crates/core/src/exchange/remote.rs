//! Requests of this machine's processes to other machines, and those of others to these processes.
//!
//! All other machines take part like one process. A request to them is one of its calls. It ends when they have nothing more to
//! tell of it, and has an outcome for each of their workers before that. What they ask are its requests.

use std::sync::Arc;

use super::frame::{Head, Kind, Status, TEXT};
use super::requests::Content;
use super::{CallId, ELSEWHERE, Exchange, Leaders, MAX_CALLS, Process, RequestId, Scope, Target};

impl Exchange {
    /// Another machine asks all workers of this one, or the one that leads under a name if it is here. Returns who answers;
    /// `None` if there is too much to be answered.
    pub fn on_asked(
        &mut self,
        id: RequestId,
        worker: u32,
        leader: Option<&[u8]>,
        (name, data): (&[u8], &[u8]),
        leaders: Leaders<'_>,
    ) -> Option<Vec<u32>> {
        let target = leader.map_or(Target::All, |leader| Target::Leader(Scope::All, leader));
        let mut found = self.find(target, name, leaders, &|_, _| 0);
        found.retain(|(process, _)| *process != Process::Elsewhere);
        if self.calls.made_by(ELSEWHERE) + found.len() > MAX_CALLS {
            return None;
        }
        let workers = found.iter().map(|(process, _)| process.number()).collect();
        if !found.is_empty() {
            let what = Content::from_elsewhere(worker, name, data);
            self.begin(ELSEWHERE, id, &what, found, &|_, _| 0);
        }
        Some(workers)
    }

    /// Another machine does not wait for that any more.
    pub fn on_unasked(&mut self, id: RequestId) {
        self.cancel(ELSEWHERE, id, false);
    }

    /// Another machine has something for the handler of the one that leads under a name, if it is here.
    pub fn on_told(
        &mut self,
        worker: u32,
        leader: &[u8],
        (name, data): (&[u8], &[u8]),
        leaders: Leaders<'_>,
    ) {
        let mut found = self.find(Target::Leader(Scope::All, leader), name, leaders, &|_, _| 0);
        found.retain(|(process, _)| *process != Process::Elsewhere);
        self.notify(ELSEWHERE, &Content::from_elsewhere(worker, name, data), found);
    }

    /// A worker of another machine has answered.
    pub fn on_outcome(&mut self, call: CallId, machine: &[u8], worker: u32, status: Status, data: &[u8]) {
        let Some((from, request, rest)) = self.calls.part(ELSEWHERE, call) else { return };
        let head = Head { worker, rest, number: request.0, name: machine, ..Head::new(Kind::Outcome) };
        self.send_outcome(from, &head, status, &data.into(), ELSEWHERE);
    }

    /// Other machines have nothing more to tell of a call. `missing` says how many of them have not answered, and `why` why they
    /// cannot be reached.
    pub fn on_ended(&mut self, call: CallId, status: Status, missing: u32, why: &str) {
        let Some(settled) = self.calls.settle(ELSEWHERE, call) else { return };
        let (rest, number) = (settled.rest, settled.request.0);
        let head = Head { worker: missing, rest, number, ..Head::new(Kind::Outcome) };
        // Something has to be told, with or without the reason.
        let text = [&[TEXT], why.as_bytes()].concat();
        let data = if why.is_empty() { Arc::clone(&self.nothing) } else { text.into() };
        self.send_outcome(settled.from, &head, status, &data, ELSEWHERE);
    }
}
