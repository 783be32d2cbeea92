//! How long a restart waits, and when the budget is used up.

use std::time::Duration;

use super::{ONE, TWO, options, play};
use crate::control::supervise::{Intensity, OnGiveUp, Options};

#[test]
fn waits_grow_and_end_in_giving_up() {
    play(
        options(1),
        &[
            ONE,
            ("exit 1 1", "restart 1@0: it ended with exit code 1, +0, #1, spawn 0 Restart, (2@0)"),
            ("exit 2 1", "restart 2@0 at start: it ended with exit code 1, +100, #2, backoff 0 100 after 2"),
            (
                "at 100; exit 3 1",
                "spawn 0 Restart, (3@0), restart 3@0 at start: it ended with exit code 1, +200, #3, backoff 0 200 after 3",
            ),
            (
                "at 300; exit 4 1",
                "spawn 0 Restart, (4@0), restart 4@0 at start: it ended with exit code 1, +300, #4, backoff 0 300 after 4",
            ),
            // It was the only slot.
            (
                "at 600; exit 5 1",
                "spawn 0 Restart, (5@0), gave up 5@0 Slot 4 in 60: it ended with exit code 1, shutdown 200 true, exit 70",
            ),
            ("states; due; at 99999", "Emptying, never"),
        ],
    );
}

#[test]
fn a_second_crash_in_service_waits_unless_the_worker_was_healthy_in_between() {
    play(
        options(1),
        &[
            ONE,
            (
                "exit 1 1; online 2",
                "restart 1@0: it ended with exit code 1, +0, #1, spawn 0 Restart, (2@0), ready 2 in 0",
            ),
            ("at 8999; exit 2 1", "restart 2@0: it ended with exit code 1, +100, #2, backoff 0 100 after 2"),
            ("at 9099; online 3", "spawn 0 Restart, (3@0), ready 3 in 0"),
            ("at 18099; exit 3 1", "restart 3@0: it ended with exit code 1, +0, #3, spawn 0 Restart, (4@0)"),
        ],
    );
}

#[test]
fn restarts_count_for_a_period() {
    let few =
        Options { restart_intensity: Intensity { max: 1, period: Duration::from_secs(20) }, ..options(1) };
    play(
        few,
        &[
            ONE,
            (
                "exit 1 1; online 2; at 20000",
                "restart 1@0: it ended with exit code 1, +0, #1, spawn 0 Restart, (2@0), ready 2 in 0",
            ),
            (
                "exit 2 1; online 3; at 39999",
                "restart 2@0: it ended with exit code 1, +0, #1, spawn 0 Restart, (3@0), ready 3 in 0",
            ),
            ("exit 3 1", "gave up 3@0 Slot 1 in 20: it ended with exit code 1, shutdown 200 true, exit 70"),
        ],
    );
}

#[test]
fn all_slots_together_have_a_limit_too() {
    let few =
        Options { total_intensity: Intensity { max: 1, period: Duration::from_secs(60) }, ..options(2) };
    play(
        few,
        &[
            TWO,
            ("exit 1 1", "restart 1@0: it ended with exit code 1, +0, #1, spawn 0 Restart, (3@0)"),
            ("exit 2 1; states", "gave up 2@1 Total 1 in 60: it ended with exit code 1, Filling, GivenUp"),
        ],
    );
}

#[test]
fn giving_up_may_stop_the_primary() {
    let exit = Options {
        restart_intensity: Intensity { max: 0, period: Duration::from_secs(60) },
        on_give_up: OnGiveUp::Exit,
        ..options(2)
    };
    play(
        exit,
        &[
            TWO,
            (
                "exit 1 1",
                "gave up 1@0 Slot 0 in 60: it ended with exit code 1, shutdown 200 true, drain 2 shutdown 200",
            ),
            ("shutdown 100 5; at 99", ""),
            ("exit 2 0", "done 5, exit 70"),
        ],
    );
}
