//! Simulates the dispatcher with random failures, thousands of times.
//!
//! Workers block, die, leave, join, refuse and lie, in an order that the seed determines.

mod app;
mod books;
mod checks;
mod listener;
mod nonsense;
mod worker;
mod world;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use rcluster_core::dispatch::{Board, Config, Connection, Dispatch, Input, Output, Time};
use rcluster_core::ids::{ListenerId, Slot, WorkerId};
use rcluster_core::schedule::{Home, Key, Plan, Policy};

use rcluster_testing::seeds;
use worker::Life;
use world::{Tally, World};

/// As many as run in a few seconds.
const SEEDS: u64 = if cfg!(debug_assertions) { 500 } else { 5_000 };
const STEPS: usize = 400;

fn run(seed: u64) -> Tally {
    let mut world = World::new(seed);
    for _ in 0..=world.random.below(3) {
        world.spawn(true);
        world.open_listener();
    }
    for _ in 0..STEPS {
        step(&mut world);
        if !world.random.one_in(3) {
            world.ask();
            world.flush();
        }
        if world.random.one_in(4) {
            let _done = world.hear_app() || world.answer();
        }
        world.check_conservation();
        world.check_counts();
        if world.random.one_in(100) {
            world.check_nobody_starves();
        }
    }
    world.finish();
    world.tally
}

/// One random event.
fn step(world: &mut World) {
    let alive = world.workers.iter().filter(|(_, it)| it.life != Life::Dead).map(|(id, _)| *id);
    let worker = world.random.pick(&alive.collect::<Vec<_>>());
    let listener = world.random.pick(&world.listeners.keys().copied().collect::<Vec<_>>());
    let action = world.random.below(100);
    match (action, worker, listener) {
        (0..15, _, Some(listener)) => {
            let clients = 1 + world.random.below(6);
            world.listeners.get_mut(&listener).unwrap().connect(clients);
        }
        (15..35, _, Some(listener)) => while world.accept(listener) && !world.random.one_in(8) {},
        (35..50, Some(worker), _) => {
            let _turned = world.serve(worker) || world.receive(worker);
        }
        (50, ..) => world.is_short = !world.is_short,
        (51..60, Some(worker), _) => {
            world.hear_worker(worker);
        }
        (60..66, ..) => {
            world.hear_control();
        }
        (66, ..) => world.app.blocked = !world.app.blocked,
        (67, ..) => {
            world.answer();
        }
        (68..78, ..) => {
            let how_long = Duration::from_micros(world.random.below(4_000) as u64);
            world.wait(how_long);
        }
        (78..80, Some(worker), _) => {
            world.finish_one(worker);
        }
        (80..84, ..) => {
            let leaving = world.workers.iter().filter(|(_, it)| it.life == Life::Leaving).map(|(id, _)| *id);
            if let Some(worker) = world.random.pick(&leaving.collect::<Vec<_>>()) {
                while world.hand_over(worker) {}
            }
        }
        (84..86, Some(worker), _) => world.unattended(worker),
        (86..88, Some(worker), _) => {
            let it = world.workers.get_mut(&worker).unwrap();
            it.blocked = !it.blocked;
        }
        (88..93, Some(worker), Some(listener)) if world.workers[&worker].life == Life::Running => {
            world.listen(worker, listener);
        }
        (93, Some(worker), Some(listener)) => world.unlisten(worker, listener),
        (94, Some(worker), _) => world.kill(worker),
        (95, Some(worker), _) if world.workers[&worker].life == Life::Running => world.leave(worker),
        (96, ..) if world.workers.len() < 6 => {
            let honest = !world.random.one_in(4);
            world.spawn(honest);
        }
        (97, ..) if world.listeners.len() < 4 => world.open_listener(),
        (97, _, Some(listener)) => world.commands.push_back(Input::ListenerRemoved { listener }),
        (98.., Some(worker), _) if !world.workers[&worker].honest => world.lie(worker),
        _ => {}
    }
}

#[test]
fn whatever_happens_nothing_is_lost_and_nobody_starves() {
    let seeds = seeds(SEEDS);
    let mut tally = Tally::new();
    for seed in seeds.each() {
        for (what, times) in run(seed.number) {
            *tally.entry(what).or_default() += times;
        }
    }
    println!("{tally:?}");
    if seeds.are_given() {
        return;
    }
    // A world in which nothing relevant happens proves nothing.
    for what in [
        "send",
        "close",
        "shed",
        "pause",
        "resume",
        "wake",
        "probe",
        "reclaimed",
        "reclaimed nothing",
        "reclaimed in part",
        "unsent",
        "answered",
        "late",
        "unasked",
        "to the chosen",
        "to another",
        "handed over",
        "asked again",
        "accept on behalf",
        "accept no longer on behalf",
    ] {
        assert!(tally.get(what).is_some_and(|times| *times >= SEEDS), "hardly ever: {what}");
    }
}

