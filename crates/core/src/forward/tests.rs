//! The state machine of a front, as tables of inputs and outputs.

use super::*;
use crate::ids::Slot;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// No byte has been moved since this time.
struct Still(Time);

impl Activity for Still {
    fn last_moved(&self, _: ConnId) -> Time {
        self.0
    }
}

struct Play {
    forward: Forward,
    now: Time,
    moved: Time,
}

impl Play {
    fn new(config: Config) -> Self {
        Self::by(Policy::RoundRobin, config)
    }

    fn by(policy: Policy, config: Config) -> Self {
        Self { forward: Forward::new(config, policy), now: Time::ZERO, moved: Time::ZERO }
    }

    fn with_workers(count: u32) -> Self {
        let mut play = Self::new(Config::default());
        for id in 1..=count {
            play.add(id);
        }
        play
    }

    fn tell(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.forward.handle(self.now, input, &Still(self.moved), &mut out);
        self.forward.check_invariants(self.now);
        out
    }

    fn add(&mut self, id: u32) -> Vec<Output> {
        self.tell(Input::WorkerAdded { worker: WorkerId(id), slot: Slot(id % 10) })
    }

    /// Accepts a client and lets the worker take it. Returns the worker.
    fn client(&mut self, id: u64) -> u32 {
        self.known_client(id, None)
    }

    fn known_client(&mut self, id: u64, key: Option<Key>) -> u32 {
        let out = self.tell(Input::Accepted { conn: ConnId(id), key });
        let worker = asked(&out).expect("a worker is asked");
        self.tell(Input::Connected { conn: ConnId(id) });
        worker
    }

    fn refuse(&mut self, id: u64) -> Vec<Output> {
        self.tell(Input::Refused { conn: ConnId(id), why: Refusal::Absent })
    }

    fn wait(&mut self, time: Duration) -> Vec<Output> {
        self.now += time;
        self.tell(Input::Tick)
    }
}

fn asked(out: &[Output]) -> Option<u32> {
    out.iter().find_map(|output| match output {
        Output::Connect { worker, .. } => Some(worker.0),
        _ => None,
    })
}

#[test]
fn workers_get_clients_in_turn() {
    let mut play = Play::with_workers(3);
    let order: Vec<u32> = (0..6).map(|id| play.client(id)).collect();
    assert_eq!(order, [1, 2, 3, 1, 2, 3]);
    assert_eq!(play.forward.loads().map(|(_, open)| open).collect::<Vec<_>>(), [2, 2, 2]);
}

#[test]
fn least_connections_counts_open_connections() {
    let mut play = Play::by(Policy::LeastConnections, Config::default());
    (1..=3).for_each(|id| drop(play.add(id)));
    let mut seen: Vec<u32> = (0..3).map(|id| play.client(id)).collect();
    play.tell(Input::Ended { conn: ConnId(1) });
    assert_eq!(play.client(3), seen[1], "it has none");
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3]);
}

#[test]
fn sticky_clients_stay_with_a_slot_and_do_not_wait_for_it() {
    let mut play = Play::by(Policy::Sticky, Config::default());
    (1..=3).for_each(|id| drop(play.add(id)));
    let keys: Vec<_> = (0..20_u8).map(|client| Some(Key::of(&[client]))).collect();
    let mut ids = 0..;
    let mut homes = |play: &mut Play| -> Vec<u32> {
        keys.iter().map(|&key| play.known_client(ids.next().unwrap(), key)).collect()
    };
    let before = homes(&mut play);
    assert!((1..=3).all(|worker| before.contains(&worker)), "{before:?}");
    play.tell(Input::WorkerExited { worker: WorkerId(2) });
    let meanwhile = homes(&mut play);
    // Worker 12 has the slot of worker 2.
    play.add(12);
    for ((before, meanwhile), after) in before.into_iter().zip(meanwhile).zip(homes(&mut play)) {
        assert_ne!(meanwhile, 2);
        assert!(before == 2 || meanwhile == before, "nobody else moves");
        assert_eq!(after, if before == 2 { 12 } else { before });
    }
}

#[test]
fn nothing_is_accepted_without_a_worker() {
    let mut play = Play::new(Config::default());
    assert_eq!(play.add(1), [Output::Resume]);
    assert_eq!(play.tell(Input::WorkerExited { worker: WorkerId(1) }), [Output::Pause]);
    assert_eq!(play.add(2), [Output::Resume]);
}

#[test]
fn a_refused_client_goes_to_the_next_worker() {
    let mut play = Play::with_workers(2);
    assert_eq!(play.client(1), 1);
    assert_eq!(play.client(2), 2);
    assert_eq!(asked(&play.tell(Input::Accepted { conn: ConnId(3), key: None })), Some(1));
    assert_eq!(asked(&play.refuse(3)), Some(2));
    play.tell(Input::Connected { conn: ConnId(3) });
    assert_eq!(play.client(4), 2, "the one that refused rests");
    play.now += Config::default().rest;
    assert_eq!(play.client(5), 1, "and is asked again");
    assert_eq!(play.forward.counters().refusals, 1);
}

