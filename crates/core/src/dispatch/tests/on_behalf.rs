//! Workers that accept by themselves, and cannot just now.

use super::*;
use crate::schedule::Policy;

fn play_kernel(rows: &[(&str, &str)]) {
    let overload = Overload { queue: 4, ..Overload::default() };
    play_with(Plan { policy: Policy::Kernel, overload, ..Plan::default() }, rows);
}

#[test]
fn who_neglects_its_clients_is_stood_in_for_until_its_loop_turns() {
    play_kernel(&[
        TWO,
        ("unattended 1", "wake 1, probe 1, for 1 at 7"),
        ("unattended 1", ""),
        // What had come to it goes to the other.
        ("accept a; accept b; due", "a>2, b>2, 5"),
        ("counts 2 2; accept c", "c>2"),
        ("woke 1", "not for 1 at 7"),
        ("unattended 1", "wake 1, probe 1, for 1 at 7"),
    ]);
}

#[test]
fn a_counter_that_moves_puts_it_back() {
    play_kernel(&[
        TWO,
        ("accept a", "a>1"),
        ("unattended 1", "wake 1, probe 1, reclaim 1, probe 1, for 1 at 7"),
        ("reclaimed 1 a", "a>2"),
        // It has received that before it was reclaimed, or says so.
        ("counts 1 1; accept b", "b>1, not for 1 at 7"),
    ]);
}

#[test]
fn nobody_stands_in_where_nobody_else_is() {
    play_kernel(&[
        ("add 1; listen 7; join 1 7", "resume 7"),
        ("unattended 1; unattended 9", ""),
        // Of two whose sockets are unattended the first to turn serves all.
        (
            "add 2; join 2 7; unattended 1; unattended 2",
            "wake 1, probe 1, for 1 at 7, wake 2, probe 2, for 2 at 7",
        ),
        ("accept a; accept b; waiting", "2"),
        ("woke 2", "a>2, b>2, not for 2 at 7"),
    ]);
}

#[test]
fn who_is_full_is_stood_in_for_until_it_has_room() {
    play_kernel(&[
        TWO,
        ("fills 1 7", "for 1 at 7"),
        ("accept a; accept b", "a>2, b>2"),
        ("accept c; waiting; room 1 7", "wake 2, 1, c>1, not for 1 at 7"),
        // It returns what it was sent, and for each time that it began to accept one that it may have accepted by itself.
        ("counts 2 2; full 1 c; full 1 d; full 1 e; full 1 f", "c>2, for 1 at 7, d>2, f closed"),
    ]);
}

#[test]
fn who_leaves_is_not_stood_in_for() {
    play_kernel(&[
        TWO,
        ("unattended 1", "wake 1, probe 1, for 1 at 7"),
        ("left 1 7; woke 1", ""),
        ("join 1 7; unattended 1; leaving 1", "wake 1, probe 1, for 1 at 7, reclaim 1"),
        ("unattended 1; woke 1; gone 1", ""),
    ]);
}

#[test]
fn elsewhere_nobody_accepts_by_itself() {
    play(&[TWO, ("fills 1 7; unattended 1", "wake 1, probe 1")]);
}
