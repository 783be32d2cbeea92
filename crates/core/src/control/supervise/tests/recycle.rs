//! Recycling of healthy workers.

use std::time::Duration;

use super::{ONE, TWO, options, play};
use crate::control::supervise::{Intensity, Options, Recycle};

fn recycled(workers: u32, recycle: Recycle) -> Options {
    Options { recycle: Recycle { jitter: 0.0, ..recycle }, ..options(workers) }
}

fn by_memory(workers: u32) -> Options {
    recycled(workers, Recycle { memory: Some(100), ..Recycle::default() })
}

#[test]
fn a_worker_with_too_much_memory_in_two_samples_in_a_row_is_recycled() {
    play(
        by_memory(2),
        &[
            TWO,
            ("shows 1 0 101 0; look 50; shows 1 0 100 0; look 100; shows 1 0 101 0; look 150", ""),
            ("look 200", "recycle 1@0 Memory 101/100, spawn 0 Recycle, (3@0)"),
            ("look 250; states", "Serving, Serving"),
            ("online 3; exit 1 0", "ready 3 in 50, drain 1 recycle 500"),
        ],
    );
}

#[test]
fn one_worker_is_recycled_at_a_time() {
    play(
        by_memory(2),
        &[
            TWO,
            (
                "shows 1 0 101 0; shows 2 0 102 0; look 50; look 100",
                "recycle 1@0 Memory 101/100, spawn 0 Recycle, (3@0)",
            ),
            ("look 150", ""),
            (
                "online 3",
                "ready 3 in 50, drain 1 recycle 500, recycle 2@1 Memory 102/100, spawn 1 Recycle, (4@1)",
            ),
        ],
    );
}

#[test]
fn a_worker_far_over_the_limit_does_not_wait() {
    play(
        by_memory(3),
        &[
            (
                "start; online 1; online 2; online 3",
                "spawn 0 Start, spawn 1 Start, spawn 2 Start, (1@0), (2@1), (3@2), ready 1 in 0, ready 2 in 0, ready 3 in 0",
            ),
            ("shows 1 0 110 0; look 50; look 100", "recycle 1@0 Memory 110/100, spawn 0 Recycle, (4@0)"),
            // It is not its turn, but it drains at once; the first one has become as large and waits for
            // that.
            (
                "shows 1 0 115 0; shows 2 0 116 0; look 150; look 200",
                "recycle 2@1 Memory 116/100, spawn 1 Recycle, drain 2 recycle 500, (5@1)",
            ),
            ("shows 1 0 116 0; look 250", ""),
            ("online 5", "ready 5 in 50, drain 1 recycle 500"),
        ],
    );
}

#[test]
fn workers_are_recycled_for_age_and_connections() {
    let age = recycled(1, Recycle { age: Some(Duration::from_secs(5)), ..Recycle::default() });
    play(
        age,
        &[
            ONE,
            ("due; at 4999", "5000"),
            (
                "at 5000; due; online 2; due",
                "recycle 1@0 Age 5000/5000, spawn 0 Recycle, (2@0), 6000, ready 2 in 0, drain 1 recycle 500, 5500",
            ),
            ("exit 1 0; due", "10000"),
        ],
    );
    let connections = recycled(1, Recycle { connections: Some(9), ..Recycle::default() });
    play(
        connections,
        &[
            ONE,
            ("shows 1 0 0 8; look 50", ""),
            ("shows 1 0 0 9; look 100", "recycle 1@0 Connections 9/9, spawn 0 Recycle, (2@0)"),
        ],
    );
}

#[test]
fn a_standby_begins_to_age_when_it_is_promoted() {
    let age = Options {
        standby: 1,
        ..recycled(1, Recycle { age: Some(Duration::from_secs(5)), ..Recycle::default() })
    };
    play(
        age,
        &[
            (
                "start; online 1; online 2",
                "spawn 0 Start, spawn - Standby, (1@0), (2@-), ready 1 in 0, ready 2 in 0",
            ),
            (
                "at 4000; exit 1 1; online 3",
                "restart 1@0: it ended with exit code 1, +0, #1, promote 2, 2@0 after 4000, spawn - Standby, (3@-), ready 3 in 0",
            ),
            ("at 8999", ""),
            (
                "at 9000",
                "recycle 2@0 Age 5000/5000, promote 3, 3@0 after 5000, drain 2 recycle 500, spawn - Standby, (4@-)",
            ),
        ],
    );
}

#[test]
fn if_the_successor_fails_the_old_worker_stays_for_a_while() {
    play(
        by_memory(1),
        &[
            ONE,
            ("shows 1 0 101 0; look 50; look 100", "recycle 1@0 Memory 101/100, spawn 0 Recycle, (2@0)"),
            ("exit 2 1; look 150; states", "Serving"),
            ("look 200", "recycle 1@0 Memory 101/100, spawn 0 Recycle, (3@0)"),
        ],
    );
}

#[test]
fn recycling_is_postponed_where_restarts_would_be_given_up() {
    let often = Options {
        restart_intensity: Intensity { max: 1, period: Duration::from_secs(60) },
        ..recycled(1, Recycle { age: Some(Duration::from_secs(1)), ..Recycle::default() })
    };
    play(
        often,
        &[
            ONE,
            (
                "at 1000; online 2; exit 1 0",
                "recycle 1@0 Age 1000/1000, spawn 0 Recycle, (2@0), ready 2 in 0, drain 1 recycle 500",
            ),
            ("at 2000; states; due", "Serving, 61000"),
            ("at 61000", "recycle 2@0 Age 1000/1000, spawn 0 Recycle, (3@0)"),
        ],
    );
}
