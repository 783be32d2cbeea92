//! Requests between machines, in both directions, and the check that the machines involved are alive.

use super::event::{End, Output};
use super::outgoing::{Held, Outgoing, Purpose, Reached};
use super::peers::{Freshness, Peers};
use super::requests::Requests;
use super::served::{Asked, Served};
use super::topic::{MachineId, Topic};
use super::wire::{Content, Publication, Workers};
use crate::exchange::frame::Status;
use crate::exchange::{CallId, RequestId};

/// What the methods of [`Calls`] act on.
pub(super) struct Context<'a> {
    /// This machine.
    pub(super) machine: MachineId,
    pub(super) is_open: bool,
    pub(super) outgoing: &'a mut Outgoing,
    pub(super) now: u64,
    pub(super) out: &'a mut Vec<Output>,
}

impl Context<'_> {
    /// Publishes something that is obsolete when the connection ends. The session is filled in when it is
    /// published. Returns false if there is no room.
    fn send(&mut self, topic: Topic, content: Content<'_>, cost: usize) -> bool {
        if !self.is_open {
            self.outgoing.release(cost);
            return true;
        }
        let bytes = Publication { machine: self.machine, session: 0, content }.encode();
        self.outgoing.push(Held { topic, bytes, purpose: Purpose::Answer, cost }, self.now).is_ok()
    }
}

/// The requests in both directions: see the module.
#[derive(Debug, Default)]
pub(super) struct Calls {
    requests: Requests,
    served: Served,
    peers: Peers,
}

impl Calls {
    /// A process makes a request. `bytes` are published; `cost` is the room that the process gets back then.
    pub(super) fn on_request(
        &mut self,
        call: CallId,
        is_for_leader: bool,
        (bytes, cost): (Vec<u8>, usize),
        cx: &mut Context<'_>,
    ) {
        self.requests.begin(call, is_for_leader);
        let held = Held { topic: Topic::Requests, bytes, purpose: Purpose::Request(call), cost };
        if cx.outgoing.push(held, cx.now).is_err() {
            cx.outgoing.release(cost);
            self.requests.on_unpublished(call, End::Busy, cx.out);
        }
    }

    /// These requests have waited too long for the server.
    pub(super) fn on_unpublished(&mut self, late: Vec<CallId>, cx: &mut Context<'_>) {
        for call in late {
            self.requests.on_unpublished(call, End::Disconnected, cx.out);
        }
    }

    pub(super) fn on_cancel(&mut self, call: CallId, tell: bool, cx: &mut Context<'_>) {
        self.requests.cancel(call, tell, cx.out);
    }

    /// A request leaves the queue. Returns whether it should be published.
    pub(super) fn send(&mut self, call: CallId) -> bool {
        self.requests.send(call)
    }

    /// The server has answered how many subscribers each publication has reached.
    pub(super) fn on_reached(&mut self, reached: Vec<Reached>, cx: &mut Context<'_>) {
        for reached in reached {
            match reached {
                Reached::Request(call, count) => {
                    self.requests.on_published(call, count, cx.now, cx.out);
                }
                Reached::NoSubscriber(machine) => self.on_gone(machine, cx),
            }
        }
    }

    /// A request has been given to processes of this machine.
    pub(super) fn on_asked(&mut self, id: RequestId, workers: Option<&[u32]>, cx: &mut Context<'_>) {
        let Some((machine, call)) = self.served.asked_by(id) else { return };
        let numbers: Option<Vec<[u8; 4]>> =
            workers.map(|workers| workers.iter().map(|worker| worker.to_le_bytes()).collect());
        let workers = numbers.as_deref().map(Workers::new);
        cx.send(Topic::Machine(machine), Content::Announce { call, workers }, 0);
        if numbers.is_none_or(|numbers| numbers.is_empty()) {
            self.served.end(id);
        }
    }

