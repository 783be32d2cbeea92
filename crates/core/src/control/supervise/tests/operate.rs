//! An operator restarts and drains single slots.

use super::*;

#[test]
fn a_restarted_worker_serves_until_the_new_one_is_ready() {
    play(
        options(2),
        &[
            TWO,
            ("restart 0 1", "retire 1@0 restart by Operator, spawn 0 Operator, (3@0)"),
            ("online 3", "ready 3 in 0, drain 1 restart 500, done 1"),
            ("exit 1 0", ""),
            ("states", "Serving, Serving"),
        ],
    );
}

#[test]
fn the_old_worker_stays_if_the_new_one_fails_and_the_request_is_answered() {
    play(
        options(1),
        &[
            ONE,
            ("restart 0 1", "retire 1@0 restart by Operator, spawn 0 Operator, (2@0)"),
            ("restart 0 2", ""),
            (
                "exit 2 1",
                "failed 1: the new worker of slot 0 did not get ready: it ended with exit code 1, \
                 failed 2: the new worker of slot 0 did not get ready: it ended with exit code 1",
            ),
            ("states", "Serving"),
        ],
    );
}

#[test]
fn a_drained_slot_stays_empty_until_it_is_restarted() {
    play(
        options(2),
        &[
            TWO,
            ("drain-slot 1 1", "retire 2@1 drain by Operator, drain 2 drain 500"),
            ("states", "Serving, Stopped"),
            ("exit 2 0", "done 1"),
            ("at 100000", ""),
            ("states", "Serving, Stopped"),
            ("drain-slot 1 2", "failed 2: slot 1 has no worker at the moment"),
            (
                "drain-slot 0 3",
                "failed 3: slot 0 is the only one that serves: scale up first, or stop the cluster",
            ),
            ("restart 1 4", "spawn 1 Operator, (3@1)"),
            ("online 3", "ready 3 in 0, done 4"),
            ("states", "Serving, Serving"),
        ],
    );
}

#[test]
fn a_reload_fills_a_drained_slot_and_requests_are_refused_while_it_runs() {
    play(
        options(2),
        &[
            TWO,
            ("drain-slot 1 1; exit 2 0", "retire 2@1 drain by Operator, drain 2 drain 500, done 1"),
            ("reload 2 2", "reload 2/2, spawn 0 Reload, spawn 1 Reload, (3@0), (4@1)"),
            ("restart 0 3", "failed 3: a reload is running, or has just failed: try again after it"),
            ("drain-slot 1 4", "failed 4: a reload is running, or has just failed: try again after it"),
            ("online 3; online 4", "ready 3 in 0, drain 1 reload 500, ready 4 in 0, reloaded in 0, done 2"),
        ],
    );
}

#[test]
fn a_slot_that_does_not_exist_is_refused() {
    play(
        options(2),
        &[
            TWO,
            (
                "restart 2 1; drain-slot 9 2",
                "failed 1: there is no slot 2: the slots are 0 to 1, failed 2: there is no slot 9: the slots are 0 to 1",
            ),
        ],
    );
}

#[test]
fn pending_requests_are_answered_by_the_shutdown() {
    play(
        options(2),
        &[
            TWO,
            ("drain-slot 1 1", "retire 2@1 drain by Operator, drain 2 drain 500"),
            ("restart 0 2", "retire 1@0 restart by Operator, spawn 0 Operator, (3@0)"),
            (
                "shutdown 200 3",
                "shutdown 200 false, failed 2: the cluster is shut down, drain 1 shutdown 200, term 3",
            ),
            ("restart 0 4", "failed 4: the cluster is shut down"),
            ("exit 2 0", "done 1"),
            ("exit 1 0; exit 3 0", "done 3"),
        ],
    );
}

#[test]
fn a_restart_undone_by_a_failed_reload_is_answered() {
    let mut play = Play::new(options(2));
    let lines = ["start", "online 1", "online 2", "restart 1 1", "reload 2 2", "exit 4 1"];
    let said: Vec<String> = lines.iter().flat_map(|line| play.act(line)).collect();
    assert!(
        said.iter().any(|it| it == "failed 1: a reload is running, or has just failed: try again after it"),
        "{said:?}"
    );
    assert!(said.iter().any(|it| it.starts_with("failed 2: ")), "{said:?}");
}
