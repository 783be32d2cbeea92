//! Invariants on the way and of the final state.

use std::time::Duration;

use rcluster_core::dispatch::Input;
use rcluster_core::ids::{ListenerId, WorkerId};

use crate::worker::{Life, Worker};
use crate::world::{CONFIG, World};

impl World {
    /// Every connection is in exactly one place.
    pub(crate) fn check_conservation(&self) {
        let waiting = self.books.total_waiting();
        assert_eq!(waiting, self.dispatch.waiting(), "the brain has lost or found connections");
        let held: usize = self.workers.values().map(Worker::holds).sum();
        assert_eq!(
            self.made,
            waiting + held + self.app.hook.waiting() + self.closed,
            "connections made, and all there are"
        );
    }

    /// The clients of handed-over, returned and reclaimed connections are not new.
    pub(crate) fn check_counts(&self) {
        for stats in self.dispatch.stats(&self.counters).listeners {
            let clients = self.books.clients(stats.listener);
            assert_eq!(stats.counts.accepted, clients, "clients of {}", stats.listener);
            assert!(stats.counts.queued <= clients, "clients of {} that had to wait", stats.listener);
        }
    }

    /// Runs everything that can make progress, until nothing can. No time passes.
    fn let_run(&mut self) {
        for _ in 0..10_000 {
            let mut busy = self.hear_control() | self.flush();
            busy |= self.ask() | self.answer() | self.hear_app();
            for worker in self.workers.keys().copied().collect::<Vec<_>>() {
                busy |= self.hear_worker(worker) | self.serve(worker) | self.receive(worker);
            }
            for listener in self.listeners.keys().copied().collect::<Vec<_>>() {
                busy |= self.accept(listener);
            }
            if !busy {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Lets time pass without new events, so that all timers expire.
    fn let_time_pass(&mut self, how_long: Duration) {
        let until = self.now + how_long;
        self.let_run();
        for _ in 0..1_000 {
            let next = self.next_deadline().map_or(until, |due| due.clamp(self.now, until));
            self.wait(next.saturating_sub(self.now));
            self.let_run();
            if self.now >= until {
                return;
            }
        }
        panic!("too much happens in too little time");
    }

    /// No connection waits, in a queue or in the channel of a blocked worker, while a member could serve it.
    pub(crate) fn check_nobody_starves(&mut self) {
        self.is_short = false;
        self.let_time_pass(
            4 * CONFIG.blocked_after + 2 * CONFIG.retry_after + 2 * CONFIG.reclaim_again_after,
        );
        let helpers: Vec<(WorkerId, ListenerId)> = self
            .books
            .members()
            .filter(|(worker, listener)| self.workers[worker].is_at_work(*listener))
            .collect();
        for (helper, listener) in helpers {
            *self.tally.entry("helper").or_default() += 1;
            assert_eq!(self.books.waiting(listener), 0, "{helper} is idle, {listener} has a queue");
            assert_eq!(self.listeners[&listener].backlog(), 0, "{helper} is idle, {listener} is paused");
            for (id, it) in self.workers.iter().filter(|(_, it)| it.honest) {
                let is_held = it.unreceived().any(|(other, _)| *other == listener);
                assert!(!is_held, "{helper} is idle, {id} does not get round to {listener}");
            }
        }
    }

    /// Failures stop, and all clients are served. Then all listeners close, and nothing is left.
    pub(crate) fn finish(&mut self) {
        self.app.blocked = false;
        self.is_short = false;
        for worker in self.workers.keys().copied().collect::<Vec<_>>() {
            let it = self.workers.get_mut(&worker).unwrap();
            it.blocked = false;
            if !it.honest && it.life != Life::Dead {
                self.kill(worker);
            }
        }
        loop {
            self.let_time_pass(2 * CONFIG.retry_after);
            let ids: Vec<WorkerId> = self.workers.keys().copied().collect();
            let mut finished = 0;
            for worker in ids {
                while self.finish_one(worker) {
                    finished += 1;
                }
            }
            if finished == 0 {
                break;
            }
        }
        self.check_nobody_starves();
        self.check_conservation();
        for (worker, it) in &self.workers {
            assert_eq!(it.unreceived().count(), 0, "{worker} has something left");
        }
        let none = self.next_deadline();
        assert_eq!(none, None, "there is nothing to watch");
        for listener in self.listeners.keys().copied().collect::<Vec<_>>() {
            self.commands.push_back(Input::ListenerRemoved { listener });
        }
        self.let_run();
        assert_eq!(self.dispatch.waiting(), 0);
        self.check_conservation();
        assert_eq!(self.made, self.closed, "every client has been served or turned away");
    }
}
