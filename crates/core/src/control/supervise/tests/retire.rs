//! Workers that ask to retire, and how they are drained.

use super::{ONE, TWO, options, play};
use crate::control::supervise::{Options, RestartPolicy};

#[test]
fn the_resources_that_keep_a_worker_alive_are_reported() {
    play(
        options(1),
        &[
            ONE,
            ("held 1 Timeout; drained 1 Timeout", ""),
            ("shutdown 300 5", "shutdown 300 false, drain 1 shutdown 300"),
            (
                "held 1 Timeout Pipe; drained 1 Timeout; drained 1 Socket; held 9 Timeout",
                "drained 1@0 1 Timeout",
            ),
            ("held 1 Pipe; at 300", "drain timeout 1@0 None 1 Pipe, term 1"),
        ],
    );
}

#[test]
fn a_retiring_worker_is_replaced_at_once_and_drains() {
    play(
        options(2),
        &[
            TWO,
            (
                "throws 1 uncaughtException at:1",
                "retire 1@0 uncaughtException at:1 by Worker, spawn 0 Retire, drain 1 uncaughtException 500, (3@0)",
            ),
            // It has announced its end, so the end is not reported.
            ("throws 1 again; leaving 1; online 3; exit 1 1; states", "ready 3 in 0, Serving, Serving"),
        ],
    );
}

#[test]
fn a_retiring_worker_keeps_serving_while_another_slot_has_no_worker() {
    let first = ("retire 1 a", "retire 1@0 a by Primary, spawn 0 Retire, drain 1 a 500, (3@0)");
    let second = ("retire 2 b", "retire 2@1 b by Primary, spawn 1 Retire, (4@1)");
    play(options(2), &[TWO, first, second, ("online 3", "ready 3 in 0, drain 2 b 500")]);
    // Its end meanwhile is not reported.
    play(options(2), &[TWO, first, second, ("exit 2 1; states", "Filling, Filling")]);
    play(options(2), &[TWO, first, second, ("online 4", "ready 4 in 0, drain 2 b 500")]);
}

#[test]
fn a_retiring_worker_keeps_serving_until_its_successor_is_ready_with_a_limit() {
    play(
        options(3),
        &[
            (
                "start; online 1; online 2",
                "spawn 0 Start, spawn 1 Start, spawn 2 Start, (1@0), (2@1), (3@2), ready 1 in 0, ready 2 in 0",
            ),
            (
                "at 900; retire 1 a; due; at 1000",
                "retire 1@0 a by Primary, spawn 0 Retire, (4@0), 1000, term 3, restart 3@2 at start: it was not ready in time, +100, #1, backoff 2 100 after 1",
            ),
            (
                "at 1050; at 1100; at 1900",
                "kill 3, spawn 2 Restart, (5@2), term 4, restart 4@0 at start: it was not ready in time, +100, #1, backoff 0 100 after 2",
            ),
            (
                "at 1950; at 2000; online 6; states",
                "kill 4, spawn 0 Restart, (6@0), ready 6 in 0, drain 1 a 500, Serving, Serving, Filling",
            ),
        ],
    );
    play(
        options(3),
        &[
            (
                "start; online 1; online 2",
                "spawn 0 Start, spawn 1 Start, spawn 2 Start, (1@0), (2@1), (3@2), ready 1 in 0, ready 2 in 0",
            ),
            (
                "at 999; retire 1 a; at 1000; at 1100; at 1900",
                "retire 1@0 a by Primary, spawn 0 Retire, (4@0), term 3, restart 3@2 at start: it was not ready in time, +100, #1, backoff 2 100 after 1, kill 3, spawn 2 Restart, (5@2)",
            ),
            (
                "at 1999; at 2099; at 2100",
                "term 4, restart 4@0 at start: it was not ready in time, +100, #1, backoff 0 100 after 2, kill 4, spawn 0 Restart, (6@0), term 5, restart 5@2 at start: it was not ready in time, +200, #2, backoff 2 200 after 2",
            ),
            ("at 2998; at 2999", "kill 5, spawn 2 Restart, (7@2), drain 1 a 500"),
        ],
    );
}