#[test]
fn if_all_workers_refuse_clients_wait_and_one_at_a_time_tries() {
    let mut play = Play::with_workers(1);
    assert_eq!(asked(&play.tell(Input::Accepted { conn: ConnId(1), key: None })), Some(1));
    assert_eq!(
        asked(&play.tell(Input::Accepted { conn: ConnId(2), key: None })),
        None,
        "it has not proven itself"
    );
    assert_eq!(play.refuse(1), []);
    assert_eq!(play.forward.waiting(), 2);
    let rest = Config::default().rest;
    assert_eq!(play.forward.next_deadline(), Some(play.now + rest));
    let out = play.wait(rest);
    assert_eq!(out, [Output::Connect { conn: ConnId(1), worker: WorkerId(1) }], "who came first comes first");
    assert_eq!(play.refuse(1), []);
    assert_eq!(asked(&play.wait(rest)), None, "the rest is longer the second time");
    assert_eq!(asked(&play.wait(rest)), Some(1));
    let out = play.tell(Input::Connected { conn: ConnId(1) });
    assert_eq!(out, [Output::Connect { conn: ConnId(2), worker: WorkerId(1) }], "it has proven itself");
}

#[test]
fn no_client_waits_forever() {
    let mut play = Play::with_workers(1);
    play.tell(Input::Accepted { conn: ConnId(1), key: None });
    play.refuse(1);
    let mut out = Vec::new();
    while play.now < Duration::from_secs(11) && play.forward.connections() > 0 {
        out = play.wait(50 * MS);
        if asked(&out).is_some() {
            play.refuse(1);
        }
    }
    assert_eq!(out, [Output::Abort { conn: ConnId(1), reason: Reason::NoWorker }]);
    assert_eq!(play.now, Duration::from_secs(10));
    assert_eq!(play.forward.counters().turned_away, 1);
}

#[test]
fn an_attempt_without_an_answer_is_given_up() {
    let mut play = Play::with_workers(2);
    assert_eq!(asked(&play.tell(Input::Accepted { conn: ConnId(1), key: None })), Some(1));
    assert_eq!(play.wait(999 * MS), []);
    let out = play.wait(MS);
    assert_eq!(
        out,
        [Output::GiveUp { conn: ConnId(1) }, Output::Connect { conn: ConnId(1), worker: WorkerId(2) }]
    );
}

#[test]
fn a_leaving_worker_gets_nothing_and_keeps_its_connections() {
    let mut play = Play::with_workers(2);
    assert_eq!(play.client(1), 1);
    play.tell(Input::WorkerLeaving { worker: WorkerId(1) });
    assert_eq!([play.client(2), play.client(3)], [2, 2]);
    assert_eq!(play.forward.loads().collect::<Vec<_>>(), [(WorkerId(2), 2), (WorkerId(1), 1)]);
    play.tell(Input::WorkerExited { worker: WorkerId(1) });
    play.tell(Input::Ended { conn: ConnId(1) });
    assert_eq!(play.forward.loads().collect::<Vec<_>>(), [(WorkerId(2), 2)]);
}

#[test]
fn a_client_that_was_reset_before_the_first_byte_goes_to_another_worker() {
    let mut play = Play::with_workers(2);
    assert_eq!(play.client(1), 1);
    assert_eq!(asked(&play.refuse(1)), Some(2));
    assert_eq!(play.forward.loads().map(|(_, open)| open).collect::<Vec<_>>(), [0, 0]);
}

#[test]
fn limits_leave_clients_in_the_backlog() {
    let mut play = Play::new(Config { max_connections: Some(2), ..Config::default() });
    play.add(1);
    play.client(1);
    let out = play.tell(Input::Accepted { conn: ConnId(2), key: None });
    assert!(out.contains(&Output::Pause), "{out:?}");
    play.tell(Input::Connected { conn: ConnId(2) });
    assert_eq!(play.tell(Input::Ended { conn: ConnId(1) }), [Output::Resume]);

    let mut play = Play::new(Config { waiting_limit: 1, ..Config::default() });
    play.add(1);
    play.tell(Input::Accepted { conn: ConnId(1), key: None });
    assert_eq!(play.refuse(1), [Output::Pause]);
}

#[test]
fn without_descriptors_everything_waits() {
    let mut play = Play::with_workers(2);
    play.tell(Input::Accepted { conn: ConnId(1), key: None });
    let why = Refusal::Exhausted;
    assert_eq!(play.tell(Input::Refused { conn: ConnId(1), why }), [Output::Pause]);
    assert_eq!(play.wait(99 * MS), []);
    let out = play.wait(MS);
    assert_eq!(asked(&out), Some(2), "the worker could not help it: the turn goes on");
    assert!(out.contains(&Output::Resume));
    assert_eq!(play.tell(Input::Exhausted), [Output::Pause]);
}

#[test]
fn idle_connections_are_ended() {
    let idle_timeout = Some(500 * MS);
    let half_open_timeout = Some(100 * MS);
    let mut play = Play::new(Config { idle_timeout, half_open_timeout, ..Config::default() });
    play.add(1);
    play.client(1);
    play.moved = 300 * MS;
    assert_eq!(play.wait(500 * MS), []);
    assert_eq!(play.forward.next_deadline(), Some(800 * MS));
    play.tell(Input::HalfClosed { conn: ConnId(1) });
    assert_eq!(play.wait(100 * MS), [Output::Abort { conn: ConnId(1), reason: Reason::Idle }]);
    assert_eq!(play.forward.counters().timed_out, 1);
}
