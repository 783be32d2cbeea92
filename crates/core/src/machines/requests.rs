//! The requests of this machine to others.
//!
//! The server reports how many machines a request has reached, and each of them announces which of its
//! workers will answer. So the request can end when all answers are there, even if some machines have no
//! worker or no leader. A machine that announces nothing for [`SILENCE`] ms is missing. After its
//! announcement, a machine's part ends with its answers, or when the machine is gone.
//!
//! Announcements may arrive before the server's report. A request does not end before this machine has
//! received its own publication: without it, its subscription does not work, and answers of other machines
//! may not arrive either.

use std::collections::{BTreeMap, BTreeSet};

use super::peers::SILENCE;
use super::topic::MachineId;
use super::wire::Workers;
use super::{End, Output};
use crate::exchange::CallId;
use crate::exchange::frame::Status;

/// The largest number of machines that answer one request.
const MAX_MACHINES: usize = 4096;

/// The largest number of outstanding outcomes of all requests.
const MAX_OWED: usize = 1 << 20;

/// When the machines that a request has reached must have announced something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Limit {
    /// The server has not reported how many there are.
    #[default]
    Unknown,
    At(u64),
    Over,
}

#[derive(Debug, Default)]
struct Request {
    /// Whether it is for a leader, and not for all workers.
    is_for_leader: bool,
    /// Whether it has left the queue.
    is_sent: bool,
    /// Whether this machine has received its own publication.
    is_echoed: bool,
    /// The number of other machines that it has reached.
    others: Option<u64>,
    limit: Limit,
    announced: BTreeSet<MachineId>,
    /// The workers that have not answered.
    owed: BTreeMap<MachineId, BTreeSet<u32>>,
}

impl Request {
    /// How many of the machines reached have not announced anything. `None` if that is unknown.
    fn missing(&self) -> Option<u32> {
        let others = self.others.filter(|_| self.is_echoed)?;
        let missing = others.saturating_sub(self.announced.len() as u64);
        Some(u32::try_from(missing).unwrap_or(u32::MAX))
    }
}

/// The requests: see the module.
#[derive(Debug, Default)]
pub(super) struct Requests {
    open: BTreeMap<CallId, Request>,
    /// The limits of the requests that have one.
    limits: BTreeSet<(u64, CallId)>,
    /// The number of outstanding outcomes.
    owed: usize,
    /// Requests to cancel on other machines.
    to_cancel: Vec<CallId>,
}

impl Requests {
    pub(super) fn begin(&mut self, call: CallId, is_for_leader: bool) {
        self.open.insert(call, Request { is_for_leader, ..Request::default() });
    }

    /// A request leaves the queue. Returns false if the process no longer waits for it.
    pub(super) fn send(&mut self, call: CallId) -> bool {
        self.open.get_mut(&call).is_some_and(|request| {
            request.is_sent = true;
            true
        })
    }

    /// The request was published, and reached this many machines, including this one.
    pub(super) fn on_published(&mut self, call: CallId, reached: u64, now: u64, out: &mut Vec<Output>) {
        let Some(request) = self.open.get_mut(&call) else { return };
        request.others = Some(reached.saturating_sub(1));
        request.limit = Limit::At(now + SILENCE);
        self.limits.insert((now + SILENCE, call));
        self.proceed(call, out);
    }

    /// This machine has received its own publication.
    pub(super) fn on_echo(&mut self, call: CallId, out: &mut Vec<Output>) {
        if let Some(request) = self.open.get_mut(&call) {
            request.is_echoed = true;
            self.proceed(call, out);
        }
    }

