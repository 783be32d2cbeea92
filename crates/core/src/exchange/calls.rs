//! Unfinished calls: their callers, and the processes that must answer.
//!
//! A request makes a call to each process that it targets. Only the called process learns the number of the
//! call; from any other process the number has no effect.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{CallId, ClientId, Process, RequestId};

/// A call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    from: ClientId,
    request: RequestId,
    to: ClientId,
    process: Process,
    /// Whether the called process knows that the time limit is over.
    is_late: bool,
}

#[derive(Debug)]
struct Pending {
    /// The number of outcomes that are still to be sent.
    rest: u32,
    calls: BTreeSet<CallId>,
}

/// One part of a request has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    /// The client that made the request.
    pub(super) from: ClientId,
    pub(super) request: RequestId,
    /// The called process.
    pub(super) process: Process,
    /// The number of parts still to end.
    pub(super) rest: u32,
}

/// The unfinished calls: see the module.
#[derive(Debug, Default)]
pub(super) struct Calls {
    next: u64,
    under_way: HashMap<CallId, Call>,
    requests: HashMap<ClientId, BTreeMap<RequestId, Pending>>,
    /// The calls that a client must answer.
    served: HashMap<ClientId, BTreeSet<CallId>>,
    /// The number of a client's unfinished calls.
    made: HashMap<ClientId, usize>,
}

impl Calls {
    /// The number of a client's unfinished calls.
    pub(super) fn made_by(&self, client: ClientId) -> usize {
        self.made.get(&client).copied().unwrap_or(0)
    }

    /// The number of calls that a client must answer.
    pub(super) fn served_by(&self, client: ClientId) -> usize {
        self.served.get(&client).map_or(0, BTreeSet::len)
    }

    pub(super) fn is_open(&self, client: ClientId, request: RequestId) -> bool {
        self.requests.get(&client).is_some_and(|its| its.contains_key(&request))
    }

    /// Begins a request with this number of parts.
    pub(super) fn open(&mut self, from: ClientId, request: RequestId, parts: u32) {
        let pending = Pending { rest: parts, calls: BTreeSet::new() };
        self.requests.entry(from).or_default().insert(request, pending);
    }

    /// Begins a call as one part of a request.
    pub(super) fn begin(
        &mut self,
        from: ClientId,
        request: RequestId,
        to: ClientId,
        process: Process,
    ) -> CallId {
        self.next += 1;
        let id = CallId(self.next);
        self.under_way.insert(id, Call { from, request, to, process, is_late: false });
        self.served.entry(to).or_default().insert(id);
        *self.made.entry(from).or_default() += 1;
        if let Some(pending) = self.requests.get_mut(&from).and_then(|its| its.get_mut(&request)) {
            pending.calls.insert(id);
        }
        id
    }

    /// Ends a part of a request for which no call is made. Returns the number of parts still to end.
    pub(super) fn end_part(&mut self, from: ClientId, request: RequestId) -> u32 {
        let Some(its) = self.requests.get_mut(&from) else { return 0 };
        let Some(pending) = its.get_mut(&request) else { return 0 };
        pending.rest -= 1;
        let rest = pending.rest;
        if rest == 0 {
            its.remove(&request);
            if its.is_empty() {
                self.requests.remove(&from);
            }
        }
        rest
    }

    /// A process has answered. `None` if the call is not its own, or its caller no longer waits.
    pub(super) fn settle(&mut self, by: ClientId, id: CallId) -> Option<Settled> {
        if self.under_way.get(&id)?.to != by {
            return None;
        }
        self.end(id)
    }

    fn end(&mut self, id: CallId) -> Option<Settled> {
        let Call { from, request, process, .. } = self.remove(id)?;
        let rest = self.end_part(from, request);
        Some(Settled { from, request, process, rest })
    }

