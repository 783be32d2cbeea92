//! If no slot will ever serve again, the primary exits and reports it.

use std::time::Duration;

use super::{ONE, TWO, options, play};
use crate::control::supervise::{Backoff, Intensity, OnGiveUp, Options, RestartPolicy};

fn few(workers: u32) -> Options {
    let intensity = Intensity { max: 0, ..options(workers).restart_intensity };
    Options { restart_intensity: intensity, give_up_exit_code: 71, ..options(workers) }
}

#[test]
fn giving_up_the_last_slot_ends_the_cluster() {
    play(
        few(2),
        &[
            TWO,
            ("exit 1 3; states", "gave up 1@0 Slot 0 in 60: it ended with exit code 3, GivenUp, Serving"),
            ("exit 2 4", "gave up 2@1 Slot 0 in 60: it ended with exit code 4, shutdown 200 true, exit 71"),
            (
                "reload 1 5; scale 3 6",
                "failed 5: the cluster is shut down, failed 6: the cluster is shut down",
            ),
        ],
    );
}

#[test]
fn a_slot_that_can_still_get_a_worker_keeps_the_cluster_running() {
    let mixed = Options { stop_exit_codes: vec![0], ..few(2) };
    play(
        mixed,
        &[
            TWO,
            ("exit 1 3", "gave up 1@0 Slot 0 in 60: it ended with exit code 3"),
            ("scale 3 6; online 3", "spawn 2 Scale, (3@2), ready 3 in 0, done 6"),
            ("exit 2 0; states", "stopped 2@1: it ended with exit code 0, GivenUp, Stopped, Serving"),
            // One slot that was given up is enough for a failure.
            ("exit 3 0", "stopped 3@2: it ended with exit code 0, shutdown 200 true, exit 71"),
        ],
    );
}

#[test]
fn workers_that_all_end_with_code_0_are_not_a_failure() {
    let on_failure = Options { restart: RestartPolicy::OnFailure, ..options(2) };
    play(
        on_failure,
        &[
            TWO,
            ("exit 1 0; states", "stopped 1@0: it ended with exit code 0, Stopped, Serving"),
            ("exit 2 0; states; due", "stopped 2@1: it ended with exit code 0, Stopped, Stopped, never"),
        ],
    );
}

#[test]
fn a_failed_worker_that_is_never_replaced_makes_the_end_a_failure() {
    let never = Options { restart: RestartPolicy::Never, ..options(2) };
    play(
        never,
        &[
            TWO,
            ("signal 1 9; states", "stopped 1@0: it ended by SIGKILL, Stopped, Serving"),
            ("exit 2 0", "stopped 2@1: it ended with exit code 0, shutdown 200 true, exit 70"),
        ],
    );
}

#[test]
fn an_announced_shutdown_is_not_a_failure() {
    play(
        few(1),
        &[
            ONE,
            ("shutdown 300 1000 7", "stopping in 1000"),
            ("exit 1 3", "gave up 1@0 Slot 0 in 60: it ended with exit code 3, shutdown 200 false, done 7"),
        ],
    );
}

/// Waits of 100, 200, 300, 300 … ms, and a budget larger than the number of restarts.
fn patient(workers: u32) -> Options {
    let intensity = Intensity { max: 100, period: Duration::from_secs(60) };
    Options { restart_intensity: intensity, start_up_limit: Some(Duration::from_secs(1)), ..options(workers) }
}

const FAILS: &str = "it ended with exit code 1";

#[test]
fn a_program_that_has_never_run_is_tried_for_a_limited_time() {
    let fails = |number: u32, wait: u32| {
        format!("restart {number}@0 at start: {FAILS}, +{wait}, #{number}, backoff 0 {wait} after {number}")
    };
    let mut rows = vec![("start; exit 1 1".to_owned(), format!("spawn 0 Start, (1@0), {}", fails(1, 100)))];
    for (number, at, wait) in [(2, 100, 200), (3, 300, 300), (4, 600, 300)] {
        rows.push((
            format!("at {at}; exit {number} 1"),
            format!("spawn 0 Restart, ({number}@0), {}", fails(number, wait)),
        ));
    }
    // The next attempt would come after the second is over.
    rows.push((
        "at 900; exit 5 1".to_owned(),
        format!("spawn 0 Restart, (5@0), gave up 5@0 StartUp 4 in 0: {FAILS}, shutdown 200 true, exit 70"),
    ));
    let rows: Vec<(&str, &str)> = rows.iter().map(|(what, then)| (what.as_str(), then.as_str())).collect();
    play(patient(1), &rows);
}

#[test]
fn one_worker_that_was_ready_removes_the_limit() {
    play(
        patient(2),
        &[
            ("start; online 2", "spawn 0 Start, spawn 1 Start, (1@0), (2@1), ready 2 in 0"),
            (
                "exit 1 1; at 100",
                "restart 1@0 at start: it ended with exit code 1, +100, #1, backoff 0 100 after 1, spawn 0 Restart, (3@0)",
            ),
            (
                "exit 3 1; at 300",
                "restart 3@0 at start: it ended with exit code 1, +200, #2, backoff 0 200 after 2, spawn 0 Restart, (4@0)",
            ),
            (
                "exit 4 1; at 999",
                "restart 4@0 at start: it ended with exit code 1, +300, #3, backoff 0 300 after 3, spawn 0 Restart, (5@0)",
            ),
            ("exit 5 1", "restart 5@0 at start: it ended with exit code 1, +300, #4, backoff 0 300 after 4"),
        ],
    );
}

#[test]
fn a_slow_program_has_three_attempts() {
    let slow = Options {
        ready_timeout: Duration::from_secs(2),
        kill_timeout: Duration::ZERO,
        backoff: Backoff { initial: Duration::ZERO, ..options(1).backoff },
        on_give_up: OnGiveUp::Exit,
        ..patient(1)
    };
    let late = "it was not ready in time";
    play(
        slow,
        &[
            ("start", "spawn 0 Start, (1@0)"),
            ("at 2000", &format!("term 1, restart 1@0 at start: {late}, +1, #1, backoff 0 1 after 1")),
            ("at 2001; exit 1 1", "kill 1, spawn 0 Restart, (2@0)"),
            ("at 4001", &format!("term 2, restart 2@0 at start: {late}, +1, #2, backoff 0 1 after 2")),
            ("at 4002; exit 2 1", "kill 2, spawn 0 Restart, (3@0)"),
            ("at 6002", &format!("term 3, gave up 3@0 StartUp 2 in 6: {late}, shutdown 200 true")),
            ("exit 3 1", "exit 70"),
        ],
    );
}
