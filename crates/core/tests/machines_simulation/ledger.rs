//! Records what happens to each request, seen from outside, and checks the consequences.

use std::collections::{BTreeMap, BTreeSet};

use rcluster_core::exchange::frame::Status;
use rcluster_core::machines::MachineId;

/// The number of a request, which is its data.
pub(crate) type Number = u64;

/// An outcome: the machine if it is another one, and its worker.
type Outcome = (Option<MachineId>, u32);

#[derive(Debug)]
pub(crate) struct Record {
    /// The machine that makes the request.
    from: MachineId,
    pub(crate) is_for_leader: bool,
    /// The other machines that the server has passed it on to.
    reached: Option<BTreeSet<MachineId>>,
    /// The workers that each of them has announced; `None` if it has refused.
    asked: BTreeMap<MachineId, Option<BTreeSet<u32>>>,
    called: BTreeSet<(MachineId, u32)>,
    outcomes: BTreeMap<Outcome, Status>,
    /// The status reported for other machines as a whole.
    about_others: Option<Status>,
    pub(crate) is_over: bool,
}

/// The records: see the module.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    records: BTreeMap<Number, Record>,
    /// The statuses of outcomes, and how often each has occurred.
    pub(crate) ends: BTreeMap<Status, u64>,
    /// The number of requests to all that were answered completely.
    pub(crate) complete: u64,
}

impl Ledger {
    pub(crate) fn begin(&mut self, from: MachineId, is_for_leader: bool) -> Number {
        let number = self.records.len() as u64 + 1;
        let record = Record {
            from,
            is_for_leader,
            reached: None,
            asked: BTreeMap::new(),
            called: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            about_others: None,
            is_over: false,
        };
        self.records.insert(number, record);
        number
    }

    pub(crate) fn get(&mut self, number: Number) -> &mut Record {
        self.records.get_mut(&number).expect("it was made")
    }

    /// The process no longer waits for it.
    pub(crate) fn abandon(&mut self, number: Number) {
        self.get(number).is_over = true;
    }

    pub(crate) fn on_published(&mut self, number: Number, reached: BTreeSet<MachineId>) {
        assert!(self.get(number).reached.replace(reached).is_none(), "it is published once");
    }

    pub(crate) fn on_asked(&mut self, number: Number, machine: MachineId, workers: Option<&[u32]>) {
        let workers = workers.map(|workers| workers.iter().copied().collect());
        let record = self.get(number);
        assert!(record.asked.insert(machine, workers).is_none(), "a machine is asked once");
        assert!(record.reached.as_ref().is_some_and(|reached| reached.contains(&machine)));
    }

    pub(crate) fn on_called(&mut self, number: Number, machine: MachineId, worker: u32) {
        assert!(self.get(number).called.insert((machine, worker)), "a handler is called once");
    }

    /// An outcome is reported to the process; `outcome` is `None` for other machines as a whole.
    pub(crate) fn on_told(
        &mut self,
        number: Number,
        machine: Option<MachineId>,
        worker: u32,
        status: Status,
        is_last: bool,
    ) {
        let record = self.records.get_mut(&number).expect("it was made");
        assert!(!record.is_over, "nothing comes after the end");
        *self.ends.entry(status).or_default() += 1;
        let is_about_others = matches!(
            status,
            Status::Missing | Status::Late | Status::Unsent | Status::Nobody | Status::NoLeader
        ) || status == Status::Disconnected && machine.is_none();
        if is_about_others {
            assert!(record.about_others.replace(status).is_none(), "it is told once");
        } else {
            let before = record.outcomes.insert((machine, worker), status);
            assert_eq!(before, None, "a worker has one outcome");
        }
        if status == Status::Value {
            let called = (machine.unwrap_or(record.from), worker);
            assert!(record.called.contains(&called), "{called:?} was not called");
        }
        record.is_over = is_last;
        if is_last {
            record.check(status);
            let is_whole = record.outcomes.values().all(|it| matches!(it, Status::Value | Status::NoHandler));
            if record.about_others == Some(Status::Nobody) && is_whole && !record.is_for_leader {
                self.complete += 1;
            }
        }
    }
}

impl Record {
    /// A request that is reported as complete has all outcomes.
    fn check(&self, last: Status) {
        let others = match self.about_others {
            Some(Status::Nobody) if !self.is_for_leader => {
                self.reached.as_ref().expect("it has reached others before all of them have answered")
            }
            Some(Status::NoLeader) => {
                let reached = self.reached.as_ref().expect("they have said so");
                for machine in reached {
                    let asked = &self.asked[machine];
                    assert!(asked.as_ref().is_some_and(BTreeSet::is_empty), "{machine:?} does not lead");
                }
                return;
            }
            _ => return assert!(self.is_for_leader || last != Status::Nobody),
        };
        for machine in others {
            let outcomes = self.outcomes.keys().filter(|(it, _)| *it == Some(*machine));
            let answered: BTreeSet<u32> = outcomes.map(|(_, worker)| *worker).collect();
            // A machine with too many unanswered requests has refused.
            let refused = self.outcomes.get(&(Some(*machine), 0)) == Some(&Status::Busy);
            let asked = self.asked.get(machine).cloned().flatten().filter(|_| !refused);
            let expected = asked.unwrap_or_else(|| BTreeSet::from([0]));
            assert_eq!(answered, expected, "all workers of {machine:?} have an outcome");
        }
    }
}
