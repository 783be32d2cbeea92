//! Workers whose event loop is blocked.

use super::{ONE, TWO, play};

#[test]
fn connections_of_a_blocked_worker_are_reclaimed_for_an_idle_one() {
    play(&[
        TWO,
        ("accept a; accept b; accept c; due", "a>1, b>2, c>1, 5"),
        // Worker 2 keeps up, worker 1 does not.
        ("at 5; counts 2 1; tick", "wake 1, probe 1, reclaim 1, probe 1"),
        // Requested once.
        ("tick", ""),
        ("reclaimed 1 a c; due", "a>2, c>2, 10"),
        // Until its loop turns it gets nothing and is not watched.
        ("counts 2 3; accept d", "d>2"),
        ("at 10; counts 2 4; tick; due", "never"),
        ("woke 1; accept e; accept f", "e>1, f>2"),
    ]);
}

#[test]
fn reclaimed_connections_come_before_newer_ones() {
    play(&[
        TWO,
        ("accept a; accept b; accept c; accept d; accept e", "a>1, b>2, c>1, d>2, wake 1, wake 2"),
        ("at 5; counts 2 2; tick", "probe 1, reclaim 1, probe 1, e>2"),
        ("accept f; accept g", "f>2"),
        ("reclaimed 1 a c; waiting", "3"),
        ("counts 2 4; woke 2", "a>2, c>2, wake 2"),
        ("counts 2 6; woke 2", "g>2"),
    ]);
}

#[test]
fn connections_of_a_blocked_worker_stay_while_no_worker_is_idle() {
    play(&[
        TWO,
        ("accept a; accept b; accept c; accept d", "a>1, b>2, c>1, d>2"),
        ("at 5; counts 2 1; tick; due", "wake 1, probe 1, 10"),
        ("at 9; counts 2 2; accept e", "reclaim 1, probe 1, e>2"),
        // It received them before the reclaim.
        ("counts 1 2; reclaimed 1", ""),
        ("accept f", "f>1"),
    ]);
}

#[test]
fn no_timer_runs_while_all_workers_are_blocked() {
    play(&[
        TWO,
        ("accept a; accept b", "a>1, b>2"),
        ("at 5; tick; due", "wake 1, probe 1, wake 2, probe 2, never"),
        ("accept c; due", "never"),
        // The first worker whose loop turns gets the new connection, and then those of the other.
        ("at 90; counts 2 1; woke 2", "reclaim 1, probe 1, c>2"),
        ("reclaimed 1 a; due", "a>2, 95"),
    ]);
}

#[test]
fn an_advancing_counter_ends_the_blocked_state() {
    play(&[
        TWO,
        ("accept a; accept b", "a>1, b>2"),
        ("at 5; tick", "wake 1, probe 1, wake 2, probe 2"),
        ("counts 1 1; accept c", "reclaim 2, probe 2, c>1"),
    ]);
}

#[test]
fn a_worker_with_any_progress_is_not_blocked() {
    play(&[
        TWO,
        ("accept a; accept b; accept c", "a>1, b>2, c>1"),
        ("at 5; counts 1 1; counts 2 1; tick; due", "10"),
        ("at 10; tick", "wake 1, probe 1, reclaim 1, probe 1"),
    ]);
}

#[test]
fn idle_time_does_not_count_as_blocked() {
    play(&[
        TWO,
        ("accept a; at 3; counts 1 1; accept b; due", "a>1, b>2, 5"),
        ("at 5; tick; due", "8"),
        ("at 8; tick", "wake 2, probe 2, reclaim 2, probe 2"),
    ]);
}

#[test]
fn a_single_worker_is_not_watched() {
    play(&[
        ONE,
        ("add 2; listen 8; join 2 8", "resume 8"),
        ("accept a; accept b; accept c; due", "a>1, b>1, wake 1, never"),
        // Now another worker could help, and this one has been blocked for long.
        ("at 50; join 2 7; due", "c>2, 5"),
        ("counts 2 1; tick", "probe 1, reclaim 1, probe 1"),
    ]);
}

