//! What other machines have asked this one, and what has not been answered.

use std::collections::BTreeMap;

use super::topic::MachineId;
use crate::exchange::{CallId, MAX_CALLS, RequestId};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Served {
    last: u64,
    /// Who waits, and the number by which it does.
    waiting: BTreeMap<RequestId, (MachineId, CallId)>,
    numbers: BTreeMap<(MachineId, CallId), RequestId>,
}

/// What becomes of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It is asked under this number.
    As(RequestId),
    /// It is being answered already.
    Before,
    /// There is too much to be answered.
    TooMany,
}

impl Served {
    /// Another machine asks.
    pub(super) fn begin(&mut self, machine: MachineId, call: CallId) -> Asked {
        if self.numbers.contains_key(&(machine, call)) {
            return Asked::Before;
        }
        if self.waiting.len() >= MAX_CALLS {
            return Asked::TooMany;
        }
        self.last += 1;
        let id = RequestId(self.last);
        self.waiting.insert(id, (machine, call));
        self.numbers.insert((machine, call), id);
        Asked::As(id)
    }

    /// Who waits for the outcomes.
    pub(super) fn whose(&self, id: RequestId) -> Option<(MachineId, CallId)> {
        self.waiting.get(&id).copied()
    }

    /// Everything has been answered.
    pub(super) fn end(&mut self, id: RequestId) {
        if let Some(whose) = self.waiting.remove(&id) {
            self.numbers.remove(&whose);
        }
    }

    /// Nobody waits any more. Returns the number to be cancelled.
    pub(super) fn cancel(&mut self, machine: MachineId, call: CallId) -> Option<RequestId> {
        let id = self.numbers.remove(&(machine, call))?;
        self.waiting.remove(&id);
        Some(id)
    }

    /// A machine is gone. Returns the numbers to be cancelled.
    pub(super) fn on_gone(&mut self, machine: MachineId) -> Vec<RequestId> {
        let first = (machine, CallId(0));
        let its = self.numbers.range(first..=(machine, CallId(u64::MAX))).map(|(whose, _)| *whose);
        let its: Vec<_> = its.collect();
        its.into_iter().filter_map(|(machine, call)| self.cancel(machine, call)).collect()
    }

    /// The connection has ended. Returns the numbers to be cancelled.
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
        assert!(self.waiting.iter().all(|(id, whose)| self.numbers.get(whose) == Some(id)));
        assert!(self.waiting.len() <= MAX_CALLS, "what is to be answered is bounded");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: CallId = CallId(7);

    #[test]
    fn a_question_is_asked_once_and_answered_to_who_has_asked() {
        let [one, other] = [1, 2].map(|number| MachineId::new([number, 0]));
        let mut served = Served::default();
        let Asked::As(id) = served.begin(one, CALL) else { panic!("it is the first one") };
        assert_eq!(served.begin(one, CALL), Asked::Before);
        let Asked::As(second) = served.begin(other, CALL) else { panic!("it is of another machine") };
        let Asked::As(third) = served.begin(one, CallId(8)) else { panic!("it is another one") };
        served.check_invariants();
        assert_eq!(served.whose(id), Some((one, CALL)));
        assert_eq!(served.on_gone(one), [id, third]);
        assert!(!served.is_for(one) && served.is_for(other));
        served.end(second);
        assert_eq!((served.whose(second), served.cancel(other, CALL), served.len()), (None, None, 0));
        served.check_invariants();
    }

    #[test]
    fn so_much_is_answered_at_once_and_no_more() {
        let machine = MachineId::new([1, 0]);
        let mut served = Served::default();
        for call in 0..MAX_CALLS as u64 {
            assert!(matches!(served.begin(machine, CallId(call)), Asked::As(_)));
        }
        assert_eq!(served.begin(machine, CallId(u64::MAX)), Asked::TooMany);
        assert_eq!(served.on_disconnected().len(), MAX_CALLS);
        assert!(matches!(served.begin(machine, CallId(u64::MAX)), Asked::As(_)));
        served.check_invariants();
    }
}
