//! Connections that come back: returned, or not received by a worker that leaves or dies.

use super::{ONE, TWO, play};

#[test]
fn a_full_worker_gets_nothing_until_it_has_room() {
    play(&[
        TWO,
        ("accept a; counts 1 1; full 1 a", "a>1, a>2"),
        ("counts 2 1; accept b; counts 2 2; accept c", "b>2, c>2"),
        ("counts 2 3; full 2 c; waiting", "1"),
        // Neither a turn of the loop nor time makes room.
        ("at 99; tick; woke 1; due", "never"),
        ("room 1 7; waiting", "c>1, 0"),
        ("counts 1 2; accept d", "d>1"),
    ]);
}

#[test]
fn a_worker_is_full_for_one_listener_only() {
    play(&[
        ONE,
        ("listen 8; join 1 8", "resume 8"),
        ("accept a; counts 1 1; full 1 a", "a>1"),
        ("accept A; room 1 8; waiting", "A>1, 1"),
    ]);
}

#[test]
fn a_worker_that_does_not_listen_gets_nothing_for_a_while() {
    play(&[
        TWO,
        ("accept a; counts 1 1; deaf 1 a", "a>1, a>2"),
        ("counts 2 1; accept b; counts 2 2; deaf 2 b", "b>2"),
        ("at 19; tick; waiting; due", "1, 20"),
        ("at 20; tick", "b>1"),
        // Refused again: connections are not sent back and forth.
        ("counts 1 2; deaf 1 b; counts 2 3; deaf 2 b; at 39; tick; waiting; due", "b>2, 1, 40"),
    ]);
    play(&[
        ONE,
        ("accept a; counts 1 1; deaf 1 a; due", "a>1, 20"),
        // It has left and joined again, and the refusal was about the first time.
        ("join 1 7; due", "a>1, never"),
    ]);
    play(&[
        ONE,
        ("accept a; counts 1 1; deaf 1 a; due", "a>1, 20"),
        ("left 1 7", "pause 7"),
        ("at 20; tick; due", "never"),
    ]);
}

#[test]
fn returned_connections_keep_their_order() {
    play(&[
        ONE,
        ("accept a; accept b; accept c; counts 1 2", "a>1, b>1, wake 1"),
        ("full 1 a; full 1 b", ""),
        ("room 1 7; counts 1 4; woke 1", "a>1, b>1, c>1"),
    ]);
}

#[test]
fn connections_that_a_leaving_worker_has_not_received_go_to_others() {
    play(&[
        TWO,
        ("accept a; accept b; accept c", "a>1, b>2, c>1"),
        ("leaving 1", "reclaim 1"),
        ("reclaimed 1 a c", "a>2, wake 2"),
        // It cannot come back.
        ("join 1 7; room 1 7; woke 1; counts 2 2; woke 2", "c>2"),
    ]);
}

#[test]
fn a_leaving_worker_may_return_received_connections() {
    play(&[
        TWO,
        ("accept a; accept b; counts 1 1; counts 2 1", "a>1, b>2"),
        ("leaving 1; reclaimed 1; deaf 1 a", "reclaim 1, a>2"),
    ]);
}

#[test]
fn connections_that_a_dead_worker_has_not_received_go_to_others() {
    play(&[
        TWO,
        ("accept a; accept b; accept c; counts 2 1", "a>1, b>2, c>1"),
        ("gone 1 a c", "a>2, c>2"),
        ("accept d; waiting", "wake 2, 1"),
        ("gone 2 a c", "pause 7"),
        ("add 3; join 3 7", "a>3, c>3, wake 3, resume 7"),
        ("counts 3 2; woke 3; waiting", "d>3, 0"),
    ]);
}

#[test]
fn leaving_one_listener_affects_only_that_listener() {
    play(&[
        TWO,
        ("listen 8; join 1 8", "resume 8"),
        ("accept a; accept A", "a>1, A>1"),
        ("left 1 7", "reclaim 1"),
        ("reclaimed 1 a A", "a>2, A>1"),
        // A worker that is not a member cannot leave.
        ("left 1 7", ""),
    ]);
}
