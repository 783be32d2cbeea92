//! Simulates the control thread with random failures: listeners and supervision together.
//!
//! Workers start, send listen requests, listen, close, crash, hang up and drain; operators reload, scale and
//! shut down; the app forks workers of its own and learns late of their ends; descriptors run out and come
//! back. After each input the invariants of the state machine are checked, and each output is compared with
//! the simulated world. Then failures stop, and the cluster must recover.

mod checks;
mod options;
mod process;
mod world;

use std::time::Duration;

use rcluster_core::control::Input;
use rcluster_core::control::supervise::{self, By, ExitKind, Reason};
use rcluster_core::frames::FromWorker;
use rcluster_core::ids::WorkerId;

use process::Deed;
use rcluster_testing::{Seed, seeds};
use world::{Tally, World};

const SEEDS: u64 = if cfg!(debug_assertions) { 800 } else { 15_000 };
const STEPS: usize = 30;

impl World {
    fn something_happens(&mut self) {
        let workers: Vec<WorkerId> = self.processes.keys().copied().collect();
        let Some(worker) = self.random.pick(&workers) else { return self.reload() };
        if self.gentle {
            return match self.random.below(8) {
                0 => self.act(worker, Deed::Exit(ExitKind::Signal(9))),
                1 => self.reload(),
                2 => self.retire(worker),
                _ => {}
            };
        }
        match self.random.below(30) {
            0..5 => self.act(worker, Deed::Exit(ExitKind::Signal(11))),
            5 => self.act(worker, Deed::HangUp),
            6 => self.act(worker, Deed::Leave),
            7..9 => self.exhausted = !self.exhausted,
            9..12 => self.reload(),
            12 => self.scale(),
            13..15 => self.retire(worker),
            15 => self.fork(),
            16 => self.give(Input::Leave(worker)),
            17 => self.something_absurd_is_heard(worker),
            18 => self.give(Input::Broke { worker, why: "it writes nonsense".into() }),
            19 => self.everybody_crashes(&workers),
            _ => {}
        }
    }

    fn everybody_crashes(&mut self, workers: &[WorkerId]) {
        for &worker in workers {
            self.act(worker, Deed::Exit(ExitKind::Signal(6)));
        }
        if self.random.one_in(2) {
            self.reload();
        }
    }

    fn reload(&mut self) {
        let concurrency = u32::try_from(self.random.below(3)).unwrap();
        self.request(|request| supervise::Input::Reload { concurrency, request });
    }

    fn scale(&mut self) {
        let workers = u32::try_from(1 + self.random.below(4)).unwrap();
        self.request(|request| supervise::Input::Scale { workers, request });
    }

    fn retire(&mut self, worker: WorkerId) {
        let (reason, by) = (Reason::Asked("tired".into()), By::Primary);
        let input = supervise::Input::RetireAsked { worker, reason, detail: String::new(), by };
        self.give(Input::Supervise(input));
    }

    /// An input that violates the protocol, or is about a worker that does not exist.
    fn something_absurd_is_heard(&mut self, worker: WorkerId) {
        let linked = self.processes[&worker].linked;
        let listener = self.random.pick(&self.sockets.keys().copied().collect::<Vec<_>>());
        let nobody = WorkerId(9_999);
        match (self.random.below(5), listener) {
            (0, Some(listener)) if linked => {
                self.give(Input::Frame(worker, FromWorker::Listening { listener }));
            }
            (1, Some(listener)) if linked => self.act(worker, Deed::Close(listener)),
            (2, _) => self.give(Input::ExitReported(worker)),
            (3, _) => self.give(Input::Exited { worker: nobody, exit: ExitKind::Code(0) }),
            _ => self.give(Input::Broke { worker: nobody, why: "it is not there".into() }),
        }
    }

    /// The workers that the app has forked end as well.
    fn end_the_others(&mut self) {
        for worker in self.processes.keys().copied().collect::<Vec<_>>() {
            self.act(worker, Deed::Exit(ExitKind::Code(0)));
        }
    }
}

fn run(seed: &Seed) -> Tally {
    // Every fourth world is gentle: workers are killed and replaced, and no client may be refused.
    let mut world = World::new(seed, seed.number.is_multiple_of(4));
    let (options, seed) = (Box::new(world.options.clone()), seed.number);
    world.give(Input::Begin { options, seed });
    if world.gentle {
        world.let_time_pass(Duration::from_millis(600));
    }
    for _ in 0..STEPS {
        world.something_happens();
        let how_long = world.random.ms(0, 150);
        world.let_time_pass(how_long);
    }
    world.calm_down();
    world.everything_ends();
    world.tally
}

#[test]
fn listeners_and_workers_recover_together_and_end() {
    let seeds = seeds(SEEDS);
    let mut tally = Tally::new();
    for (what, times) in seeds.each().flat_map(|seed| run(&seed)) {
        *tally.entry(what).or_default() += times;
    }
    println!("{tally:?}");
    if seeds.are_given() {
        return;
    }
    // A world in which nothing relevant happens proves nothing.
    let often = [
        "open",
        "join",
        "drain",
        "last call",
        "promote",
        "fork",
        "ready",
        "restart",
        "gave up",
        "done",
        "failed",
        "reload done",
        "reload failed",
        "refused",
        "unlink",
        "hung up",
        "spawn failed",
        "open failed",
        "reply failed",
        "no descriptors in a drain",
        "a reload while a listener lingers",
        "a standby's listener closes",
    ];
    for what in often {
        let times = tally.get(what).copied().unwrap_or(0);
        assert!(times >= SEEDS / 50, "hardly ever: {what} ({times})");
    }
}
