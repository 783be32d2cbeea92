//! Connections that a draining worker hands over: their clients are not new.
//!
//! The counts: accepted, queued, shed, returned, handed over.

use super::*;
use crate::dispatch::requeue::HAND_OVER;
use crate::schedule::{Action, Policy};

const TWO: (&str, &str) = ("add 1; add 2; listen 7; join 1 7; join 2 7", "resume 7");

#[test]
fn a_handed_over_connection_is_counted_separately_and_goes_to_another_worker() {
    play(&[
        TWO,
        ("accept a; counts 1 1; accept b; counts 2 1; counted 7", "a>1, b>2, 2 0 0 0 0"),
        ("leaving 1; reclaimed 1", "reclaim 1"),
        ("hands 1 u; counts 2 2; counted 7", "u>2, 2 0 0 0 1"),
    ]);
}

#[test]
fn a_worker_cannot_hand_over_more_than_it_was_sent() {
    play(&[
        TWO,
        ("accept a; counts 1 1; leaving 1; reclaimed 1", "a>1, reclaim 1"),
        ("hands 1 u; counts 2 1; hands 1 v; waiting", "u>2, v closed, 0"),
    ]);
    // It cannot hand over what it has returned or not received.
    play(&[
        TWO,
        ("accept a; counts 1 1; deaf 1 a; counts 2 1", "a>1, a>2"),
        ("leaving 1; reclaimed 1; hands 1 u", "reclaim 1, u closed"),
    ]);
    play(&[TWO, ("accept a; leaving 1; reclaimed 1 a; hands 1 u", "a>1, reclaim 1, a>2, u closed")]);
}

#[test]
fn a_worker_may_hand_over_more_connections_than_it_may_return_at_once() {
    let mut stage = Play::new(Plan::default());
    let mut out = String::new();
    for line in ["add 1", "add 2", "listen 7", "join 1 7"] {
        out = stage.act(line).join("");
    }
    assert_eq!(out, "resume 7");
    for count in 1..=10_000 {
        assert_eq!(stage.act("accept a"), ["a>1"]);
        stage.act(&format!("counts 1 {count}"));
    }
    stage.act("join 2 7");
    stage.act("leaving 1");
    stage.act("reclaimed 1");
    for count in 1..=10_000 {
        assert_eq!(stage.act("hands 1 u"), ["u>2"], "the {count}th");
        stage.act(&format!("counts 2 {count}"));
    }
    assert_eq!(stage.act("hands 1 u"), ["u closed"]);
}

fn shedding(queue: usize, deadline: Option<u64>) -> Plan {
    let overload = Overload { queue, deadline: deadline.map(Duration::from_millis), action: Action::Reset };
    Plan { overload, ..Plan::default() }
}

#[test]
fn a_handed_over_connection_is_not_shed_and_takes_no_room_from_new_clients() {
    play_with(
        shedding(1, Some(50)),
        &[
            TWO,
            ("accept a; accept b; accept c; accept d", "a>1, b>2, c>1, d>2"),
            ("counts 1 2; leaving 1; reclaimed 1", "reclaim 1"),
            // The other worker has no room.
            ("hands 1 u; hands 1 v; waiting", "wake 2, 2"),
            ("accept e; waiting", "3"),
            ("accept f; waiting", "f shed, 3"),
            ("counts 2 1; woke 2; counts 2 2; woke 2; waiting", "u>2, wake 2, v>2, wake 2, 1"),
        ],
    );
}

#[test]
fn a_handed_over_connection_has_no_deadline_in_the_queue() {
    play_with(
        shedding(4, Some(50)),
        &[
            TWO,
            ("accept a; accept b; accept c; accept d", "a>1, b>2, c>1, d>2"),
            ("counts 1 2; leaving 1; reclaimed 1; hands 1 u; waiting", "reclaim 1, wake 2, 1"),
            ("accept e; at 50; tick; waiting; due", "e shed, 1, never"),
            ("at 500; tick; counts 2 2; woke 2; waiting", "u>2, 0"),
            ("counted 7", "5 1 1 0 1"),
        ],
    );
}