/// Workers that receive at once.
struct Prompt(Vec<u64>);

impl Board for Prompt {
    fn received(&self, worker: WorkerId) -> u64 {
        self.0[worker.0 as usize]
    }
    fn open(&self, _: WorkerId) -> u32 {
        0
    }
    fn busy(&self, _: WorkerId) -> Duration {
        Duration::ZERO
    }
}

/// A connection with a client of its own.
#[derive(Debug)]
struct Numbered(u32);

impl Connection for Numbered {
    fn home(&self) -> Option<Home> {
        Some(Home::Client(Key::of(&self.0.to_le_bytes())))
    }
}

impl Prompt {
    fn new(workers: u32, listeners: u32, policy: Policy) -> (Self, Dispatch<Numbered>) {
        let board = Self(vec![0; workers as usize]);
        let mut dispatch = Dispatch::new(Config::default());
        let mut out = Vec::new();
        let mut tell = |input| dispatch.handle(Time::ZERO, input, &board, &mut out);
        for worker in (0..workers).map(WorkerId) {
            tell(Input::WorkerAdded { worker, slot: Slot(worker.0) });
        }
        for listener in (0..listeners).map(ListenerId) {
            tell(Input::ListenerAdded { listener, plan: Plan { policy, ..Plan::default() } });
            for worker in (0..workers).map(WorkerId) {
                tell(Input::Joined { worker, listener });
            }
        }
        (board, dispatch)
    }
}

#[test]
fn under_a_steady_load_every_worker_gets_exactly_its_share() {
    for (workers, policy) in [1, 2, 3, 7, 32]
        .into_iter()
        .flat_map(|workers| [(workers, Policy::RoundRobin), (workers, Policy::LeastConnections)])
    {
        let (mut board, mut dispatch) = Prompt::new(workers, 1, policy);
        let (mut out, mut shares) = (Vec::new(), BTreeMap::<WorkerId, u32>::new());
        for conn in 0..workers * 1_000 {
            // 20 µs apart, so the check for blocked workers runs in between.
            let now = Duration::from_micros(u64::from(conn) * 20);
            let conn = Numbered(conn);
            dispatch.handle(now, Input::Accepted { listener: ListenerId(0), conn }, &board, &mut out);
            for output in out.drain(..) {
                let Output::Send { worker, .. } = output else { panic!("{output:?} is out of place") };
                *shares.entry(worker).or_default() += 1;
                board.0[worker.0 as usize] += 1;
            }
        }
        assert_eq!(shares.len(), workers as usize);
        assert!(shares.values().all(|share| *share == 1_000), "{shares:?}");
    }
}

/// Prints the cost of a decision: `cargo test --release --test dispatch_simulation -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, to be read and not to be passed"]
fn nanoseconds_per_connection() {
    const SLICES: usize = 4_000;
    const SLICE: u32 = 1_000;
    let policies = [Policy::RoundRobin, Policy::LeastConnections, Policy::LeastLoaded, Policy::Sticky];
    for (policy, (workers, listeners)) in policies
        .into_iter()
        .flat_map(|policy| [(2, 1), (2, 64), (32, 1), (32, 64)].map(|size| (policy, size)))
    {
        let (mut board, mut dispatch) = Prompt::new(workers, listeners, policy);
        let mut out = Vec::with_capacity(16);
        let (mut now, mut conn) = (Time::ZERO, 0_u32);
        let mut slices: Vec<Duration> = (0..SLICES)
            .map(|_| {
                let start = Instant::now();
                for _ in 0..SLICE {
                    now += Duration::from_micros(5);
                    conn = conn.wrapping_add(1);
                    // The order of the listeners is unpredictable for the branch predictor.
                    let listener = ListenerId((conn.wrapping_mul(2_654_435_761) >> 8) % listeners);
                    dispatch.handle(
                        now,
                        Input::Accepted { listener, conn: Numbered(conn) },
                        &board,
                        &mut out,
                    );
                    for output in out.drain(..) {
                        if let Output::Send { worker, .. } = black_box(output) {
                            board.0[worker.0 as usize] += 1;
                        }
                    }
                }
                start.elapsed()
            })
            .collect();
        // The median, because on a busy machine the mean depends on other processes.
        slices.sort_unstable();
        let each = slices[SLICES / 2].as_secs_f64() * 1e9 / f64::from(SLICE);
        println!("{policy:?}, {workers:>2} workers, {listeners:>2} listeners: {each:.1} ns");
    }
}