    /// A machine announces its workers. Returns whether answers will follow.
    pub(super) fn on_announced(
        &mut self,
        machine: MachineId,
        call: CallId,
        workers: Option<Workers<'_>>,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(request) = self.open.get_mut(&call).filter(|request| request.is_sent) else {
            // The request has already ended.
            if workers.is_some_and(|workers| workers.iter().next().is_some()) {
                self.to_cancel.push(call);
            }
            return false;
        };
        let is_refused = workers.is_none();
        // A machine that refuses may have the leader, so it counts as missing.
        if is_refused && request.is_for_leader || request.announced.len() >= MAX_MACHINES {
            return false;
        }
        if !request.announced.insert(machine) {
            return false;
        }
        let workers: BTreeSet<u32> = workers.into_iter().flat_map(Workers::iter).collect();
        if is_refused || self.owed + workers.len() > MAX_OWED {
            out.push(Output::outcome(call, machine, 0, Status::Busy));
            self.proceed(call, out);
            return false;
        }
        self.owed += workers.len();
        let is_owing = !workers.is_empty();
        if is_owing {
            request.owed.insert(machine, workers);
        }
        self.proceed(call, out);
        is_owing
    }

    /// A worker has answered.
    pub(super) fn on_outcome(
        &mut self,
        (machine, call): (MachineId, CallId),
        worker: u32,
        status: Status,
        data: &[u8],
        out: &mut Vec<Output>,
    ) {
        let Some(request) = self.open.get_mut(&call) else { return };
        let Some(owed) = request.owed.get_mut(&machine) else { return };
        if !owed.remove(&worker) {
            return;
        }
        self.owed -= 1;
        if owed.is_empty() {
            request.owed.remove(&machine);
        }
        out.push(Output::Outcome { call, machine, worker, status, data: data.to_vec() });
        if request.is_for_leader { self.end(call, End::Complete, out) } else { self.proceed(call, out) }
    }

    /// A machine is gone. Its outstanding outcomes end.
    pub(super) fn on_gone(&mut self, machine: MachineId, out: &mut Vec<Output>) {
        let owing = self.open.iter().filter(|(_, request)| request.owed.contains_key(&machine));
        let owing: Vec<CallId> = owing.map(|(call, _)| *call).collect();
        for call in owing {
            let Some(request) = self.open.get_mut(&call) else { continue };
            let workers = request.owed.remove(&machine).unwrap_or_default();
            self.owed -= workers.len();
            let is_for_leader = request.is_for_leader;
            out.extend(
                workers.into_iter().map(|worker| Output::outcome(call, machine, worker, Status::Gone)),
            );
            if is_for_leader { self.end(call, End::Complete, out) } else { self.proceed(call, out) }
        }
    }

    /// The connection has ended, and with it all requests that were sent.
    pub(super) fn on_disconnected(&mut self, out: &mut Vec<Output>) {
        let sent = self.open.iter().filter(|(_, request)| request.is_sent);
        let sent: Vec<CallId> = sent.map(|(call, _)| *call).collect();
        for call in sent {
            self.give_up(call, Status::Disconnected, |_| End::Disconnected, out);
        }
        // The other machines cannot be told.
        self.to_cancel.clear();
    }

    /// The request could not be published.
    pub(super) fn on_unpublished(&mut self, call: CallId, end: End, out: &mut Vec<Output>) {
        self.end(call, end, out);
    }

    /// The process no longer waits. With `tell`, its time limit is over, and it is told what is missing.
    pub(super) fn cancel(&mut self, call: CallId, tell: bool, out: &mut Vec<Output>) {
        let Some(request) = self.open.get(&call) else { return };
        if request.is_sent {
            self.to_cancel.push(call);
        }
        if tell {
            self.give_up(call, Status::Cancelled, End::Late, out);
        } else {
            self.remove(call);
        }
    }

    /// Ends requests to machines that have announced nothing in time.
    pub(super) fn on_time(&mut self, now: u64, out: &mut Vec<Output>) {
        while let Some((limit, call)) = self.limits.first().copied().filter(|(limit, _)| *limit <= now) {
            self.limits.remove(&(limit, call));
            let Some(request) = self.open.get_mut(&call) else { continue };
            request.limit = Limit::Over;
            if request.is_echoed {
                self.proceed(call, out);
            } else {
                // This machine does not receive its own publications.
                self.to_cancel.push(call);
                self.give_up(call, Status::Disconnected, |_| End::Disconnected, out);
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.limits.first().map(|(limit, _)| *limit)
    }

    /// Takes the requests to cancel on other machines.
    pub(super) fn take_to_cancel(&mut self) -> Vec<CallId> {
        std::mem::take(&mut self.to_cancel)
    }

    /// Whether outcomes of a machine are outstanding.
    pub(super) fn is_owed_by(&self, machine: MachineId) -> bool {
        self.open.values().any(|request| request.owed.contains_key(&machine))
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Ends a request if nothing more can arrive.
    fn proceed(&mut self, call: CallId, out: &mut Vec<Output>) {
        let Some(request) = self.open.get(&call) else { return };
        let Some(missing) = request.missing() else { return };
        if !request.owed.is_empty() || missing > 0 && request.limit != Limit::Over {
            return;
        }
        let end = match missing {
            0 if request.is_for_leader => End::NoLeader,
            0 => End::Complete,
            missing => End::Missing(missing),
        };
        self.end(call, end, out);
    }

    /// Ends a request early. Workers that have not answered get this status. `end` is called with the number
    /// of machines that have announced nothing.
    fn give_up(&mut self, call: CallId, status: Status, end: impl FnOnce(u32) -> End, out: &mut Vec<Output>) {
        let Some(request) = self.open.get(&call) else { return };
        let owed = request.owed.iter();
        let owed = owed.flat_map(|(machine, workers)| workers.iter().map(|worker| (*machine, *worker)));
        let owed = owed.map(|(machine, worker)| Output::outcome(call, machine, worker, status));
        let before = out.len();
        out.extend(owed);
        let is_told = out.len() > before;
        let end = match request.missing() {
            Some(0) if is_told || !request.is_for_leader => End::Complete,
            missing => end(missing.unwrap_or(0)),
        };
        self.remove(call);
        out.push(Output::Ended { call, end });
    }

    fn end(&mut self, call: CallId, end: End, out: &mut Vec<Output>) {
        let Some(request) = self.remove(call) else { return };
        if !request.owed.is_empty() {
            self.to_cancel.push(call);
        }
        out.push(Output::Ended { call, end });
    }

    fn remove(&mut self, call: CallId) -> Option<Request> {
        let request = self.open.remove(&call)?;
        if let Limit::At(limit) = request.limit {
            self.limits.remove(&(limit, call));
        }
        self.owed -= request.owed.values().map(BTreeSet::len).sum::<usize>();
        Some(request)
    }

    pub(super) fn check_invariants(&self, is_open: bool) {
        let owed = self.open.values().flat_map(|request| request.owed.values()).map(BTreeSet::len);
        assert_eq!(self.owed, owed.sum::<usize>());
        assert!(self.owed <= MAX_OWED, "what is waited for is bounded");
        assert!(self.open.values().flat_map(|request| request.owed.values()).all(|its| !its.is_empty()));
        let limited = self.open.iter().filter_map(|(call, request)| match request.limit {
            Limit::At(limit) => Some((limit, *call)),
            Limit::Unknown | Limit::Over => None,
        });
        assert_eq!(self.limits, limited.collect::<BTreeSet<_>>());
        assert!(is_open || self.open.values().all(|request| !request.is_sent), "it ends with the connection");
    }
}