#[test]
fn connections_are_reclaimed_only_for_workers_of_the_same_listener() {
    play(&[
        ("add 1; add 2; add 3; listen 7; listen 8", ""),
        ("join 1 7; join 2 7; join 3 8", "resume 7, resume 8"),
        ("accept a; accept b; accept c; accept d", "a>1, b>2, c>1, d>2"),
        // Worker 3 is idle, but not a member.
        ("at 5; counts 2 1; tick", "wake 1, probe 1"),
        ("join 3 7", "reclaim 1, probe 1"),
    ]);
}

#[test]
fn connections_that_only_the_blocked_worker_can_serve_wait_for_it() {
    play(&[
        TWO,
        ("listen 8; join 1 8", "resume 8"),
        ("accept A; accept a; accept b", "A>1, a>1, b>2"),
        ("at 5; counts 2 1; tick", "wake 1, probe 1, reclaim 1, probe 1"),
        ("reclaimed 1 A a; due", "a>2, 10"),
        ("at 10; counts 2 2; tick; waiting; due", "1, never"),
        ("woke 1", "A>1"),
    ]);
}

#[test]
fn a_full_channel_is_not_used_until_its_worker_reports_a_turn() {
    play(&[
        ONE,
        ("accept a; accept b", "a>1, b>1"),
        ("unsent 1 b; waiting", "wake 1, probe 1, 1"),
        // Counting is not enough: it could go on forever.
        ("counts 1 1; tick; counts 1 2; tick", ""),
        ("woke 1", "b>1"),
    ]);
    play(&[
        TWO,
        ("accept a; accept b; accept c; counts 2 1", "a>1, b>2, c>1"),
        ("unsent 1 c", "wake 1, probe 1, reclaim 1, probe 1, c>2"),
        ("reclaimed 1 a", "a>2"),
    ]);
}

#[test]
fn what_cannot_be_reclaimed_for_lack_of_descriptors_is_reclaimed_later() {
    play(&[
        TWO,
        ("accept a; accept b; accept c", "a>1, b>2, c>1"),
        ("at 5; counts 2 1; tick", "wake 1, probe 1, reclaim 1, probe 1"),
        // There is a descriptor for one of them.
        ("partly 1 a; at 10; counts 2 2; tick; due", "a>2, 105"),
        ("at 104; tick", ""),
        ("at 105; tick", "reclaim 1, probe 1"),
        ("partly 1; due", "205"),
        ("at 205; tick", "reclaim 1, probe 1"),
        ("reclaimed 1 c; due", "c>2, 210"),
    ]);
}

#[test]
fn the_rest_is_not_reclaimed_from_a_worker_that_has_received_it() {
    play(&[
        TWO,
        ("accept a; accept b; accept c", "a>1, b>2, c>1"),
        ("at 5; counts 2 1; tick; partly 1", "wake 1, probe 1, reclaim 1, probe 1"),
        ("at 50; counts 1 2; woke 1", ""),
        ("at 105; tick; due", "never"),
        ("accept d; accept e", "d>2, e>1"),
    ]);
}

#[test]
fn while_a_rest_waits_blocked_workers_are_found_as_soon_as_without_it() {
    play(&[
        TWO,
        ("accept a; accept b; accept c", "a>1, b>2, c>1"),
        ("at 5; counts 2 1; tick; partly 1", "wake 1, probe 1, reclaim 1, probe 1"),
        ("at 50; counts 1 2; woke 1; due", "105"),
        ("accept d; due", "d>2, 55"),
    ]);
}

#[test]
fn the_rest_is_reclaimed_later_from_a_worker_that_no_longer_listens() {
    play(&[
        TWO,
        ("accept a; accept b; accept c; left 1 7", "a>1, b>2, c>1, reclaim 1"),
        ("partly 1 a; due", "a>2, 100"),
        ("at 100; tick; due", "reclaim 1, never"),
        ("counts 2 2; reclaimed 1 c", "c>2"),
    ]);
}

#[test]
fn the_rest_of_a_leaving_worker_is_reclaimed_later() {
    play(&[
        TWO,
        ("accept a; accept b; accept c; leaving 1", "a>1, b>2, c>1, reclaim 1"),
        ("partly 1 a; due", "a>2, 100"),
        ("at 100; tick; due", "reclaim 1, never"),
        ("partly 1; at 200; counts 1 1; tick; due", "never"),
    ]);
}
