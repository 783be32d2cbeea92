//! Carries out the requests of processes: messages, calls, answers, and requests about pairs.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::calls::Settled;
use super::frame::{COMMON, Head, Kind, LEADER, OWN, Outgoing, Status, flag_of};
use super::outbox::Topic;
use super::pairs::{PairId, Published};
use super::routing::Found;
use super::{
    CallId, ClientId, Exchange, MAX_CALLS, MAX_UNREAD, OTHER_MACHINES, Process, ProtocolViolation, RequestId,
    Scope, Target,
};

/// The data for the handlers of a name: a call or a notice.
pub(super) struct Content<'a> {
    /// The sending worker; 0 is the primary.
    worker: u32,
    /// The flag of its frames within this machine.
    flag: u8,
    /// The name of the leader, if it is for a leader on another machine.
    leader: Option<&'a [u8]>,
    name: &'a [u8],
    data: Arc<[u8]>,
}

impl<'a> Content<'a> {
    pub(super) fn new(worker: u32, target: Target<'a>, name: &'a [u8], data: &[u8]) -> Self {
        let leader = match target {
            Target::Leader(Scope::All, leader) => Some(leader),
            _ => None,
        };
        Self { worker, flag: 0, leader, name, data: data.into() }
    }

    /// Data from another machine.
    pub(super) fn from_other_machine(worker: u32, name: &'a [u8], data: &[u8]) -> Self {
        Self { worker, flag: COMMON, leader: None, name, data: data.into() }
    }

    fn frame(&self, kind: Kind, number: u64, to: ClientId) -> Outgoing {
        let head = Head { flag: self.flag, worker: self.worker, number, name: self.name, ..Head::new(kind) };
        match self.leader {
            Some(leader) if to == OTHER_MACHINES => {
                // The length is at most `MAX_NAME`.
                let rest = u32::try_from(leader.len()).unwrap_or(u32::MAX);
                Outgoing::new(&Head { flag: LEADER, rest, ..head }, &[leader, &self.data].concat().into())
            }
            _ => Outgoing::new(&head, &self.data),
        }
    }
}

impl Exchange {
    pub(super) fn post(
        &mut self,
        client: ClientId,
        (scope, channel): (Scope, &[u8]),
        origin: u64,
        echo: bool,
        data: &[u8],
    ) {
        let Some(worker) = self.clients.get(&client).map(|its| its.process.number()) else { return };
        // Other machines get the message, too.
        let other_machines = self.other_machines().filter(|_| scope == Scope::All);
        let known = self.channels_of(scope).listeners(channel);
        if known.is_none() && other_machines.is_none() {
            return;
        }
        let name = known.map_or_else(|| channel.into(), |(name, _)| Arc::clone(name));
        let listeners = known.into_iter().flat_map(|(_, listeners)| listeners).copied();
        let listeners: Vec<ClientId> =
            listeners.filter(|to| echo || *to != client).chain(other_machines).collect();
        let data: Arc<[u8]> = data.into();
        let topic = Topic::Channel(scope, Arc::clone(&name));
        for to in listeners {
            let Some(its) = self.clients.get_mut(&to) else { continue };
            let flag = if to == client { OWN } else { 0 } | flag_of(scope);
            let head = Head { flag, worker, number: origin, name: &name, ..Head::new(Kind::Message) };
            its.outbox.offer_or_drop(client, &topic, Outgoing::new(&head, &data));
            self.ready.insert(to);
        }
    }

    pub(super) fn request(
        &mut self,
        client: ClientId,
        id: RequestId,
        what: &Content<'_>,
        found: Vec<Found>,
        published: Published<'_>,
    ) -> Result<(), ProtocolViolation> {
        if self.calls.is_open(client, id) {
            return Err(ProtocolViolation);
        }
        let unread = self.clients.get(&client).map_or(0, |its| its.outbox.answers());
        let direct = self.pairs.made_by(client, published);
        if self.calls.made_by(client) + direct + unread + found.len() > MAX_CALLS {
            self.tell_end(client, id, Status::Limit);
            return Ok(());
        }
        if found.is_empty() {
            self.tell_end(client, id, Status::Nobody);
            return Ok(());
        }
        self.begin(client, id, what, found, published);
        Ok(())
    }

    /// Makes a call to each process that was found.
    pub(super) fn begin(
        &mut self,
        client: ClientId,
        id: RequestId,
        what: &Content<'_>,
        found: Vec<Found>,
        published: Published<'_>,
    ) {
        // There are at most as many as workers.
        self.calls.open(client, id, u32::try_from(found.len()).unwrap_or(u32::MAX));
        let nothing = Arc::clone(&self.nothing);
        for (process, link) in found {
            let called = link.and_then(|link| self.call(client, id, (link, process), what, published));
            if let Err(status) = called {
                let rest = self.calls.end_part(client, id);
                let settled = Settled { from: client, request: id, process, rest };
                self.tell_outcome(settled, status, &nothing, client);
            }
        }
    }

    fn call(
        &mut self,
        from: ClientId,
        id: RequestId,
        (to, process): (ClientId, Process),
        what: &Content<'_>,
        published: Published<'_>,
    ) -> Result<(), Status> {
        let busy = if to == OTHER_MACHINES { Status::Unsent } else { Status::Busy };
        let its = self.clients.get_mut(&to).ok_or(Status::Gone)?;
        if self.calls.served_by(to) + self.pairs.served_by(to, published) >= MAX_CALLS {
            return Err(busy);
        }
        let call = self.calls.begin(from, id, to, process);
        if its.outbox.offer(from, what.frame(Kind::Request, call.0, to)) {
            self.ready.insert(to);
            return Ok(());
        }
        self.calls.remove(call);
        Err(busy)
    }

