//! Changes of the number of workers.

use super::{ONE, TWO, options, play};

#[test]
fn scaling_up_is_complete_when_the_new_workers_are_ready() {
    play(
        options(1),
        &[
            ONE,
            ("scale 3 5", "spawn 1 Scale, spawn 2 Scale, (2@1), (3@2)"),
            ("online 2; states; online 3", "ready 2 in 0, Serving, Serving, Filling, ready 3 in 0, done 5"),
        ],
    );
}

#[test]
fn scaling_up_fails_with_the_first_failure_and_workers_are_still_retried() {
    play(
        options(1),
        &[
            ONE,
            (
                "scale 2 5; exit 2 1",
                "spawn 1 Scale, (2@1), failed 5: the new worker of slot 1 did not get ready: it ended with exit code 1, restart 2@1 at start: it ended with exit code 1, +100, #1, backoff 1 100 after 1",
            ),
            ("at 100; online 3; states", "spawn 1 Restart, (3@1), ready 3 in 0, Serving, Serving"),
        ],
    );
}

#[test]
fn scaling_up_fails_if_one_of_the_new_slots_is_emptied_by_order() {
    play(
        options(1),
        &[
            ONE,
            ("scale 3 5; online 2", "spawn 1 Scale, spawn 2 Scale, (2@1), (3@2), ready 2 in 0"),
            (
                "drain-slot 2 6; states",
                "retire 3@2 drain by Operator, term 3, failed 5: slot 2 has no worker at the moment, Serving, Serving, Stopped",
            ),
        ],
    );
}

#[test]
fn scaling_down_drains_the_highest_slots_and_is_complete_when_they_have_ended() {
    play(
        options(2),
        &[
            TWO,
            ("scale 1 5; states", "drain 2 scale 500, Serving, Emptying"),
            ("exit 2 1; states", "done 5, Serving"),
        ],
    );
    // A starting worker has nothing to finish, and a worker that ends is not replaced.
    play(
        options(2),
        &[
            (
                "start; online 1; scale 1 5",
                "spawn 0 Start, spawn 1 Start, (1@0), (2@1), ready 1 in 0, term 2",
            ),
            ("signal 2 15", "done 5"),
        ],
    );
}

#[test]
fn the_last_requested_number_applies() {
    play(
        options(2),
        &[
            TWO,
            ("scale 1 5; scale 1 6", "drain 2 scale 500"),
            (
                "scale 2 7",
                "failed 5: scaling to 1 workers was overtaken by scaling to 2, failed 6: scaling to 1 workers was overtaken by scaling to 2, spawn 1 Scale, (3@1)",
            ),
            ("exit 2 0; online 3", "ready 3 in 0, done 7"),
            ("scale 2 8", "done 8"),
        ],
    );
}

#[test]
fn scaling_waits_for_a_reload() {
    play(
        options(1),
        &[
            ONE,
            (
                "reload 1 5; scale 2 6; scale 3 7",
                "reload 1/1, spawn 0 Reload, (2@0), failed 6: scaling to 2 workers was overtaken by scaling to 3",
            ),
            (
                "online 2",
                "ready 2 in 0, drain 1 reload 500, reloaded in 0, done 5, spawn 1 Scale, spawn 2 Scale, (3@1), (4@2)",
            ),
            ("online 3; online 4", "ready 3 in 0, ready 4 in 0, done 7"),
        ],
    );
}

#[test]
fn impossible_numbers_are_refused() {
    play(
        options(1),
        &[
            (
                "scale 2 4; reload 1 4",
                "failed 4: the cluster is not started, failed 4: the cluster is not started",
            ),
            ONE,
            ("scale 0 5", "failed 5: the number of workers must be from 1 to 1024, and is 0"),
            ("scale 1025 6", "failed 6: the number of workers must be from 1 to 1024, and is 1025"),
        ],
    );
}

#[test]
fn the_only_slot_that_serves_is_not_removed() {
    let refused =
        "failed 6: slot 1 serves, and none of the first 1 slots does: restart one of them first, or reload";
    play(
        options(2),
        &[
            TWO,
            ("drain-slot 0 5; exit 1 0", "retire 1@0 drain by Operator, drain 1 drain 500, done 5"),
            ("scale 1 6; states", &format!("{refused}, Stopped, Serving")),
            ("restart 0 7; scale 1 8", "spawn 0 Operator, (3@0)"),
            ("online 3", "ready 3 in 0, drain 2 scale 500, done 7"),
            ("exit 2 0; states", "done 8, Serving"),
        ],
    );
}
