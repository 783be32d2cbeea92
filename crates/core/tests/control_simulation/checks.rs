//! Invariants of each output, and of the final state.

use std::time::Duration;

use rcluster_core::control::Output;
use rcluster_core::control::listeners::LINGER;
use rcluster_core::control::supervise::{Event, RestartPolicy, SlotState, TAKEOVER};

use crate::world::World;

impl World {
    pub(crate) fn check(&mut self, output: &Output) {
        match output {
            Output::Spawn(_) => assert!(!self.ending, "{output:?} although everything ends"),
            Output::Promote { worker, .. } => {
                assert!(self.processes.get(worker).is_some_and(|it| it.standby), "{output:?}");
            }
            Output::Open { listener, .. } => {
                assert!(listener.0 >= self.next_listener, "{listener} has been there before");
                self.next_listener = listener.0 + 1;
            }
            Output::CloseListener(listener) => {
                assert!(self.sockets.contains_key(listener), "{listener} is closed twice");
                let joined = self.processes.iter().find(|(_, it)| it.joined.contains(listener));
                assert!(
                    joined.is_none(),
                    "{listener} closes, and somebody takes its connections: {joined:?}"
                );
                self.check_that_nobody_is_refused(output);
            }
            Output::Join(worker, listener) => {
                let process = &self.processes[worker];
                assert!(self.sockets.contains_key(listener), "{worker} joins {listener}, which is closed");
                assert!(!process.standby, "{worker} is a standby, and gets connections");
                assert!(!process.joined.contains(listener), "{worker} joins {listener} twice");
            }
            Output::Leave(worker, listener) => {
                let joined = self.processes.get(worker).is_none_or(|it| it.joined.contains(listener));
                assert!(joined, "{worker} leaves {listener}, which it has not joined");
            }
            Output::Reply(worker, reply) => {
                let standby = self.processes.get(worker).is_some_and(|it| it.standby);
                assert!(!(standby && reply.shared), "{worker} is a standby, and gets a socket");
                let open = reply.listener.is_none_or(|listener| self.sockets.contains_key(&listener));
                assert!(open, "{worker} is told of {:?}, which is closed", reply.listener);
            }
            Output::Withdraw(worker) => {
                assert!(!self.processes[worker].withdrawn, "{worker} is withdrawn twice");
            }
            _ => {}
        }
    }

    /// While nothing fails, a port on which a supervised worker has listened is never closed: clients are
    /// served, or wait for the next worker.
    fn check_that_nobody_is_refused(&self, output: &Output) {
        assert!(!self.gentle || self.ending, "{output:?}, and clients are refused");
    }

    pub(crate) fn on_event(&mut self, event: &Event) {
        match event {
            Event::Shutdown { .. } => self.ending = true,
            Event::Ready { .. } => self.count("ready"),
            Event::Restart { .. } => self.count("restart"),
            Event::GaveUp { .. } => self.count("gave up"),
            Event::ReloadStarted { .. } => {
                let served = |listener| self.processes.values().any(|it| it.joined.contains(listener));
                let lingers = self.sockets.keys().any(|listener| {
                    let shared = self.is_shared(*listener)
                        && self.processes.values().any(|it| it.listeners.contains(listener));
                    !served(listener) && !shared
                });
                if lingers {
                    self.count("a reload while a listener lingers");
                }
            }
            Event::ReloadDone { .. } => self.count("reload done"),
            Event::ReloadFailed { .. } => self.count("reload failed"),
            _ => {}
        }
    }

    /// From now on nothing fails, and the cluster recovers.
    pub(crate) fn calm_down(&mut self) {
        self.calm = true;
        self.exhausted = false;
        // A successor waits this long for listeners that only its predecessor serves, and a reload replaces one after the other.
        let slots = self.control.stats(self.now).map_or(1, |stats| stats.workers.max(1));
        self.let_time_pass(TAKEOVER * slots + Duration::from_secs(4));
        if self.ending {
            return;
        }
        assert!(self.open.is_empty(), "{:?} have not been answered", self.open);
        let stats = self.control.stats(self.now).expect("the cluster is supervised");
        for slot in &stats.slots {
            let given_up = matches!(slot.state, SlotState::GivenUp | SlotState::Stopped);
            let recovered = slot.state == SlotState::Serving;
            assert!(recovered || (given_up && !self.gentle), "{slot:?} has not recovered");
            if self.gentle {
                let worker = &self.processes[&slot.worker.unwrap()];
                assert_eq!(worker.listeners.len(), self.ports.len(), "{slot:?} does not listen everywhere");
            }
        }
        for (worker, process) in &self.processes {
            // A standby gets its outstanding replies when it is promoted. Who is disconnected by the app gets none.
            let waits = process.linked
                && !process.lies
                && !process.goes
                && !process.withdrawn
                && !process.standby
                && !process.asked.is_empty();
            assert!(!waits, "{worker} has never been answered: {process:?}");
        }
        if self.options.restart == RestartPolicy::Always && stats.ready == stats.workers {
            assert!(!self.sockets.is_empty(), "everybody serves, and nobody listens");
        }
    }

    pub(crate) fn everything_ends(&mut self) {
        let timeout = Duration::from_millis(300);
        self.request(|request| rcluster_core::control::supervise::Input::Shutdown {
            delay: Duration::ZERO,
            timeout,
            request,
        });
        assert!(self.ending);
        self.let_time_pass(Duration::from_secs(2));
        let supervised = self.processes.values().any(|it| it.supervised && it.linked);
        assert!(!supervised, "{:?} are left", self.processes);
        self.end_the_others();
        self.let_time_pass(LINGER + Duration::from_secs(5));
        assert!(self.processes.is_empty(), "{:?} are left", self.processes);
        assert!(self.open.is_empty(), "{:?} have not been answered", self.open);
        assert!(self.unsettled.is_empty());
        assert!(self.sockets.is_empty(), "{:?} are open for nobody", self.sockets);
        assert_eq!(self.control.next_deadline(), None, "there is nothing to wait for");
    }
}
