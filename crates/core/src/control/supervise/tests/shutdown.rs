//! The shutdown of a cluster.

use super::{ONE, TWO, options, play};
use crate::control::supervise::{Options, RestartPolicy};

#[test]
fn the_shutdown_is_complete_when_all_workers_have_drained() {
    play(
        options(2),
        &[
            TWO,
            ("shutdown 300 5; due", "shutdown 300 false, drain 1 shutdown 300, drain 2 shutdown 300, 300"),
            ("exit 1 1; exit 2 0; due", "done 5, never"),
            (
                "shutdown 300 6; reload 1 7; scale 3 8; start",
                "done 6, failed 7: the cluster is shut down, failed 8: the cluster is shut down",
            ),
        ],
    );
}

#[test]
fn draining_workers_get_no_more_time_and_starting_ones_none() {
    play(
        Options { standby: 1, ..options(2) },
        &[
            (
                "start; online 1; online 3",
                "spawn 0 Start, spawn 1 Start, spawn - Standby, (1@0), (2@1), (3@-), ready 1 in 0, ready 3 in 0",
            ),
            (
                "retire 1 x",
                "retire 1@0 x by Primary, promote 3, 3@0 after 0, drain 1 x 500, spawn - Standby, (4@-)",
            ),
            ("at 100; shutdown 300 5; due", "shutdown 300 false, term 2, drain 3 shutdown 300, term 4, 150"),
            ("at 150; signal 2 9; signal 4 9; due", "kill 2, kill 4, 400"),
            // A second request makes it faster.
            (
                "shutdown 50 6; due; at 200",
                "200, drain timeout 1@0 None, term 1, drain timeout 3@0 None, term 3",
            ),
            ("at 250; signal 1 9; signal 3 9", "kill 1, kill 3, done 5, done 6"),
        ],
    );
}

#[test]
fn a_shutdown_can_be_announced_before_it_begins() {
    play(
        Options { restart: RestartPolicy::Always, ..options(2) },
        &[
            TWO,
            ("scale 3 4; online 3", "spawn 2 Scale, (3@2), ready 3 in 0, done 4"),
            ("shutdown 300 50 5; due", "stopping in 50, 50"),
            // Everything continues: a worker that fails is replaced, and one that got the same signal keeps
            // serving.
            (
                "throws 1 SIGTERM; exit 2 1; states",
                "keep 1, restart 2@1: it ended with exit code 1, +0, #1, spawn 1 Restart, (4@1), Serving, Filling, Serving",
            ),
            (
                "reload 1 6; scale 1 7",
                "failed 6: the cluster is shut down, failed 7: the cluster is shut down",
            ),
            ("at 49", ""),
            ("at 50; due", "shutdown 300 false, drain 1 shutdown 300, drain 3 shutdown 300, term 4, 100"),
            ("exit 1 0; exit 3 0; exit 4 0; due", "done 5, never"),
        ],
    );
    // A second request begins it at once, and so does force.
    play(
        options(1),
        &[
            ONE,
            ("shutdown 300 50 5; shutdown 300 20 6; due", "stopping in 50, 20"),
            ("shutdown 200 0 7; due", "shutdown 200 false, drain 1 shutdown 200, 200"),
            ("exit 1 0; due", "done 5, done 6, done 7, never"),
        ],
    );
    play(
        options(1),
        &[
            ONE,
            ("shutdown 300 50 5; force", "stopping in 50, shutdown 0 false, drain 1 shutdown 0, kill 1"),
            ("signal 1 9; due", "done 5, never"),
        ],
    );
}

#[test]
fn a_reload_ends_when_the_shutdown_is_announced() {
    play(
        options(1),
        &[
            ONE,
            ("reload 1 4", "reload 1/1, spawn 0 Reload, (2@0)"),
            ("shutdown 300 50 5", "stopping in 50, failed 4: the cluster is shut down"),
            ("online 2; exit 1 0", "ready 2 in 0, drain 1 reload 500"),
            ("at 50", "shutdown 300 false, drain 2 shutdown 300"),
            ("exit 2 0", "done 5"),
        ],
    );
}

#[test]
fn a_shutdown_can_be_forced() {
    play(
        options(2),
        &[
            TWO,
            (
                "shutdown 300 5; force; force",
                "shutdown 300 false, drain 1 shutdown 300, drain 2 shutdown 300, kill 1, kill 2",
            ),
            ("signal 1 9; signal 2 9", "done 5"),
        ],
    );
    play(
        options(2),
        &[
            TWO,
            (
                "force; signal 1 9; signal 2 9; due",
                "shutdown 0 false, drain 1 shutdown 0, drain 2 shutdown 0, kill 1, kill 2, never",
            ),
        ],
    );
}

#[test]
fn no_worker_survives_a_shutdown() {
    play(
        options(1),
        &[
            (
                "start; online 1; reload 1 5; scale 2 6",
                "spawn 0 Start, (1@0), ready 1 in 0, reload 1/1, spawn 0 Reload, (2@0)",
            ),
            (
                "shutdown 300 7",
                "shutdown 300 false, failed 5: the cluster is shut down, failed 6: the cluster is shut down, drain 1 shutdown 300, term 2",
            ),
            ("online 2; throws 1 x; exit 2 1; at 300; exit 1 1", "drain timeout 1@0 None, term 1, done 7"),
        ],
    );
    play(options(1), &[("shutdown 9 5; start", "shutdown 9 false, done 5")]);
    play(
        Options { restart: RestartPolicy::Never, ..options(1) },
        &[
            (
                "start; online 1; leaving 1",
                "spawn 0 Start, (1@0), ready 1 in 0, retire 1@0 disconnect by Worker, drain 1 disconnect 500",
            ),
            ("shutdown 9 5; exit 1 1", "shutdown 9 false, done 5"),
        ],
    );
}
