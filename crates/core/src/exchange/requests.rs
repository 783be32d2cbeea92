//! Carries out the requests of processes: messages, requests and answers, and those about pairs.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::calls::Settled;
use super::frame::{Head, Kind, OWN, Outgoing, Status, flag_of};
use super::outbox::Topic;
use super::pairs::{PairId, Published};
use super::{CallId, ClientId, Exchange, MAX_CALLS, MAX_UNREAD, Nonsense, Process, RequestId, Scope};

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
        // What is posted here is for other machines as well.
        let elsewhere = self.elsewhere().filter(|_| scope == Scope::All);
        let known = self.channels_of(scope).listeners(channel);
        if known.is_none() && elsewhere.is_none() {
            return;
        }
        let name = known.map_or_else(|| channel.into(), |(name, _)| Arc::clone(name));
        let listeners = known.into_iter().flat_map(|(_, listeners)| listeners).copied();
        let listeners: Vec<ClientId> =
            listeners.filter(|to| echo || *to != client).chain(elsewhere).collect();
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
        name: &[u8],
        data: &[u8],
        found: Vec<(Process, Result<ClientId, Status>)>,
        published: Published<'_>,
    ) -> Result<(), Nonsense> {
        if self.calls.is_open(client, id) {
            return Err(Nonsense);
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
        let data: Arc<[u8]> = data.into();
        self.calls.open(client, id, u32::try_from(found.len()).map_err(|_| Nonsense)?);
        let nothing = Arc::clone(&self.nothing);
        for (process, link) in found {
            let called = link.and_then(|link| self.call(client, id, (link, process), name, &data, published));
            if let Err(status) = called {
                let rest = self.calls.end_part(client, id);
                let settled = Settled { from: client, request: id, process, rest };
                self.tell_outcome(settled, status, &nothing, client);
            }
        }
        Ok(())
    }

    fn call(
        &mut self,
        from: ClientId,
        id: RequestId,
        (to, process): (ClientId, Process),
        name: &[u8],
        data: &Arc<[u8]>,
        published: Published<'_>,
    ) -> Result<(), Status> {
        let worker = self.clients.get(&from).map_or(0, |its| its.process.number());
        let its = self.clients.get_mut(&to).ok_or(Status::Gone)?;
        if self.calls.served_by(to) + self.pairs.served_by(to, published) >= MAX_CALLS {
            return Err(Status::Busy);
        }
        let call = self.calls.begin(from, id, to, process);
        let head = Head { worker, number: call.0, name, ..Head::new(Kind::Request) };
        if its.outbox.offer(from, Outgoing::new(&head, data)) {
            self.ready.insert(to);
            return Ok(());
        }
        self.calls.remove(call);
        Err(Status::Busy)
    }

    pub(super) fn notify(
        &mut self,
        client: ClientId,
        name: &[u8],
        data: &[u8],
        found: Vec<(Process, Result<ClientId, Status>)>,
    ) {
        let worker = self.clients.get(&client).map_or(0, |its| its.process.number());
        let data: Arc<[u8]> = data.into();
        for link in found.into_iter().filter_map(|(_, link)| link.ok()) {
            let Some(its) = self.clients.get_mut(&link) else { continue };
            let head = Head { worker, name, ..Head::new(Kind::Notice) };
            let topic = Topic::Handler(name.into());
            its.outbox.offer_or_drop(client, &topic, Outgoing::new(&head, &data));
            self.ready.insert(link);
        }
    }

    pub(super) fn cancel(&mut self, client: ClientId, id: RequestId, tell: bool) {
        let nothing = Arc::clone(&self.nothing);
        for (to, call, settled) in self.calls.cancel(client, id) {
            self.tell_cancelled(client, to, call);
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
        let head = |status: Status| Head {
            flag: status as u8,
            worker: process.number(),
            rest,
            number: request.0,
            ..Head::new(Kind::Outcome)
        };
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

    pub(super) fn tell_cancelled(&mut self, by: ClientId, to: ClientId, call: CallId) {
        let Some(its) = self.clients.get_mut(&to) else { return };
        let head = Head { number: call.0, ..Head::new(Kind::Cancelled) };
        // If there is no room, the process only does unneeded work.
        let _in_vain = its.outbox.offer(by, Outgoing::new(&head, &self.nothing));
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
        } else {
            self.end_pair(client, pair, Status::Lost);
        }
    }

    /// A client sends a mark to the other process of a pair.
    pub(super) fn mark(&mut self, client: ClientId, pair: PairId, number: u64) {
        let Some(partner) = self.pairs.partner(client, pair) else { return };
        let Some(its) = self.clients.get_mut(&partner) else { return };
        its.outbox.mark(client, pair, number);
        self.ready.insert(partner);
    }

    /// Ends a pair that cannot be used any more.
    pub(super) fn end_pair(&mut self, client: ClientId, pair: PairId, status: Status) {
        if let Some(partner) = self.pairs.end(client, pair) {
            for client in [client, partner] {
                self.tell_of_pair(client, Kind::Unpaired, pair, status as u8);
            }
        }
    }

    pub(super) fn tell_of_pair(&mut self, client: ClientId, kind: Kind, pair: PairId, flag: u8) {
        let frame = Outgoing::new(&Head { flag, rest: pair.0, ..Head::new(kind) }, &self.nothing);
        self.answer(client, frame);
    }
}
