//! What this machine has asked others, and what has come of it.
//!
//! The server says how many machines a request has reached, and each of them announces which workers answer. So it is known
//! when all have: also if some have no worker, or do not lead. A machine that has been reached and announces nothing for
//! [`SILENCE`] ms is missing; one that has announced something ends it by its answers, or by its end.
//!
//! What comes before the server has said so counts as well, and the request does not end before this machine has heard itself:
//! otherwise it does not hear the others either.

use std::collections::{BTreeMap, BTreeSet};

use super::peers::SILENCE;
use super::topic::MachineId;
use super::wire::Workers;
use super::{End, Output};
use crate::exchange::CallId;
use crate::exchange::frame::Status;

/// The largest number of machines that answer one request.
const MAX_MACHINES: usize = 4096;

/// The largest number of outcomes that all requests wait for.
const MAX_OWED: usize = 1 << 20;

/// Until when the machines that a request has reached have to announce something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Limit {
    /// The server has not said how many it has reached.
    #[default]
    Unknown,
    At(u64),
    Over,
}

#[derive(Debug, Default)]
struct Request {
    /// Whether it is for the one that leads, and not for all workers.
    is_for_leader: bool,
    /// Whether it has left the queue.
    is_sent: bool,
    /// Whether this machine has heard itself.
    is_heard: bool,
    /// How many other machines it has reached.
    others: Option<u64>,
    limit: Limit,
    announced: BTreeSet<MachineId>,
    /// The workers that have not answered.
    owed: BTreeMap<MachineId, BTreeSet<u32>>,
}

impl Request {
    /// How many of the machines that it has reached have not announced anything. `None`: that is not known.
    fn missing(&self) -> Option<u32> {
        let others = self.others.filter(|_| self.is_heard)?;
        let missing = others.saturating_sub(self.announced.len() as u64);
        Some(u32::try_from(missing).unwrap_or(u32::MAX))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Requests {
    open: BTreeMap<CallId, Request>,
    /// The limits of those that have one.
    limits: BTreeSet<(u64, CallId)>,
    /// How many outcomes they wait for.
    owed: usize,
    /// Those of which others have to be told that nobody waits any more.
    unneeded: Vec<CallId>,
}

impl Requests {
    pub(super) fn begin(&mut self, call: CallId, is_for_leader: bool) {
        self.open.insert(call, Request { is_for_leader, ..Request::default() });
    }

    /// It leaves the queue, if somebody waits for it.
    pub(super) fn send(&mut self, call: CallId) -> bool {
        self.open.get_mut(&call).is_some_and(|request| {
            request.is_sent = true;
            true
        })
    }

    /// The server has passed it on to so many machines, this one included.
    pub(super) fn on_published(&mut self, call: CallId, reached: u64, now: u64, out: &mut Vec<Output>) {
        let Some(request) = self.open.get_mut(&call) else { return };
        request.others = Some(reached.saturating_sub(1));
        request.limit = Limit::At(now + SILENCE);
        self.limits.insert((now + SILENCE, call));
        self.proceed(call, out);
    }

    /// This machine has heard itself.
    pub(super) fn on_echo(&mut self, call: CallId, out: &mut Vec<Output>) {
        if let Some(request) = self.open.get_mut(&call) {
            request.is_heard = true;
            self.proceed(call, out);
        }
    }

    /// A machine announces its workers. Returns whether it owes something from now on.
    pub(super) fn on_announced(
        &mut self,
        machine: MachineId,
        call: CallId,
        workers: Option<Workers<'_>>,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(request) = self.open.get_mut(&call).filter(|request| request.is_sent) else {
            // It has ended without them.
            if workers.is_some_and(|workers| workers.iter().next().is_some()) {
                self.unneeded.push(call);
            }
            return false;
        };
        let is_refused = workers.is_none();
        // It may be the one with the leader: then it is missing.
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

    /// A machine is gone, with all that it owes.
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

    /// The connection has ended, and with it all that has been sent.
    pub(super) fn on_disconnected(&mut self, out: &mut Vec<Output>) {
        let sent = self.open.iter().filter(|(_, request)| request.is_sent);
        let sent: Vec<CallId> = sent.map(|(call, _)| *call).collect();
        for call in sent {
            self.give_up(call, Status::Disconnected, |_| End::Disconnected, out);
        }
        // They cannot be told either.
        self.unneeded.clear();
    }

    /// It could not be published.
    pub(super) fn on_unpublished(&mut self, call: CallId, end: End, out: &mut Vec<Output>) {
        self.end(call, end, out);
    }

    /// The process does not wait any more. With `tell` its time is up, and it is told what is missing.
    pub(super) fn cancel(&mut self, call: CallId, tell: bool, out: &mut Vec<Output>) {
        let Some(request) = self.open.get(&call) else { return };
        if request.is_sent {
            self.unneeded.push(call);
        }
        if tell {
            self.give_up(call, Status::Cancelled, End::Late, out);
        } else {
            self.remove(call);
        }
    }

    /// Ends what has reached machines that announce nothing.
    pub(super) fn on_time(&mut self, now: u64, out: &mut Vec<Output>) {
        while let Some((limit, call)) = self.limits.first().copied().filter(|(limit, _)| *limit <= now) {
            self.limits.remove(&(limit, call));
            let Some(request) = self.open.get_mut(&call) else { continue };
            request.limit = Limit::Over;
            if request.is_heard {
                self.proceed(call, out);
            } else {
                // The server passes nothing on to this machine.
                self.unneeded.push(call);
                self.give_up(call, Status::Disconnected, |_| End::Disconnected, out);
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.limits.first().map(|(limit, _)| *limit)
    }

    /// Those of which others have to be told that nobody waits any more, each once.
    pub(super) fn take_unneeded(&mut self) -> Vec<CallId> {
        std::mem::take(&mut self.unneeded)
    }

    /// Whether a machine owes something.
    pub(super) fn is_owed_by(&self, machine: MachineId) -> bool {
        self.open.values().any(|request| request.owed.contains_key(&machine))
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Ends a request if nothing more is to be expected.
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

    /// Ends a request early: workers that have not answered have this status, and `end` is for the number of machines that have
    /// announced nothing.
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
            self.unneeded.push(call);
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
