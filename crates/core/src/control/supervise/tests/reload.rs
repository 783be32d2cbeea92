//! Tests of reloads.

use super::{ONE, TWO, options, play};

const FAILED: &str = "the new worker of slot 0 did not get ready: it ended with exit code 1";

#[test]
fn workers_are_replaced_one_by_one_once_their_successors_are_ready() {
    play(
        options(2),
        &[
            TWO,
            ("reload 1 5; states", "reload 2/1, spawn 0 Reload, (3@0), Serving, Serving"),
            ("online 3", "ready 3 in 0, drain 1 reload 500, spawn 1 Reload, (4@1)"),
            ("at 20; online 4", "ready 4 in 20, drain 2 reload 500, reloaded in 20, done 5"),
            ("exit 1 0; exit 2 0; due; states", "never, Serving, Serving"),
        ],
    );
}

#[test]
fn several_workers_are_replaced_at_a_time_if_requested() {
    play(
        options(2),
        &[
            TWO,
            ("reload 9 5", "reload 2/9, spawn 0 Reload, spawn 1 Reload, (3@0), (4@1)"),
            (
                "online 4; online 3",
                "ready 4 in 0, drain 2 reload 500, ready 3 in 0, drain 1 reload 500, reloaded in 0, done 5",
            ),
        ],
    );
    play(options(2), &[TWO, ("reload 0 5", "reload 2/1, spawn 0 Reload, (3@0)")]);
}

#[test]
fn if_a_new_worker_fails_the_old_ones_stay() {
    let failed = format!("reload failed after 0: {FAILED}, failed 5: {FAILED}");
    play(
        options(2),
        &[
            TWO,
            ("reload 1 5", "reload 2/1, spawn 0 Reload, (3@0)"),
            ("exit 3 1", &failed),
            ("states; due", "Serving, Serving, never"),
            (
                "reload 1 6; online 4",
                "reload 2/1, spawn 0 Reload, (4@0), ready 4 in 0, drain 1 reload 500, spawn 1 Reload, (5@1)",
            ),
        ],
    );
    // The other successors that are starting are not needed.
    play(
        options(2),
        &[
            TWO,
            (
                "reload 2 5; exit 3 1",
                &format!("reload 2/2, spawn 0 Reload, spawn 1 Reload, (3@0), (4@1), {failed}, term 4"),
            ),
            ("exit 4 1; states", "Serving, Serving"),
        ],
    );
}

#[test]
fn a_new_worker_that_crashes_while_others_are_still_to_be_replaced_fails_the_reload() {
    let begun = (
        "reload 1 5; online 3",
        "reload 2/1, spawn 0 Reload, (3@0), ready 3 in 0, drain 1 reload 500, spawn 1 Reload, (4@1)",
    );
    let failure = "the new worker of slot 0 did not stay up: it ended with exit code 3";
    let failed = format!(
        "reload failed after 1: {failure}, failed 5: {failure}, term 4, restart 3@0: it ended with exit code 3, +0, #1, spawn 0 Restart, (5@0)"
    );
    play(options(2), &[TWO, begun, ("exit 3 3", &failed), ("states", "Filling, Serving")]);
    // A signal is not the program's own fault.
    play(
        options(2),
        &[
            TWO,
            begun,
            (
                "signal 3 9; online 4",
                "restart 3@0: it ended by SIGKILL, +0, #1, spawn 0 Restart, (5@0), ready 4 in 0, drain 2 reload 500, reloaded in 0, done 5",
            ),
        ],
    );
}

#[test]
fn a_new_worker_that_is_not_ready_in_time_fails_the_reload() {
    play(
        options(1),
        &[
            ONE,
            ("reload 1 5; due", "reload 1/1, spawn 0 Reload, (2@0), 1000"),
            (
                "at 1000",
                "term 2, reload failed after 0: the new worker of slot 0 did not get ready: it was not ready in time, failed 5: the new worker of slot 0 did not get ready: it was not ready in time",
            ),
            ("at 1050; states", "kill 2, Serving"),
        ],
    );
    play(
        options(1),
        &[
            ONE,
            (
                "reload 1 5; throws 2 x",
                "reload 1/1, spawn 0 Reload, (2@0), retire 2@0 x by Worker, drain 2 x 500, reload failed after 0: the new worker of slot 0 did not get ready: it retired (x), failed 5: the new worker of slot 0 did not get ready: it retired (x)",
            ),
        ],
    );
    play(
        options(1),
        &[
            ONE,
            (
                "broken 12; reload 1 5; states",
                "reload 1/1, spawn 0 Reload, reload failed after 0: the new worker of slot 0 did not get ready: it could not be spawned: error 12, failed 5: the new worker of slot 0 did not get ready: it could not be spawned: error 12, Serving",
            ),
        ],
    );
}