    pub(super) fn notify(&mut self, client: ClientId, what: &Content<'_>, found: Vec<Found>) {
        let topic = Topic::Handler(what.name.into());
        for link in found.into_iter().filter_map(|(_, link)| link.ok()) {
            let Some(its) = self.clients.get_mut(&link) else { continue };
            its.outbox.offer_or_drop(client, &topic, what.frame(Kind::Notice, 0, link));
            self.ready.insert(link);
        }
    }

    pub(super) fn cancel(&mut self, client: ClientId, id: RequestId, tell: bool) {
        // Other machines report themselves which outcomes are missing.
        let spared = if tell { Some(OTHER_MACHINES) } else { None };
        if tell && let Some(call) = self.calls.hurry(client, id, OTHER_MACHINES) {
            self.tell_cancelled(client, OTHER_MACHINES, call, true);
        }
        let nothing = Arc::clone(&self.nothing);
        for (to, call, settled) in self.calls.cancel(client, id, spared) {
            self.tell_cancelled(client, to, call, false);
            if tell {
                self.tell_outcome(settled, Status::Cancelled, &nothing, client);
            }
        }
    }

    pub(super) fn reply(&mut self, client: ClientId, call: CallId, status: Status, data: &[u8]) {
        if let Some(settled) = self.calls.settle(client, call) {
            self.tell_outcome(settled, status, &data.into(), client);
        }
    }

    /// Sends the outcome of a call. `by` is the client that ended the call.
    pub(super) fn tell_outcome(&mut self, settled: Settled, status: Status, data: &Arc<[u8]>, by: ClientId) {
        let Settled { from, request, process, rest } = settled;
        let head = Head { worker: process.number(), rest, number: request.0, ..Head::new(Kind::Outcome) };
        self.send_outcome(from, &head, status, data, by);
    }

    pub(super) fn send_outcome(
        &mut self,
        from: ClientId,
        head: &Head<'_>,
        status: Status,
        data: &Arc<[u8]>,
        by: ClientId,
    ) {
        let head = |status: Status| Head { flag: status as u8, ..*head };
        let Some(its) = self.clients.get_mut(&from) else { return };
        self.ready.insert(from);
        if data.is_empty() || !its.outbox.offer(by, Outgoing::new(&head(status), data)) {
            // A reply without data is as short as the report that a reply was lost.
            let status = if data.is_empty() { status } else { Status::Lost };
            its.outbox.answer(Outgoing::new(&head(status), &self.nothing));
        }
    }

    /// Ends a request as a whole.
    fn tell_end(&mut self, client: ClientId, id: RequestId, status: Status) {
        let head = Head { flag: status as u8, number: id.0, ..Head::new(Kind::Outcome) };
        let frame = Outgoing::new(&head, &self.nothing);
        self.answer(client, frame);
    }

    pub(super) fn tell_cancelled(&mut self, by: ClientId, to: ClientId, call: CallId, tell: bool) {
        let Some(its) = self.clients.get_mut(&to) else { return };
        let head = Head { flag: tell.into(), number: call.0, ..Head::new(Kind::Cancelled) };
        let frame = Outgoing::new(&head, &self.nothing);
        if to == OTHER_MACHINES {
            // It must not be dropped, or other machines would wait in vain. There are at most two for each
            // call.
            its.outbox.answer(frame);
        } else {
            // If there is no room, the process does unneeded work, and nothing else happens.
            let _in_vain = its.outbox.offer(by, frame);
        }
        self.ready.insert(to);
    }

    /// A process has made a request to another one: creates a pair, if both may have one.
    pub(super) fn pair(&mut self, from: ClientId, to: ClientId) {
        let is_fit = [from, to].iter().all(|client| {
            self.clients.get(client).is_some_and(|its| {
                // If a process has several links, only the exchange knows which one handles a name.
                let links = self.links.get(&its.process).map_or(0, BTreeSet::len);
                links == 1 && its.outbox.answers() < MAX_UNREAD
            })
        });
        if is_fit {
            self.pairs.on_request(from, to);
        }
    }

    /// Forwards an answer to a direct request that does not go over the pair's socket.
    pub(super) fn answer_pair(
        &mut self,
        client: ClientId,
        pair: PairId,
        id: RequestId,
        status: Status,
        data: &[u8],
    ) {
        let Some(partner) = self.pairs.partner(client, pair) else { return };
        let Some(its) = self.clients.get_mut(&partner) else { return };
        let head = Head { flag: status as u8, rest: pair.0, number: id.0, ..Head::new(Kind::Answer) };
        if its.outbox.offer(client, Outgoing::new(&head, &data.into())) {
            self.ready.insert(partner);
        } else if self.pairs.on_lost(pair) {
            self.tell_of_pair(client, Kind::Retired, pair, Status::Lost as u8);
        }
    }

    /// A client sends a mark to the other process of a pair.
    pub(super) fn mark(&mut self, client: ClientId, pair: PairId, number: u64) {
        let Some(partner) = self.pairs.partner(client, pair) else { return };
        let Some(its) = self.clients.get_mut(&partner) else { return };
        its.outbox.mark(client, pair, number);
        self.ready.insert(partner);
    }

    /// A client ends a pair.
    pub(super) fn end_pair(&mut self, client: ClientId, pair: PairId) {
        if let Some((partner, status)) = self.pairs.end(client, pair) {
            self.tell_of_pair(partner, Kind::Unpaired, pair, status as u8);
        }
    }

    pub(super) fn tell_of_pair(&mut self, client: ClientId, kind: Kind, pair: PairId, flag: u8) {
        let frame = Outgoing::new(&Head { flag, rest: pair.0, ..Head::new(kind) }, &self.nothing);
        self.answer(client, frame);
    }
}
