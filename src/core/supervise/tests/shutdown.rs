//! The end.

use super::{TWO, options, play};
use crate::core::supervise::Options;

#[test]
fn all_drain_and_then_it_is_over() {
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
fn those_who_drain_already_get_no_more_time_and_those_who_start_none() {
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
            // Asked for once more, it goes faster.
            (
                "shutdown 50 6; due; at 200",
                "200, drain timeout 1@0 None, term 1, drain timeout 3@0 None, term 3",
            ),
            ("at 250; signal 1 9; signal 3 9", "kill 1, kill 3, done 5, done 6"),
        ],
    );
}

#[test]
fn it_can_be_forced() {
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
fn nothing_survives_it() {
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
}
