//! Workers with false counters, and invalid inputs.

use super::{ONE, TWO, play};

#[test]
fn a_false_counter_gives_no_credit() {
    play(&[
        ONE,
        // More than it was sent: this gives no credit for later.
        ("accept a; accept b; counts 1 18446744073709551615; accept c; accept d", "a>1, b>1, c>1, d>1"),
        ("accept e; waiting", "wake 1, 1"),
        ("counts 1 0; tick; counts 1 18446744073709551615; tick; waiting", "1"),
    ]);
    play(&[
        TWO,
        // Backwards: it looks blocked.
        ("accept a; accept b; at 5; counts 1 5; counts 2 1; tick; accept c; accept d", "a>1, b>2, c>1, d>2"),
        ("at 10; counts 1 2; counts 2 2; tick", "wake 1, probe 1, reclaim 1, probe 1"),
    ]);
}

#[test]
fn a_wrong_count_is_corrected_when_the_channel_is_empty() {
    play(&[
        TWO,
        ("accept a; accept b; accept c; counts 2 1", "a>1, b>2, c>1"),
        // It has received them without counting.
        ("at 5; tick; reclaimed 1", "wake 1, probe 1, reclaim 1, probe 1"),
        ("woke 1; accept d; accept e; accept f", "d>2, e>1, f>2"),
        ("accept g; accept h", "g>1, wake 1, wake 2"),
    ]);
}

#[test]
fn invented_connections_are_closed() {
    play(&[
        TWO,
        ("deaf 1 x; full 9 y", "x closed, y closed"),
        ("accept a; counts 1 1; deaf 1 a; deaf 1 z", "a>1, a>2, z closed"),
        // A reclaimed connection cannot be returned either.
        ("at 20; counts 2 1; tick; accept b", "b>1"),
        ("unsent 1 b; full 1 w", "wake 1, probe 1, b>2, w closed"),
    ]);
}

#[test]
fn a_connection_goes_back_only_to_listeners_that_its_worker_has_joined() {
    play(&[
        TWO,
        ("listen 8; join 2 8", "resume 8"),
        // Worker 1 may return one connection, but not of a listener on which it never listened.
        ("accept a; counts 1 1; deaf 1 X; full 1 Y; waiting", "a>1, X closed, Y closed, 0"),
        ("deaf 1 a", "a>2"),
        // A worker that no longer listens returns what it was sent before; if the listener is gone, the
        // connection is closed.
        ("accept B; counts 2 2; left 2 8; deaf 2 B; waiting", "B>2, pause 8, 1"),
        ("close 8; deaf 2 C", "B closed, C closed"),
        ("listen 8; join 1 8; full 2 D", "resume 8, D closed"),
    ]);
}

#[test]
fn unknown_and_repeated_inputs_have_no_effect() {
    play(&[
        (
            "woke 1; room 1 7; left 1 7; join 1 7; leaving 1; gone 1; reclaimed 1 a; unsent 1 b",
            "a closed, b closed",
        ),
        ("add 1; add 1; listen 7; listen 7; join 1 7; join 1 7; join 1 8; room 1 8", "resume 7"),
        ("accept a; counts 1 1; full 1 A; accept b; counts 1 2", "a>1, A closed, b>1"),
        ("leaving 1; leaving 1; gone 1; gone 1; close 8", "reclaim 1, pause 7, reclaim 1"),
        ("close 7; close 7", ""),
    ]);
}
