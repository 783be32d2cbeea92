//! Unfinished requests of other machines to this one.

use std::collections::BTreeMap;

use super::topic::MachineId;
use crate::exchange::{CallId, MAX_CALLS, RequestId};

/// The requests: see the module.
#[derive(Debug, Default)]
pub(super) struct Served {
    last: u64,
    /// The machine that waits, and its number for the call.
    waiting: BTreeMap<RequestId, (MachineId, CallId)>,
    numbers: BTreeMap<(MachineId, CallId), RequestId>,
}

/// What happens with a request of another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It is new, and has this number here.
    New(RequestId),
    /// It is being answered already.
    Known,
    /// There are too many unanswered requests.
    TooMany,
}

impl Served {
    /// Another machine makes a request.
    pub(super) fn begin(&mut self, machine: MachineId, call: CallId) -> Asked {
        if self.numbers.contains_key(&(machine, call)) {
            return Asked::Known;
        }
        if self.waiting.len() >= MAX_CALLS {
            return Asked::TooMany;
        }
        self.last += 1;
        let id = RequestId(self.last);
        self.waiting.insert(id, (machine, call));
        self.numbers.insert((machine, call), id);
        Asked::New(id)
    }

    /// The machine that waits for the outcomes, and its number for the call.
    pub(super) fn asked_by(&self, id: RequestId) -> Option<(MachineId, CallId)> {
        self.waiting.get(&id).copied()
    }

    /// All workers have answered.
    pub(super) fn end(&mut self, id: RequestId) {
        if let Some(asked_by) = self.waiting.remove(&id) {
            self.numbers.remove(&asked_by);
        }
    }

    /// The other machine no longer waits. Returns the request to cancel.
    pub(super) fn cancel(&mut self, machine: MachineId, call: CallId) -> Option<RequestId> {
        let id = self.numbers.remove(&(machine, call))?;
        self.waiting.remove(&id);
        Some(id)
    }

    /// A machine is gone. Returns the requests to cancel.
    pub(super) fn on_gone(&mut self, machine: MachineId) -> Vec<RequestId> {
        let first = (machine, CallId(0));
        let its = self.numbers.range(first..=(machine, CallId(u64::MAX))).map(|(asked_by, _)| *asked_by);
        let its: Vec<_> = its.collect();
        its.into_iter().filter_map(|(machine, call)| self.cancel(machine, call)).collect()
    }

    /// The connection has ended. Returns the requests to cancel.
    pub(super) fn on_disconnected(&mut self) -> Vec<RequestId> {
        self.numbers.clear();
        std::mem::take(&mut self.waiting).into_keys().collect()
    }

    /// Whether a machine waits for this one.
    pub(super) fn is_for(&self, machine: MachineId) -> bool {
        let first = (machine, CallId(0));
        self.numbers.range(first..=(machine, CallId(u64::MAX))).next().is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn check_invariants(&self) {
        assert_eq!(self.waiting.len(), self.numbers.len());
        assert!(self.waiting.iter().all(|(id, asked_by)| self.numbers.get(asked_by) == Some(id)));
        assert!(self.waiting.len() <= MAX_CALLS, "what is to be answered is bounded");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: CallId = CallId(7);

    #[test]
    fn a_request_is_accepted_once_and_belongs_to_its_sender() {
        let [one, other] = [1, 2].map(|number| MachineId::new([number, 0]));
        let mut served = Served::default();
        let Asked::New(id) = served.begin(one, CALL) else { panic!("it is the first one") };
        assert_eq!(served.begin(one, CALL), Asked::Known);
        let Asked::New(second) = served.begin(other, CALL) else { panic!("it is of another machine") };
        let Asked::New(third) = served.begin(one, CallId(8)) else { panic!("it is another one") };
        served.check_invariants();
        assert_eq!(served.asked_by(id), Some((one, CALL)));
        assert_eq!(served.on_gone(one), [id, third]);
        assert!(!served.is_for(one) && served.is_for(other));
        served.end(second);
        assert_eq!((served.asked_by(second), served.cancel(other, CALL), served.len()), (None, None, 0));
        served.check_invariants();
    }

    #[test]
    fn the_number_of_unanswered_requests_is_limited() {
        let machine = MachineId::new([1, 0]);
        let mut served = Served::default();
        for call in 0..MAX_CALLS as u64 {
            assert!(matches!(served.begin(machine, CallId(call)), Asked::New(_)));
        }
        assert_eq!(served.begin(machine, CallId(u64::MAX)), Asked::TooMany);
        assert_eq!(served.on_disconnected().len(), MAX_CALLS);
        assert!(matches!(served.begin(machine, CallId(u64::MAX)), Asked::New(_)));
        served.check_invariants();
    }
}
