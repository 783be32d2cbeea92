//! Tests of standbys.

use super::{options, play};
use crate::control::supervise::{Options, RestartPolicy};

const READY: (&str, &str) =
    ("start; online 1; online 2", "spawn 0 Start, spawn - Standby, (1@0), (2@-), ready 1 in 0, ready 2 in 0");

fn with_standby() -> Options {
    Options { standby: 1, ..options(1) }
}

#[test]
fn a_standby_takes_over_at_once_and_is_replaced() {
    play(
        with_standby(),
        &[
            READY,
            (
                "at 70; signal 1 9; states",
                "restart 1@0: it ended by SIGKILL, +0, #1, promote 2, 2@0 after 70, spawn - Standby, (3@-), Serving",
            ),
            // Also if a spawn would have to wait.
            (
                "online 3; exit 2 1",
                "ready 3 in 0, restart 2@0: it ended with exit code 1, +0, #2, promote 3, 3@0 after 0, spawn - Standby, (4@-)",
            ),
        ],
    );
}

#[test]
fn a_standby_takes_over_from_a_retiring_worker_at_once() {
    play(
        with_standby(),
        &[
            READY,
            (
                "throws 1 x",
                "retire 1@0 x by Worker, promote 2, 2@0 after 0, drain 1 x 500, spawn - Standby, (3@-)",
            ),
        ],
    );
}

#[test]
fn a_standby_takes_over_only_once_it_is_ready() {
    play(
        with_standby(),
        &[
            (
                "start; exit 1 1",
                "spawn 0 Start, spawn - Standby, (1@0), (2@-), restart 1@0 at start: it ended with exit code 1, +100, #1, backoff 0 100 after 1",
            ),
            (
                "at 50; online 2; states",
                "ready 2 in 50, promote 2, 2@0 after 0, spawn - Standby, (3@-), Serving",
            ),
            ("at 100; at 200", ""),
        ],
    );
}

#[test]
fn a_standby_that_dies_is_replaced_within_limits_of_its_own() {
    play(
        with_standby(),
        &[
            READY,
            ("exit 2 1", "restart 2@-: it ended with exit code 1, +0, #1, spawn - Standby, (3@-)"),
            (
                "exit 3 1; at 100",
                "restart 3@- at start: it ended with exit code 1, +100, #2, backoff - 100 after 2, spawn - Standby, (4@-)",
            ),
            (
                "exit 4 1; at 300",
                "restart 4@- at start: it ended with exit code 1, +200, #3, backoff - 200 after 3, spawn - Standby, (5@-)",
            ),
            (
                "exit 5 1; at 600",
                "restart 5@- at start: it ended with exit code 1, +300, #4, backoff - 300 after 4, spawn - Standby, (6@-)",
            ),
            ("exit 6 1; states", "gave up 6@- Slot 4 in 60: it ended with exit code 1, Serving"),
            ("exit 1 1", "restart 1@0: it ended with exit code 1, +0, #1, spawn 0 Restart, (7@0)"),
        ],
    );
}

#[test]
fn a_standby_may_retire_leave_and_be_late() {
    play(
        with_standby(),
        &[
            READY,
            ("retire 2 x", "retire 2@- x by Primary, drain 2 x 500, spawn - Standby, (3@-)"),
            ("leaving 3", "retire 3@- disconnect by Worker, drain 3 disconnect 500, backoff - 100 after 2"),
            ("at 100", "spawn - Standby, (4@-)"),
            (
                "exit 2 0; exit 3 0; at 1100",
                "term 4, restart 4@- at start: it was not ready in time, +200, #3, backoff - 200 after 3",
            ),
        ],
    );
    play(
        Options { restart: RestartPolicy::Never, ..with_standby() },
        &[
            READY,
            (
                "exit 2 1; exit 1 1",
                "stopped 2@-: it ended with exit code 1, stopped 1@0: it ended with exit code 1, shutdown 200 true, exit 70",
            ),
        ],
    );
}

#[test]
fn a_reload_renews_the_standbys_last() {
    play(
        with_standby(),
        &[
            READY,
            ("reload 1 5", "reload 1/1, spawn 0 Reload, (3@0)"),
            (
                "online 3",
                "ready 3 in 0, drain 1 reload 500, reloaded in 0, done 5, drain 2 reload 500, spawn - Standby, (4@-)",
            ),
        ],
    );
    // Old code is not brought back, unless the new code has failed.
    play(
        with_standby(),
        &[
            READY,
            ("reload 1 5", "reload 1/1, spawn 0 Reload, (3@0)"),
            ("exit 1 1", "restart 1@0: it ended with exit code 1, +0, #0"),
            (
                "exit 3 1",
                "reload failed after 0: the new worker of slot 0 did not get ready: it ended with exit code 1, failed 5: the new worker of slot 0 did not get ready: it ended with exit code 1, restart 3@0 at start: it ended with exit code 1, +0, #1, promote 2, 2@0 after 0, spawn - Standby, (4@-)",
            ),
        ],
    );
    play(
        Options { standby: 1, ..options(2) },
        &[
            (
                "start; online 1; online 2; online 3",
                "spawn 0 Start, spawn 1 Start, spawn - Standby, (1@0), (2@1), (3@-), ready 1 in 0, ready 2 in 0, ready 3 in 0",
            ),
            ("reload 1 5", "reload 2/1, spawn 0 Reload, (4@0)"),
            ("exit 2 1", "restart 2@1: it ended with exit code 1, +0, #1, spawn 1 Restart, (5@1)"),
        ],
    );
}