#[test]
fn handed_over_connections_do_not_pause_their_listener() {
    play(&[
        TWO,
        ("accept a; accept b; accept c; accept d; counts 1 2; counts 2 2", "a>1, b>2, c>1, d>2"),
        ("accept a; accept b; accept c; accept d; counts 1 4; counts 2 4", "a>1, b>2, c>1, d>2"),
        ("accept a; accept b; accept c; accept d", "a>1, b>2, c>1, d>2"),
        ("counts 1 6; leaving 1; reclaimed 1", "reclaim 1"),
        ("hands 1 u; hands 1 v; hands 1 w; hands 1 x; hands 1 y; waiting", "wake 2, 5"),
        ("accept h; accept i; accept j; waiting", "8"),
        ("accept k; waiting", "pause 7, 9"),
    ]);
}

#[test]
fn a_handed_over_connection_that_is_returned_is_still_not_a_new_client() {
    play(&[
        TWO,
        ("accept a; counts 1 1; leaving 1; reclaimed 1; hands 1 u", "a>1, reclaim 1, u>2"),
        ("counts 2 1; full 2 u; waiting; counted 7", "1, 1 0 0 1 1"),
        ("room 2 7; counted 7", "u>2, 1 0 0 1 1"),
    ]);
}

#[test]
fn the_hook_is_called_again_for_a_handed_over_connection() {
    let plan = Plan { policy: Policy::Hook, ..Plan::default() };
    play_with(
        plan,
        &[
            TWO,
            ("accept a; counts 1 1; leaving 1; reclaimed 1", "a>1, reclaim 1"),
            ("hands 1 u; counted 7; waiting", "ask about u, 1 0 0 0 0, 0"),
            ("accept u; counted 7", "u>2, 1 0 0 0 1"),
        ],
    );
}

#[test]
fn a_leaving_worker_may_hand_over_while_another_worker_listens() {
    play(&[
        TWO,
        ("may 1", "none"),
        ("leaving 1; reclaimed 1; may 1", &format!("reclaim 1, {HAND_OVER}")),
        ("left 2 7; may 1", "pause 7, none"),
        ("join 2 7; may 1", &format!("resume 7, {HAND_OVER}")),
        ("close 7; may 1", "none"),
    ]);
    play(&[TWO, ("listen 8; join 1 8; leaving 1; reclaimed 1; may 1", "resume 8, reclaim 1, pause 8, none")]);
}

#[test]
fn a_leaving_worker_hands_nothing_over_while_the_others_are_full_or_blocked() {
    let room = HAND_OVER.to_string();
    play(&[TWO, ("leaving 1; reclaimed 1; fills 2 7; may 1", "reclaim 1, none"), ("room 2 7; may 1", &room)]);
    play(&[
        TWO,
        ("accept a; counts 1 1; accept b; leaving 1; reclaimed 1", "a>1, b>2, reclaim 1"),
        ("unsent 2 b; may 1", "wake 2, probe 2, none"),
        ("woke 2; may 1", &format!("b>2, {HAND_OVER}")),
    ]);
}

#[test]
fn waiting_connections_count_towards_the_room_for_handing_over() {
    play(&[
        TWO,
        ("accept a; accept b; accept c; accept d", "a>1, b>2, c>1, d>2"),
        ("counts 1 2; leaving 1; reclaimed 1", "reclaim 1"),
        ("hands 1 u; may 1", &format!("wake 2, {}", HAND_OVER - 1)),
        ("counts 2 2; woke 2; may 1", &format!("u>2, {HAND_OVER}")),
    ]);
}

/// A worker that returns connections is limited, and one that is leaving may hand over what it has served for long.
#[test]
fn only_a_leaving_worker_hands_over_more_than_a_worker_may_return() {
    for (leaving, taken) in [(false, 32), (true, 40)] {
        let mut stage = Play::new(Plan::default());
        for line in ["add 1; add 2; listen 7; join 1 7", "join 2 7; fills 2 7"] {
            line.split(';').for_each(|line| drop(stage.act(line.trim())));
        }
        for count in 1..=40 {
            assert_eq!(stage.act("accept a"), ["a>1"]);
            stage.act(&format!("counts 1 {count}"));
        }
        if leaving {
            stage.act("leaving 1");
        } else {
            stage.act("left 1 7");
        }
        let closed = (0..40).filter(|_| stage.act("hands 1 z") == ["z closed"]).count();
        assert_eq!(40 - closed, taken);
    }
}