    /// A worker of this machine has answered a request of another one.
    pub(super) fn on_answered(
        &mut self,
        (id, is_last): (RequestId, bool),
        worker: u32,
        status: Status,
        data: &[u8],
        cx: &mut Context<'_>,
    ) {
        let Some((machine, call)) = self.served.asked_by(id) else {
            // The request was cancelled.
            return cx.outgoing.release(data.len());
        };
        let topic = Topic::Machine(machine);
        if !cx.send(topic.clone(), Content::Outcome { call, worker, status, data }, data.len()) {
            cx.outgoing.release(data.len());
            cx.send(topic, Content::Outcome { call, worker, status: Status::Lost, data: &[] }, 0);
        }
        if is_last {
            self.served.end(id);
        }
    }

    /// A machine has published something to all machines.
    pub(super) fn on_broadcast(
        &mut self,
        (machine, session): (MachineId, u32),
        content: Content<'_>,
        has_room: bool,
        cx: &mut Context<'_>,
    ) {
        if machine == cx.machine {
            if let Content::Ask { call, .. } = content {
                self.requests.on_echo(call, cx.out);
            }
            return;
        }
        if !self.is_current(machine, session, cx) {
            return;
        }
        match content {
            Content::Ask { call, worker, leader, name, data } => {
                let asked = if has_room { self.served.begin(machine, call) } else { Asked::TooMany };
                match asked {
                    Asked::New(id) => {
                        self.peers.track(machine, session, cx.now);
                        let (leader, name) = (leader.map(Into::into), name.into());
                        cx.out.push(Output::Ask { id, worker, leader, name, data: data.to_vec() });
                    }
                    Asked::TooMany => {
                        cx.send(Topic::Machine(machine), Content::Announce { call, workers: None }, 0);
                    }
                    Asked::Known => {}
                }
            }
            Content::Cancel(call) => cx.out.extend(self.served.cancel(machine, call).map(Output::Cancel)),
            Content::LeaderNotice { worker, leader, name, data } => {
                let (leader, name) = (leader.into(), name.into());
                cx.out.push(Output::NotifyLeader { leader, name, worker, data: data.to_vec() });
            }
            _ => {}
        }
    }

    /// Another machine has published something to this one.
    pub(super) fn on_direct(
        &mut self,
        (machine, session): (MachineId, u32),
        content: Content<'_>,
        has_room: bool,
        cx: &mut Context<'_>,
    ) {
        if !self.is_current(machine, session, cx) {
            return;
        }
        match content {
            Content::Announce { call, workers } => {
                let is_owing = self.requests.on_announced(machine, call, workers, cx.out);
                if is_owing {
                    self.peers.track(machine, session, cx.now);
                }
            }
            Content::Outcome { call, worker, status, data } => {
                let (status, data) = if has_room { (status, data) } else { (Status::Lost, &[][..]) };
                self.requests.on_outcome((machine, call), worker, status, data, cx.out);
            }
            _ => {}
        }
    }

    /// Whether a publication counts: it does not if its connection has ended.
    fn is_current(&mut self, machine: MachineId, session: u32, cx: &mut Context<'_>) -> bool {
        match self.peers.on_received(machine, session, cx.now) {
            Freshness::Fresh => true,
            Freshness::Restarted => {
                self.on_gone(machine, cx);
                true
            }
            Freshness::Stale => false,
        }
    }

    fn on_gone(&mut self, machine: MachineId, cx: &mut Context<'_>) {
        self.requests.on_gone(machine, cx.out);
        cx.out.extend(self.served.on_gone(machine).into_iter().map(Output::Cancel));
    }

    /// The connection has ended.
    pub(super) fn on_disconnected(&mut self, cx: &mut Context<'_>) {
        self.requests.on_disconnected(cx.out);
        cx.out.extend(self.served.on_disconnected().into_iter().map(Output::Cancel));
        self.peers.clear();
    }

    /// Time has passed while the connection is open.
    pub(super) fn on_time(&mut self, cx: &mut Context<'_>) {
        let (requests, served) = (&self.requests, &self.served);
        let is_needed = |machine| requests.is_owed_by(machine) || served.is_for(machine);
        let (there, gone) = self.peers.check(cx.now, is_needed);
        for machine in there {
            cx.send(Topic::Machine(machine), Content::Alive, 0);
        }
        for machine in gone {
            self.on_gone(machine, cx);
        }
        self.requests.on_time(cx.now, cx.out);
        for call in self.requests.take_to_cancel() {
            cx.send(Topic::Requests, Content::Cancel(call), 0);
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