#[test]
fn a_second_reload_joins_the_running_one() {
    play(
        options(1),
        &[
            ONE,
            ("reload 1 5; reload 1 6", "reload 1/1, spawn 0 Reload, (2@0)"),
            ("online 2", "ready 2 in 0, drain 1 reload 500, reloaded in 0, done 5, done 6"),
        ],
    );
}

#[test]
fn an_old_worker_that_dies_meanwhile_is_replaced_with_the_new_code() {
    play(
        options(2),
        &[
            TWO,
            ("reload 1 5", "reload 2/1, spawn 0 Reload, (3@0)"),
            // Its successor is already starting.
            ("exit 1 1", "restart 1@0: it ended with exit code 1, +0, #0"),
            // It is not yet its turn.
            ("exit 2 1", "restart 2@1: it ended with exit code 1, +0, #1, spawn 1 Restart, (4@1)"),
            ("online 3; online 4", "ready 3 in 0, ready 4 in 0, reloaded in 0, done 5"),
        ],
    );
}

#[test]
fn a_worker_that_retires_meanwhile_already_has_a_successor() {
    play(
        options(2),
        &[
            TWO,
            ("reload 1 5", "reload 2/1, spawn 0 Reload, (3@0)"),
            ("throws 1 x", "retire 1@0 x by Worker, drain 1 x 500"),
            ("online 3", "ready 3 in 0, spawn 1 Reload, (4@1)"),
        ],
    );
}

#[test]
fn a_slot_that_waits_or_was_given_up_gets_a_worker() {
    play(
        options(1),
        &[
            (
                "start; exit 1 1",
                "spawn 0 Start, (1@0), restart 1@0 at start: it ended with exit code 1, +100, #1, backoff 0 100 after 1",
            ),
            ("reload 1 5; due", "reload 1/1, spawn 0 Reload, (2@0), 1000"),
            // And the failures are reset.
            (
                "online 2; exit 2 1",
                "ready 2 in 0, reloaded in 0, done 5, restart 2@0: it ended with exit code 1, +0, #1, spawn 0 Restart, (3@0)",
            ),
        ],
    );
    let none = super::Options { stop_exit_codes: vec![0], ..options(1) };
    play(
        none,
        &[
            (
                "start; exit 1 0; states",
                "spawn 0 Start, (1@0), stopped 1@0: it ended with exit code 0, Stopped",
            ),
            (
                "reload 1 5; online 2",
                "reload 1/1, spawn 0 Reload, (2@0), ready 2 in 0, reloaded in 0, done 5",
            ),
        ],
    );
    let intensity = super::Intensity { max: 0, ..options(2).restart_intensity };
    play(
        super::Options { restart_intensity: intensity, ..options(2) },
        &[
            super::TWO,
            ("exit 1 3; states", "gave up 1@0 Slot 0 in 60: it ended with exit code 3, GivenUp, Serving"),
            (
                "reload 2 5; online 3",
                "reload 2/2, spawn 0 Reload, spawn 1 Reload, (3@0), (4@1), ready 3 in 0",
            ),
            ("online 4; states", "ready 4 in 0, drain 2 reload 500, reloaded in 0, done 5, Serving, Serving"),
        ],
    );
}

#[test]
fn a_starting_worker_is_replaced_as_well() {
    play(
        options(1),
        &[
            ("start; reload 1 5", "spawn 0 Start, (1@0), reload 1/1, spawn 0 Reload, (2@0)"),
            ("online 2", "ready 2 in 0, term 1, reloaded in 0, done 5"),
        ],
    );
}

#[test]
fn the_successor_of_a_retired_worker_is_old_as_well() {
    play(
        options(2),
        &[
            TWO,
            (
                "retire 1 a; retire 2 b",
                "retire 1@0 a by Primary, spawn 0 Retire, drain 1 a 500, (3@0), retire 2@1 b by Primary, spawn 1 Retire, (4@1)",
            ),
            ("reload 2 5", "reload 2/2, spawn 0 Reload, term 4, spawn 1 Reload, (5@0), (6@1)"),
            (
                "online 6; online 5",
                "ready 6 in 0, drain 2 b 500, ready 5 in 0, term 3, reloaded in 0, done 5",
            ),
        ],
    );
}
