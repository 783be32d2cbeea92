//! Late and invalid inputs.

use std::time::Duration;

use super::{ONE, TWO, options, play};
use crate::control::supervise::{Input, KillSignal, Output, Supervise};
use crate::ids::{Request, Ticket, WorkerId};

#[test]
fn inputs_about_unknown_workers_change_nothing() {
    play(
        options(1),
        &[
            ONE,
            (
                "online 9; listening 9; ready 9; throws 9 x; leaving 9; exit 9 1; stack 9; shows 9 1 1 1; look 1",
                "",
            ),
            ("start; online 1; stack 1 x; unspawned 0; unspawned 7; spawned 0 1", ""),
            ("states", "Serving"),
        ],
    );
}

#[test]
fn repeated_inputs_have_no_effect() {
    play(
        options(2),
        &[
            TWO,
            (
                "retire 1 x; retire 1 x; leaving 1; leaving 1",
                "retire 1@0 x by Primary, spawn 0 Retire, drain 1 x 500, (3@0)",
            ),
            ("exit 1 1; exit 1 1; online 1; online 3; online 3", "ready 3 in 0"),
        ],
    );
}

#[test]
fn a_process_that_was_not_ordered_is_killed() {
    play(options(1), &[ONE, ("spawned 77 9", "kill 9")]);
}

#[test]
fn a_process_that_comes_too_late_is_killed_at_once() {
    let mut brain = Supervise::new(options(1), 1);
    let mut out = Vec::new();
    let (ticket, worker, request) = (Ticket(0), WorkerId(1), Request(5));
    brain.handle(Duration::ZERO, Input::Start, &mut out);
    brain.handle(
        Duration::ZERO,
        Input::Shutdown { delay: Duration::ZERO, timeout: Duration::ZERO, request },
        &mut out,
    );
    let done = Output::Done { request, result: Ok(()) };
    assert!(!out.contains(&done), "something may come into being yet: {out:?}");
    brain.handle(Duration::ZERO, Input::Spawned { ticket, worker }, &mut out);
    assert_eq!(out.last(), Some(&Output::Kill { worker, signal: KillSignal::Kill }));
    assert_eq!(brain.check_invariants(), Ok(()));
    // The wait for a worker that is never spawned is short.
    let mut brain = Supervise::new(options(1), 1);
    brain.handle(Duration::ZERO, Input::Start, &mut out);
    brain.handle(
        Duration::ZERO,
        Input::Shutdown { delay: Duration::ZERO, timeout: Duration::ZERO, request },
        &mut out,
    );
    brain.handle(Duration::from_millis(999), Input::Tick, &mut out);
    assert_ne!(out.last(), Some(&done));
    brain.handle(Duration::from_secs(1), Input::Tick, &mut out);
    assert_eq!(out.last(), Some(&done));
}
