//! Overload: no worker is ready, and the plan decides.

use super::*;
use crate::schedule::Action;

fn shedding(queue: usize, deadline: Option<u64>) -> Plan {
    let overload = Overload { queue, deadline: deadline.map(Duration::from_millis), action: Action::Reset };
    Plan { overload, ..Plan::default() }
}

#[test]
fn an_excess_connection_is_shed_and_the_listener_is_not_paused() {
    play_with(
        shedding(2, None),
        &[
            ONE,
            ("accept a; accept b", "a>1, b>1"),
            ("accept c; accept d", "wake 1"),
            ("accept e; waiting", "e shed, 2"),
            ("counts 1 2; woke 1; waiting", "c>1, d>1, 0"),
            ("accept f; accept g; accept h", "wake 1, h shed"),
        ],
    );
}

#[test]
fn without_a_queue_connections_go_to_ready_workers_or_are_shed() {
    play_with(shedding(0, None), &[ONE, ("accept a; accept b; accept c", "a>1, b>1, wake 1, c shed")]);
}

#[test]
fn a_connection_that_has_waited_too_long_is_shed_even_after_a_requeue() {
    play_with(
        shedding(4, Some(50)),
        &[
            ONE,
            ("accept a; accept b; at 10; accept c; due", "a>1, b>1, wake 1, 60"),
            ("at 20; accept d; at 59; tick; due", "60"),
            ("at 60; tick; due; waiting", "c shed, 70, 1"),
            ("at 65; left 1 7; reclaimed 1 a b; due", "reclaim 1, pause 7, 70"),
            // There is no worker: the clients wait, as on every listener without a worker.
            ("at 200; tick; waiting; due", "3, never"),
            ("add 2; join 2 7; waiting", "a>2, b>2, wake 2, d shed, resume 7, 0"),
        ],
    );
}

#[test]
fn the_newest_connection_is_shed_first() {
    play_with(
        shedding(1, None),
        &[
            TWO,
            ("accept a; accept b; accept c; accept d", "a>1, b>2, c>1, d>2"),
            ("accept e", "wake 1, wake 2"),
            ("gone 1 a c; waiting", "e shed, c shed, 1"),
            ("accept f; waiting", "f shed, 1"),
            ("counts 2 2; woke 2", "a>2"),
        ],
    );
}

#[test]
fn everything_is_counted() {
    let mut play = Play::new(shedding(1, None));
    let lines = "add 1; listen 7; join 1 7; accept a; accept b; accept c; accept d; counts 1 1; full 1 a; leaving 1; \
                 reclaimed 1 b; add 2; join 2 7";
    for line in lines.split(';') {
        play.act(line.trim());
    }
    let stats = play.dispatch.stats(&play.counters);
    let counts =
        Counts { accepted: 4, passed: 4, queued: 2, shed: 2, reclaimed: 1, returned: 1, handed_over: 0 };
    assert_eq!(stats.listeners, [ListenerStats { listener: ListenerId(7), waiting: 0, workers: 1, counts }]);
    let one = stats.workers[0];
    assert_eq!((one.slot, one.counts.passed, one.counts.returned, one.counts.reclaimed), (None, 2, 1, 1));
    assert_eq!((stats.workers[1].slot, stats.workers[1].in_flight), (Some(Slot(1)), 2));
}
