//! When a successor takes over, and what happens to a worker that is cut off.

use super::{ONE, TWO, options, play};

#[test]
fn a_successor_waits_until_it_serves_the_listeners_of_only_the_old_worker() {
    play(
        options(1),
        &[
            ONE,
            ("alone 1 2; reload 1 5; online 2", "reload 1/1, spawn 0 Reload, (2@0)"),
            ("at 5000; alone 1 1; states; due", "Serving, 10000"),
            ("alone 1 0", "ready 2 in 5000, drain 1 reload 500, reloaded in 5000, done 5"),
            ("exit 1 0; states", "Serving"),
        ],
    );
    // Listeners that other workers serve too do not delay the takeover.
    play(
        options(1),
        &[
            ONE,
            (
                "reload 1 5; online 2",
                "reload 1/1, spawn 0 Reload, (2@0), ready 2 in 0, drain 1 reload 500, reloaded in 0, done 5",
            ),
        ],
    );
}

#[test]
fn a_successor_waits_for_a_limited_time() {
    play(
        options(1),
        &[
            ONE,
            ("alone 1 1; reload 1 5; at 900; online 2; due", "reload 1/1, spawn 0 Reload, (2@0), 10900"),
            ("at 10900", "ready 2 in 10900, drain 1 reload 500, reloaded in 10900, done 5"),
        ],
    );
}

#[test]
fn a_waiting_successor_takes_over_at_once_when_the_old_worker_ends() {
    for end in ["exit 1 1", "cut 1"] {
        let why =
            if end == "cut 1" { "its link to the primary was cut" } else { "it ended with exit code 1" };
        let said = format!("restart 1@0: {why}, +0, #0, ready 2 in 0, reloaded in 0, done 5");
        play(
            options(1),
            &[ONE, ("alone 1 1; reload 1 5; online 2", "reload 1/1, spawn 0 Reload, (2@0)"), (end, &said)],
        );
    }
}

#[test]
fn a_waiting_successor_has_clients_and_drains() {
    play(
        options(1),
        &[
            ONE,
            ("alone 1 1; reload 1 5; online 2", "reload 1/1, spawn 0 Reload, (2@0)"),
            (
                "shutdown 200 6",
                "shutdown 200 false, failed 5: the cluster is shut down, drain 1 shutdown 200, drain 2 shutdown 200",
            ),
        ],
    );
}

#[test]
fn a_worker_whose_link_is_cut_is_replaced_at_once_and_killed_if_it_does_not_end() {
    play(
        options(2),
        &[
            TWO,
            ("cut 1", "restart 1@0: its link to the primary was cut, +0, #1, spawn 0 Restart, (3@0)"),
            ("states; cut 1; due", "Filling, Serving, 1000"),
            ("online 3; due", "ready 3 in 0, 2000"),
            ("at 2000; exit 1 0; states", "kill 1, Serving, Serving"),
        ],
    );
    // It may end by itself, and the way in which it does has no consequences.
    play(
        options(1),
        &[
            ONE,
            (
                "cut 1; exit 1 1",
                "restart 1@0: its link to the primary was cut, +0, #1, spawn 0 Restart, (2@0)",
            ),
            ("online 2; due", "ready 2 in 0, never"),
        ],
    );
}

#[test]
fn a_draining_worker_that_is_cut_off_is_not_replaced() {
    play(
        options(1),
        &[
            ONE,
            (
                "reload 1 5; online 2",
                "reload 1/1, spawn 0 Reload, (2@0), ready 2 in 0, drain 1 reload 500, reloaded in 0, done 5",
            ),
            ("cut 1; at 500", "drain timeout 1@0 None, term 1"),
        ],
    );
}
