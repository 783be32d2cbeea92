//! A listener, as the kernel and the shell see it.

use std::time::Duration;

use rcluster_core::random::Random;
use rcluster_core::schedule::{Action, Overload, Plan, Policy};

/// How many connections wait for workers before others stay in the backlog.
pub(crate) const QUEUE_LIMIT: usize = 8;
const PATIENCE: Duration = Duration::from_millis(8);
const QUEUE_DEADLINE: Duration = Duration::from_millis(7);

pub(crate) struct Listener {
    backlog: usize,
    paused: bool,
    plan: Plan,
}

impl Listener {
    /// The shell does not accept before the dispatcher resumes the listener.
    pub(crate) fn new(plan: Plan) -> Self {
        Self { backlog: 0, paused: true, plan }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// This many clients connect.
    pub(crate) fn connect(&mut self, clients: usize) {
        self.backlog += clients;
    }

    /// The number of clients that have not been accepted.
    pub(crate) fn backlog(&self) -> usize {
        self.backlog
    }

    /// Accepts a client from the backlog. False if there is none, or if the listener is paused.
    pub(crate) fn accept(&mut self) -> bool {
        let accepts = !self.paused && self.backlog > 0;
        self.backlog -= usize::from(accepts);
        accepts
    }

    /// False if nothing changes.
    pub(crate) fn set_paused(&mut self, paused: bool) -> bool {
        std::mem::replace(&mut self.paused, paused) != paused
    }
}

pub(crate) fn random_plan(random: &mut Random) -> Plan {
    let policies = [
        Policy::RoundRobin,
        Policy::LeastConnections,
        Policy::LeastLoaded,
        Policy::Sticky,
        Policy::Hook,
        Policy::Hook,
        Policy::Kernel,
    ];
    let policy = random.pick(&policies).unwrap();
    let sheds = random.one_in(3);
    let overload = Overload {
        queue: if sheds { random.below(QUEUE_LIMIT) } else { QUEUE_LIMIT },
        deadline: (sheds && random.one_in(2)).then_some(QUEUE_DEADLINE),
        action: if sheds { Action::Reset } else { Action::Wait },
    };
    let slow_start = if random.one_in(2) { Duration::ZERO } else { Duration::from_millis(20) };
    Plan { policy, slow_start, patience: PATIENCE, overload, ..Plan::default() }
}