    /// Removes a call that was not sent because its target has no room.
    pub(super) fn remove(&mut self, id: CallId) -> Option<Call> {
        let call = self.under_way.remove(&id)?;
        let Call { from, request, to, .. } = call;
        if let Some(served) = self.served.get_mut(&to) {
            served.remove(&id);
            if served.is_empty() {
                self.served.remove(&to);
            }
        }
        if let Some(made) = self.made.get_mut(&from) {
            *made -= 1;
            if *made == 0 {
                self.made.remove(&from);
            }
        }
        if let Some(pending) = self.requests.get_mut(&from).and_then(|its| its.get_mut(&request)) {
            pending.calls.remove(&id);
        }
        Some(call)
    }

    /// The client that waits for a part of a request to end, the request, and the number of parts still to end.
    pub(super) fn part(&self, by: ClientId, id: CallId) -> Option<(ClientId, RequestId, u32)> {
        let Call { from, request, .. } = self.under_way.get(&id).filter(|call| call.to == by)?;
        let pending = self.requests.get(from)?.get(request)?;
        Some((*from, *request, pending.rest))
    }

    fn of(&self, from: ClientId, request: RequestId) -> Vec<CallId> {
        let pending = self.requests.get(&from).and_then(|its| its.get(&request));
        pending.into_iter().flat_map(|it| &it.calls).copied().collect()
    }

    /// The time limit of a request is over. Returns its call to a client that reports the outcome itself;
    /// only once.
    pub(super) fn hurry(&mut self, from: ClientId, request: RequestId, to: ClientId) -> Option<CallId> {
        let mut calls = self.of(from, request).into_iter();
        calls.find(|id| {
            let call = self.under_way.get_mut(id).filter(|call| call.to == to && !call.is_late);
            call.is_some_and(|call| !std::mem::replace(&mut call.is_late, true))
        })
    }

    /// Cancels a request, except for a call to one client. Returns the called processes, and the number of
    /// parts that end with this.
    pub(super) fn cancel(
        &mut self,
        from: ClientId,
        request: RequestId,
        spared: Option<ClientId>,
    ) -> Vec<(ClientId, CallId, Settled)> {
        let ended = self.of(from, request).into_iter().filter_map(|id| {
            let to = self.under_way.get(&id)?.to;
            if Some(to) == spared { None } else { Some((to, id, self.end(id)?)) }
        });
        ended.collect()
    }

    /// A client has left. Returns the calls of others that it can no longer answer, and the calls whose
    /// caller it was.
    pub(super) fn leave(&mut self, client: ClientId) -> (Vec<Settled>, Vec<(ClientId, CallId)>) {
        let requests: Vec<RequestId> =
            self.requests.get(&client).into_iter().flat_map(BTreeMap::keys).copied().collect();
        let cancelled = requests.into_iter().flat_map(|request| self.cancel(client, request, None));
        let cancelled: Vec<_> =
            cancelled.map(|(to, id, _)| (to, id)).filter(|(to, _)| *to != client).collect();
        let served: Vec<CallId> = self.served.get(&client).into_iter().flatten().copied().collect();
        let settled = served.into_iter().filter_map(|id| self.end(id)).collect();
        (settled, cancelled)
    }

    pub(super) fn check_invariants(&self, is_there: impl Fn(ClientId) -> bool) {
        for (id, call) in &self.under_way {
            assert!(is_there(call.from) && is_there(call.to), "the dead neither wait nor are waited for");
            assert!(self.served[&call.to].contains(id), "who is called knows the call");
            assert!(self.requests[&call.from][&call.request].calls.contains(id), "who waits knows the call");
        }
        let served: usize = self.served.values().map(BTreeSet::len).sum();
        let made: usize = self.made.values().sum();
        let pending = self.requests.values().flat_map(BTreeMap::values);
        let waited_for: usize = pending.clone().map(|it| it.calls.len()).sum();
        let count = self.under_way.len();
        assert_eq!((served, made, waited_for), (count, count, count));
        for pending in pending {
            assert_eq!(pending.rest as usize, pending.calls.len(), "all that is to come comes of a call");
        }
    }
}