#[test]
fn frequent_exceptions_back_off_and_each_worker_serves_until_its_successor_is_ready() {
    play(
        options(1),
        &[
            ONE,
            (
                "throws 1 x; online 2",
                "retire 1@0 x by Worker, spawn 0 Retire, drain 1 x 500, (2@0), ready 2 in 0",
            ),
            ("throws 2 x", "retire 2@0 x by Worker, backoff 0 100 after 2, keep 2"),
            ("states; at 100; online 3", "Serving, spawn 0 Retire, (3@0), ready 3 in 0, drain 2 x 500"),
            (
                "throws 3 x; at 300; online 4",
                "retire 3@0 x by Worker, backoff 0 200 after 3, keep 3, spawn 0 Retire, (4@0), ready 4 in 0, drain 3 x 500",
            ),
            (
                "throws 4 x; at 500; at 550; at 600; online 5",
                "retire 4@0 x by Worker, backoff 0 300 after 4, keep 4, drain timeout 1@0 None, term 1, kill 1, drain timeout 2@0 None, term 2, spawn 0 Retire, (5@0), ready 5 in 0, drain 4 x 500",
            ),
            // No matter how often: while an old worker serves, it does not count as a restart.
            ("throws 5 x", "retire 5@0 x by Worker, backoff 0 300 after 5, keep 5"),
            (
                "at 900; exit 6 1",
                "kill 2, drain timeout 3@0 None, term 3, spawn 0 Retire, (6@0), restart 6@0 at start: it ended with exit code 1, +300, #0, backoff 0 300 after 6",
            ),
            // Its successor has failed, so it stays until one is ready, unless it leaves by itself.
            (
                "states; at 1200; online 7",
                "Serving, kill 3, drain timeout 4@0 None, term 4, spawn 0 Restart, (7@0), ready 7 in 0, drain 5 x 500",
            ),
            (
                "throws 7 x; leaving 7; states",
                "retire 7@0 x by Worker, backoff 0 300 after 7, keep 7, drain 7 x 500, BackingOff { remaining: 300ms }",
            ),
        ],
    );
}

#[test]
fn a_drain_has_a_limit_followed_by_sigterm_and_sigkill() {
    play(
        options(2),
        &[
            TWO,
            (
                "retire 1 x; online 3; due",
                "retire 1@0 x by Primary, spawn 0 Retire, drain 1 x 500, (3@0), ready 3 in 0, 500",
            ),
            ("at 499", ""),
            ("at 500; due; at 549", "drain timeout 1@0 None, term 1, 550"),
            ("at 550; due; at 600; signal 1 9", "kill 1, never"),
        ],
    );
}

#[test]
fn a_disconnect_is_a_retirement_unless_the_policy_says_otherwise() {
    play(
        options(2),
        &[
            TWO,
            (
                "leaving 1; exit 1 0",
                "retire 1@0 disconnect by Worker, spawn 0 Retire, drain 1 disconnect 500, (3@0)",
            ),
            // It cannot be kept, although there is no other worker.
            ("leaving 2", "retire 2@1 disconnect by Worker, spawn 1 Retire, drain 2 disconnect 500, (4@1)"),
        ],
    );
    play(
        options(2),
        &[
            TWO,
            (
                "retire 1 a; retire 2 b",
                "retire 1@0 a by Primary, spawn 0 Retire, drain 1 a 500, (3@0), retire 2@1 b by Primary, spawn 1 Retire, (4@1)",
            ),
            ("leaving 2", "drain 2 b 500"),
        ],
    );
    for restart in [RestartPolicy::OnFailure, RestartPolicy::Never] {
        play(
            Options { restart, ..options(1) },
            &[
                ONE,
                ("leaving 1; states", "retire 1@0 disconnect by Worker, drain 1 disconnect 500, Stopped"),
                ("exit 1 0; states", "stopped 1@0: it ended with exit code 0, Stopped"),
            ],
        );
    }
    play(
        Options { restart: RestartPolicy::OnFailure, ..options(1) },
        &[
            ONE,
            ("leaving 1", "retire 1@0 disconnect by Worker, drain 1 disconnect 500"),
            ("exit 1 1", "restart 1@0: it ended with exit code 1, +0, #1, spawn 0 Restart, (2@0)"),
            ("throws 2 x", "retire 2@0 x by Worker, drain 2 x 500, backoff 0 100 after 2"),
        ],
    );
}

#[test]
fn a_worker_that_retires_before_it_is_ready_has_failed_to_start() {
    play(
        options(1),
        &[
            (
                "start; throws 1 x",
                "spawn 0 Start, (1@0), retire 1@0 x by Worker, drain 1 x 500, backoff 0 100 after 1",
            ),
            ("exit 1 1; at 100", "spawn 0 Retire, (2@0)"),
        ],
    );
}
