//! Workers that accept by themselves but cannot now.

use super::*;
use crate::schedule::Policy;

fn play_kernel(rows: &[(&str, &str)]) {
    let overload = Overload { queue: 4, ..Overload::default() };
    play_with(Plan { policy: Policy::Kernel, overload, ..Plan::default() }, rows);
}

#[test]
fn clients_of_an_unattended_worker_are_accepted_on_its_behalf_until_its_loop_turns() {
    play_kernel(&[
        TWO,
        ("unattended 1", "wake 1, probe 1, for 1 at 7"),
        ("unattended 1", ""),
        // The connections sent to it go to the other one.
        ("accept a; accept b; due", "a>2, b>2, 5"),
        ("counts 2 2; accept c", "c>2"),
        ("woke 1", "not for 1 at 7"),
        ("unattended 1", "wake 1, probe 1, for 1 at 7"),
    ]);
}

#[test]
fn an_advancing_counter_lets_the_worker_accept_again() {
    play_kernel(&[
        TWO,
        ("accept a", "a>1"),
        ("unattended 1", "wake 1, probe 1, reclaim 1, probe 1, for 1 at 7"),
        ("reclaimed 1 a", "a>2"),
        // It received them before the reclaim, or says so.
        ("counts 1 1; accept b", "b>1, not for 1 at 7"),
    ]);
}

#[test]
fn nothing_is_accepted_on_behalf_of_the_only_member() {
    play_kernel(&[
        ("add 1; listen 7; join 1 7", "resume 7"),
        ("unattended 1; unattended 9", ""),
        // Of two workers whose sockets are unattended, the first whose loop turns serves all clients.
        (
            "add 2; join 2 7; unattended 1; unattended 2",
            "wake 1, probe 1, for 1 at 7, wake 2, probe 2, for 2 at 7",
        ),
        ("accept a; accept b; waiting", "2"),
        ("woke 2", "a>2, b>2, not for 2 at 7"),
    ]);
}

#[test]
fn clients_of_a_full_worker_are_accepted_on_its_behalf_until_it_has_room() {
    play_kernel(&[
        TWO,
        ("fills 1 7", "for 1 at 7"),
        ("accept a; accept b", "a>2, b>2"),
        ("accept c; waiting; room 1 7", "wake 2, 1, c>1, not for 1 at 7"),
        // It may return what it was sent, and one more for each time that it began to accept by itself.
        ("counts 2 2; full 1 c; full 1 d; full 1 e; full 1 f", "c>2, for 1 at 7, d>2, f closed"),
    ]);
}

#[test]
fn nothing_is_accepted_on_behalf_of_a_worker_that_leaves() {
    play_kernel(&[
        TWO,
        ("unattended 1", "wake 1, probe 1, for 1 at 7"),
        ("left 1 7; woke 1", ""),
        ("join 1 7; unattended 1; leaving 1", "wake 1, probe 1, for 1 at 7, reclaim 1"),
        ("unattended 1; woke 1; gone 1", ""),
    ]);
}

#[test]
fn under_other_policies_nothing_is_accepted_on_behalf_of_workers() {
    play(&[TWO, ("fills 1 7; unattended 1", "wake 1, probe 1")]);
}
