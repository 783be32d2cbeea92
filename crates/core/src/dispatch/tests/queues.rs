//! Order, windows, queues and backlogs.

use std::cell::Cell;
use std::time::Duration;

use super::{ONE, TWO, play};
use crate::dispatch::{Board, Config, Dispatch, Input};
use crate::ids::{ListenerId, Slot, WorkerId};
use crate::schedule::{Plan, Policy};

#[test]
fn workers_get_connections_in_turn() {
    play(&[
        ("add 1; add 2; add 3; listen 7; join 1 7; join 2 7; join 3 7", "resume 7"),
        ("accept a; accept b; accept c; accept d", "a>1, b>2, c>3, d>1"),
        ("counts 1 2; counts 2 1; counts 3 1", ""),
        ("accept e; accept f; accept g; accept h", "e>2, f>3, g>1, h>2"),
    ]);
}

#[test]
fn a_leaving_worker_does_not_change_the_turns_of_others() {
    play(&[
        ("add 1; add 2; add 3; listen 7; join 1 7; join 2 7; join 3 7", "resume 7"),
        ("accept a; accept b; counts 1 1", "a>1, b>2"),
        ("left 1 7; accept c; accept d", "c>3, d>2"),
    ]);
}

#[test]
fn each_listener_has_a_turn_of_its_own() {
    play(&[
        TWO,
        ("listen 8; join 1 8; join 2 8", "resume 8"),
        ("accept a; accept A; accept b; accept B", "a>1, A>1, b>2, B>2"),
    ]);
}

#[test]
fn a_worker_at_its_window_is_passed_over() {
    play(&[
        TWO,
        ("accept a; accept b; accept c", "a>1, b>2, c>1"),
        ("counts 2 1", ""),
        ("accept d; accept e", "d>2, e>2"),
    ]);
}

#[test]
fn without_a_ready_worker_connections_wait_in_order() {
    play(&[
        ONE,
        ("accept a; accept b", "a>1, b>1"),
        // One requested wake-up is enough.
        ("accept c; accept d; waiting", "wake 1, 2"),
        ("counts 1 1; woke 1", "c>1, wake 1"),
        // Later clients wait behind earlier ones, even if there is room.
        ("counts 1 3; accept e", "d>1, e>1"),
        ("waiting", "0"),
    ]);
}

#[test]
fn a_counter_that_moved_before_the_request_could_be_seen_is_found_by_a_tick() {
    play(&[
        ONE,
        ("accept a; accept b; accept c", "a>1, b>1, wake 1"),
        ("counts 1 2; tick", "c>1"),
        ("tick; waiting", "0"),
    ]);
}

#[test]
fn a_full_queue_pauses_its_listener_until_it_is_half_empty() {
    play(&[
        ONE,
        ("accept a; accept b", "a>1, b>1"),
        ("accept c; accept d; accept e; accept f", "wake 1, pause 7"),
        // The shell may have accepted one more before the pause.
        ("accept g", ""),
        ("counts 1 2; woke 1", "c>1, d>1, wake 1"),
        ("counts 1 4; woke 1", "e>1, f>1, wake 1, resume 7"),
    ]);
}

#[test]
fn without_members_clients_wait_in_the_backlog() {
    play(&[
        ("add 1; listen 7", ""),
        // Accepted before the shell carried out the pause.
        ("join 1 7; left 1 7; accept a; accept b", "resume 7, pause 7"),
        ("due", "never"),
        ("join 1 7", "a>1, b>1, resume 7"),
    ]);
}

#[test]
fn a_busy_listener_does_not_take_all_the_room() {
    play(&[
        ONE,
        ("listen 8; join 1 8", "resume 8"),
        ("accept a; accept b", "a>1, b>1"),
        ("accept c; accept d; accept e; accept A; accept B", "wake 1"),
        ("counts 1 2; woke 1", "c>1, d>1, wake 1"),
        ("counts 1 4; woke 1", "A>1, B>1, wake 1"),
        ("counts 1 6; woke 1", "e>1"),
    ]);
}

#[test]
fn connections_that_wait_for_a_closed_listener_are_closed() {
    play(&[
        ONE,
        ("accept a; accept b; accept c; accept d", "a>1, b>1, wake 1"),
        ("close 7; waiting; due", "c closed, d closed, 0, never"),
        ("accept e; counts 1 2; deaf 1 a; reclaimed 1 b", "e closed, a closed, b closed"),
    ]);
}

/// A page on which a worker counts what it has received between two reads of the dispatcher.
struct Racing {
    /// The number of reads that do not show it yet.
    looks: Cell<u32>,
}

impl Board for Racing {
    fn received(&self, _: WorkerId) -> u64 {
        match self.looks.get() {
            0 => 100,
            looks => {
                self.looks.set(looks - 1);
                0
            }
        }
    }
    fn open(&self, _: WorkerId) -> u32 {
        0
    }
    fn busy(&self, _: WorkerId) -> Duration {
        Duration::ZERO
    }
}

#[test]
fn a_connection_that_was_skipped_gets_room_that_is_found_later() {
    let (worker, listener) = (WorkerId(1), ListenerId(7));
    for looks in 0..40 {
        let board = Racing { looks: looks.into() };
        let mut dispatch = Dispatch::new(Config { window: 2, ..Config::default() });
        let mut out = Vec::new();
        let plan = Plan { policy: Policy::Sticky, ..Plan::default() };
        let patience = plan.patience;
        dispatch.handle(Duration::ZERO, Input::ListenerAdded { listener, plan }, &board, &mut out);
        for conn in 'a'..='e' {
            dispatch.handle(Duration::ZERO, Input::Accepted { listener, conn }, &board, &mut out);
        }
        // No connection waits for its own worker any more.
        let now = patience * 2;
        dispatch.handle(now, Input::Tick, &board, &mut out);
        dispatch.handle(now, Input::WorkerAdded { worker, slot: Slot(0) }, &board, &mut out);
        dispatch.handle(now, Input::Joined { worker, listener }, &board, &mut out);
        dispatch.check_invariants(now).unwrap_or_else(|broken| panic!("after {looks} looks: {broken}"));
    }
}
