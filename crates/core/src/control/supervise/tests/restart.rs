//! A worker ends: whether it is replaced.

use super::{ONE, TWO, options, play};
use crate::control::supervise::{Options, ReadyWhen, RestartPolicy};

#[test]
fn a_worker_that_had_been_ready_is_replaced_at_once() {
    play(
        options(2),
        &[
            TWO,
            ("signal 1 9", "restart 1@0: it ended by SIGKILL, +0, #1, spawn 0 Restart, (3@0)"),
            ("states", "Filling, Serving"),
            ("online 3; states", "ready 3 in 0, Serving, Serving"),
            ("exit 2 0", "restart 2@1: it ended with exit code 0, +0, #1, spawn 1 Restart, (4@1)"),
        ],
    );
}

#[test]
fn a_worker_that_failed_to_start_is_replaced_after_a_wait() {
    play(
        options(1),
        &[
            (
                "start; exit 1 1",
                "spawn 0 Start, (1@0), restart 1@0 at start: it ended with exit code 1, +100, #1, backoff 0 100 after 1",
            ),
            ("due; states; at 99", "100, BackingOff { remaining: 100ms }"),
            ("at 100", "spawn 0 Restart, (2@0)"),
        ],
    );
}

#[test]
fn a_worker_that_is_not_ready_in_time_is_killed_and_replaced() {
    play(
        Options { ready: ReadyWhen::Explicit, ..options(1) },
        &[
            ("start; online 1; listening 1; due; at 999", "spawn 0 Start, (1@0), 1000"),
            (
                "at 1000",
                "term 1, restart 1@0 at start: it was not ready in time: it has not called cluster.worker.ready(), +100, #1, backoff 0 100 after 1",
            ),
            // Not ready in time.
            ("ready 1; at 1050; due", "kill 1, 1100"),
            ("at 1100; at 1200; ready 2; exit 1 1", "spawn 0 Restart, (2@0), ready 2 in 100"),
        ],
    );
}

#[test]
fn the_required_stage_makes_ready_and_so_do_later_ones() {
    let ready = |ready| Options { ready, ..options(1) };
    let start = ("start", "spawn 0 Start, (1@0)");
    play(ready(ReadyWhen::Online), &[start, ("listening 1; online 1; ready 1", "ready 1 in 0")]);
    play(
        ready(ReadyWhen::Listening),
        &[start, ("online 1", ""), ("listening 1; listening 1", "ready 1 in 0")],
    );
    play(ready(ReadyWhen::Listening), &[start, ("ready 1", "ready 1 in 0")]);
    play(ready(ReadyWhen::Explicit), &[start, ("online 1; listening 1", ""), ("ready 1", "ready 1 in 0")]);
}

#[test]
fn a_worker_that_cannot_be_spawned_is_retried() {
    play(
        options(1),
        &[
            (
                "broken 11; start",
                "spawn 0 Start, restart ?@0 at start: it could not be spawned: error 11, +100, #1, backoff 0 100 after 1",
            ),
            ("broken 0; at 100; online 1", "spawn 0 Restart, (1@0), ready 1 in 0"),
        ],
    );
}

#[test]
fn with_on_failure_a_worker_that_exits_with_0_is_not_replaced() {
    let on_failure = || Options { restart: RestartPolicy::OnFailure, ..options(1) };
    play(
        on_failure(),
        &[ONE, ("exit 1 0; states; due", "stopped 1@0: it ended with exit code 0, Stopped, never")],
    );
    play(
        on_failure(),
        &[ONE, ("exit 1 1", "restart 1@0: it ended with exit code 1, +0, #1, spawn 0 Restart, (2@0)")],
    );
    play(
        on_failure(),
        &[ONE, ("signal 1 15", "restart 1@0: it ended by SIGTERM, +0, #1, spawn 0 Restart, (2@0)")],
    );
}

#[test]
fn with_never_no_worker_is_replaced() {
    let never = || Options { restart: RestartPolicy::Never, ..options(1) };
    play(never(), &[ONE, ("signal 1 9", "stopped 1@0: it ended by SIGKILL, shutdown 200 true, exit 70")]);
    play(
        never(),
        &[(
            "broken 2; start",
            "spawn 0 Start, stopped ?@0: it could not be spawned: error 2, shutdown 200 true, exit 70",
        )],
    );
    play(
        never(),
        &[
            ONE,
            (
                "retire 1 tired; exit 1 0",
                "retire 1@0 tired by Primary, drain 1 tired 500, stopped 1@0: it ended with exit code 0",
            ),
        ],
    );
}

#[test]
fn stop_exit_codes_are_final() {
    let stop = || Options { stop_exit_codes: vec![0, 78], ..options(1) };
    play(
        stop(),
        &[ONE, ("exit 1 78", "stopped 1@0: it ended with exit code 78, shutdown 200 true, exit 70")],
    );
    play(stop(), &[("start; exit 1 0", "spawn 0 Start, (1@0), stopped 1@0: it ended with exit code 0")]);
    play(
        stop(),
        &[ONE, ("exit 1 79", "restart 1@0: it ended with exit code 79, +0, #1, spawn 0 Restart, (2@0)")],
    );
    play(
        stop(),
        &[ONE, ("signal 1 78", "restart 1@0: it ended by signal 78, +0, #1, spawn 0 Restart, (2@0)")],
    );
}

#[test]
fn the_end_of_a_worker_is_described_by_name() {
    use crate::control::supervise::{ExitKind, Why};
    for (exit, told) in [
        (ExitKind::Code(3), "it ended with exit code 3"),
        (ExitKind::Signal(9), "it ended by SIGKILL"),
        (ExitKind::Signal(6), "it ended by SIGABRT, as V8 does when its heap is out of memory"),
        (ExitKind::Signal(40), "it ended by signal 40"),
        (ExitKind::OutOfMemory, "it ended by SIGKILL: out of memory"),
    ] {
        assert_eq!(Why::Exited(exit).to_string(), told);
    }
}
