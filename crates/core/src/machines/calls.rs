//! Requests between machines: what this one asks, what it is asked, and whether those that wait for each other are there.

use super::event::{End, Output};
use super::outgoing::{Held, Outgoing, Purpose, Reached};
use super::peers::{Peers, Voice};
use super::requests::Requests;
use super::served::{Asked, Served};
use super::topic::{MachineId, Topic};
use super::wire::{Said, Saying, Workers};
use crate::exchange::frame::Status;
use crate::exchange::{CallId, RequestId};

/// What is needed to act.
pub(super) struct Means<'a> {
    /// This one.
    pub(super) machine: MachineId,
    pub(super) is_open: bool,
    pub(super) outgoing: &'a mut Outgoing,
    pub(super) now: u64,
    pub(super) out: &'a mut Vec<Output>,
}

impl Means<'_> {
    /// Says what ends with the connection. The session is that with which it is published. Returns false if there is no room.
    fn say(&mut self, topic: Topic, said: Said<'_>, cost: usize) -> bool {
        if !self.is_open {
            self.outgoing.release(cost);
            return true;
        }
        let bytes = Saying { machine: self.machine, session: 0, said }.encode();
        self.outgoing.push(Held { topic, bytes, purpose: Purpose::Answer, cost }, self.now).is_ok()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Calls {
    requests: Requests,
    served: Served,
    peers: Peers,
}

impl Calls {
    /// A process asks others. The bytes are what is published, and what the process has room for again then.
    pub(super) fn on_request(
        &mut self,
        call: CallId,
        is_for_leader: bool,
        (bytes, cost): (Vec<u8>, usize),
        means: &mut Means<'_>,
    ) {
        self.requests.begin(call, is_for_leader);
        let held = Held { topic: Topic::Requests, bytes, purpose: Purpose::Request(call), cost };
        if means.outgoing.push(held, means.now).is_err() {
            means.outgoing.release(cost);
            self.requests.on_unpublished(call, End::Busy, means.out);
        }
    }

    /// Requests have waited for the server for too long.
    pub(super) fn on_unpublished(&mut self, late: Vec<CallId>, means: &mut Means<'_>) {
        for call in late {
            self.requests.on_unpublished(call, End::Disconnected, means.out);
        }
    }

    pub(super) fn on_cancel(&mut self, call: CallId, tell: bool, means: &mut Means<'_>) {
        self.requests.cancel(call, tell, means.out);
    }

    /// A request leaves the queue. Returns whether it is to be published.
    pub(super) fn send(&mut self, call: CallId) -> bool {
        self.requests.send(call)
    }

    /// What has been published has reached so many.
    pub(super) fn on_reached(&mut self, reached: Vec<Reached>, means: &mut Means<'_>) {
        for reached in reached {
            match reached {
                Reached::Request(call, count) => {
                    self.requests.on_published(call, count, means.now, means.out);
                }
                Reached::Nobody(machine) => self.on_gone(machine, means),
            }
        }
    }

    /// Processes of this machine have been asked.
    pub(super) fn on_asked(&mut self, id: RequestId, workers: Option<&[u32]>, means: &mut Means<'_>) {
        let Some((machine, call)) = self.served.whose(id) else { return };
        let numbers: Option<Vec<[u8; 4]>> =
            workers.map(|workers| workers.iter().map(|worker| worker.to_le_bytes()).collect());
        let workers = numbers.as_deref().map(Workers::new);
        means.say(Topic::Machine(machine), Said::Announce { call, workers }, 0);
        if numbers.is_none_or(|numbers| numbers.is_empty()) {
            self.served.end(id);
        }
    }

    /// One of them has answered.
    pub(super) fn on_answered(
        &mut self,
        (id, is_last): (RequestId, bool),
        worker: u32,
        status: Status,
        data: &[u8],
        means: &mut Means<'_>,
    ) {
        let Some((machine, call)) = self.served.whose(id) else {
            // Nobody waits any more.
            return means.outgoing.release(data.len());
        };
        let topic = Topic::Machine(machine);
        if !means.say(topic.clone(), Said::Outcome { call, worker, status, data }, data.len()) {
            means.outgoing.release(data.len());
            means.say(topic, Said::Outcome { call, worker, status: Status::Lost, data: &[] }, 0);
        }
        if is_last {
            self.served.end(id);
        }
    }

    /// A machine has said something to all.
    pub(super) fn on_said(
        &mut self,
        (machine, session): (MachineId, u32),
        said: Said<'_>,
        has_room: bool,
        means: &mut Means<'_>,
    ) {
        if machine == means.machine {
            if let Said::Ask { call, .. } = said {
                self.requests.on_echo(call, means.out);
            }
            return;
        }
        if !self.is_heard(machine, session, means) {
            return;
        }
        match said {
            Said::Ask { call, worker, leader, name, data } => {
                let asked = if has_room { self.served.begin(machine, call) } else { Asked::TooMany };
                match asked {
                    Asked::As(id) => {
                        self.peers.meet(machine, session, means.now);
                        let (leader, name) = (leader.map(Into::into), name.into());
                        means.out.push(Output::Ask { id, worker, leader, name, data: data.to_vec() });
                    }
                    Asked::TooMany => {
                        means.say(Topic::Machine(machine), Said::Announce { call, workers: None }, 0);
                    }
                    Asked::Before => {}
                }
            }
            Said::Cancel(call) => means.out.extend(self.served.cancel(machine, call).map(Output::Unask)),
            Said::Tell { worker, leader, name, data } => {
                let (leader, name) = (leader.into(), name.into());
                means.out.push(Output::Tell { leader, name, worker, data: data.to_vec() });
            }
            _ => {}
        }
    }

    /// Another machine has said something to this one.
    pub(super) fn on_answer(
        &mut self,
        (machine, session): (MachineId, u32),
        said: Said<'_>,
        has_room: bool,
        means: &mut Means<'_>,
    ) {
        if !self.is_heard(machine, session, means) {
            return;
        }
        match said {
            Said::Announce { call, workers } => {
                let is_owing = self.requests.on_announced(machine, call, workers, means.out);
                if is_owing {
                    self.peers.meet(machine, session, means.now);
                }
            }
            Said::Outcome { call, worker, status, data } => {
                let (status, data) = if has_room { (status, data) } else { (Status::Lost, &[][..]) };
                self.requests.on_outcome((machine, call), worker, status, data, means.out);
            }
            _ => {}
        }
    }

    /// Whether something from a machine counts.
    fn is_heard(&mut self, machine: MachineId, session: u32, means: &mut Means<'_>) -> bool {
        match self.peers.on_heard(machine, session, means.now) {
            Voice::Fresh => true,
            Voice::Restarted => {
                self.on_gone(machine, means);
                true
            }
            Voice::Stale => false,
        }
    }

    fn on_gone(&mut self, machine: MachineId, means: &mut Means<'_>) {
        self.requests.on_gone(machine, means.out);
        means.out.extend(self.served.on_gone(machine).into_iter().map(Output::Unask));
    }

    /// The connection has ended.
    pub(super) fn on_disconnected(&mut self, means: &mut Means<'_>) {
        self.requests.on_disconnected(means.out);
        means.out.extend(self.served.on_disconnected().into_iter().map(Output::Unask));
        self.peers.clear();
    }

    /// Time has passed while the connection is open.
    pub(super) fn on_time(&mut self, means: &mut Means<'_>) {
        let (requests, served) = (&self.requests, &self.served);
        let is_needed = |machine| requests.is_owed_by(machine) || served.is_for(machine);
        let (there, gone) = self.peers.look_after(means.now, is_needed);
        for machine in there {
            means.say(Topic::Machine(machine), Said::Alive, 0);
        }
        for machine in gone {
            self.on_gone(machine, means);
        }
        self.requests.on_time(means.now, means.out);
        for call in self.requests.take_unneeded() {
            means.say(Topic::Requests, Said::Cancel(call), 0);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.requests.next_deadline().into_iter().chain(self.peers.next_deadline()).min()
    }

    pub(super) fn pending(&self) -> (usize, usize) {
        (self.requests.len(), self.served.len())
    }

    pub(super) fn check_invariants(&self, is_open: bool) {
        self.requests.check_invariants(is_open);
        self.served.check_invariants();
        assert!(is_open || self.served.len() == 0, "what others have asked ends with the connection");
    }
}
