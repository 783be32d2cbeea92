//! Workers whose event loop is blocked.

use std::time::Duration;

use super::{ONE, TWO, options, play};
use crate::control::supervise::{Options, RestartPolicy};

fn watched(workers: u32) -> Options {
    Options { unresponsive_after: Some(Duration::from_millis(100)), ..options(workers) }
}

#[test]
fn an_unresponsive_worker_is_replaced_and_killed_after_its_stack_is_captured() {
    play(
        watched(2),
        &[
            TWO,
            ("due; shows 1 5 0 0; shows 2 5 0 0; look 50", "50"),
            // Both were idle. One reacts to the probe.
            ("look 100; shows 2 6 0 0; look 150", "probe 1, probe 2"),
            ("shows 2 7 0 0; look 200", "reclaim 1, capture 1, spawn 0 Unresponsive, (3@0)"),
            (
                "stack 1 loop; stack 1 loop; signal 1 9",
                "unresponsive 1@0 100 loop, restart 1@0: its event loop stopped, +0, #1, kill 1",
            ),
        ],
    );
}

#[test]
fn the_wait_for_the_stack_is_limited() {
    play(
        watched(1),
        &[
            ONE,
            ("shows 1 5 0 0; look 50; look 100; look 150", "probe 1"),
            ("look 200", "reclaim 1, capture 1, spawn 0 Unresponsive, (2@0)"),
            ("at 699", ""),
            ("at 700", "unresponsive 1@0 100, restart 1@0: its event loop stopped, +0, #1, kill 1"),
        ],
    );
}

#[test]
fn a_loop_that_turns_occasionally_is_not_unresponsive() {
    play(
        watched(1),
        &[
            ONE,
            ("shows 1 5 0 0; look 50; look 100; look 150", "probe 1"),
            ("shows 1 6 0 0; look 200; look 250; look 300", "probe 1"),
            ("shows 1 7 0 0; look 350", ""),
        ],
    );
}

#[test]
fn time_in_suspend_does_not_count_as_blocked() {
    play(
        watched(1),
        &[
            ONE,
            ("shows 1 5 0 0; look 50; look 100", "probe 1"),
            // An hour counts as one period; a short delay counts in full.
            ("look 3600000", ""),
            ("look 3600050", "reclaim 1, capture 1, spawn 0 Unresponsive, (2@0)"),
        ],
    );
    play(
        watched(1),
        &[
            ONE,
            ("shows 1 5 0 0; look 50; look 100", "probe 1"),
            ("look 300", "reclaim 1, capture 1, spawn 0 Unresponsive, (2@0)"),
        ],
    );
}

#[test]
fn a_loading_app_has_the_time_limit_for_getting_ready() {
    play(
        watched(1),
        &[
            ONE,
            ("shows 1 0 0 0; look 50; look 100; look 200; look 300; look 400; look 500; look 600", "probe 1"),
            ("look 700; look 800; look 900; look 1000; look 1099", ""),
            ("look 1149", "reclaim 1, capture 1, spawn 0 Unresponsive, (2@0)"),
        ],
    );
    // Before it is ready, the time to get ready is the limit.
    play(
        watched(1),
        &[("start; shows 1 5 0 0; look 50; look 100; look 200; look 300", "spawn 0 Start, (1@0)")],
    );
}

#[test]
fn an_unresponsive_standby_is_replaced_as_well() {
    play(
        Options { standby: 1, ..watched(1) },
        &[
            (
                "start; online 1; online 2",
                "spawn 0 Start, spawn - Standby, (1@0), (2@-), ready 1 in 0, ready 2 in 0",
            ),
            ("shows 2 5 0 0; look 50; look 100; look 150", "probe 2"),
            ("look 200", "reclaim 2, capture 2, spawn - Standby, (3@-)"),
        ],
    );
}

#[test]
fn workers_are_not_sampled_without_a_reason() {
    play(options(1), &[ONE, ("due", "never")]);
    play(
        watched(1),
        &[(
            "start; due; online 1; due; exit 1 1; due",
            "spawn 0 Start, (1@0), 1000, ready 1 in 0, 50, restart 1@0: it ended with exit code 1, +0, #1, spawn 0 Restart, (2@0), 1000",
        )],
    );
}

#[test]
fn a_worker_that_ends_before_its_stack_is_captured_is_still_reported() {
    let never = Options { restart: RestartPolicy::Never, ..watched(1) };
    play(
        never,
        &[
            (
                "start; online 1; shows 1 7 0 0; look 50; look 100",
                "spawn 0 Start, (1@0), ready 1 in 0, probe 1",
            ),
            ("look 200", "reclaim 1, capture 1"),
            (
                "signal 1 9",
                "unresponsive 1@0 100, stopped 1@0: its event loop stopped, shutdown 200 true, exit 70",
            ),
        ],
    );
}
