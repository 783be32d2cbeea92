//! The rules, as tables: what happens, and what the dispatcher says to it.
//!
//! Connections are letters: lower case ones belong to listener 7, upper case ones to listener 8. The
//! window is 2, the queue holds 4, a worker is stalled after 5 ms and rests for 20 ms.

use std::collections::BTreeMap;

use std::time::Duration;

use super::*;

/// A dispatcher and the world as it sees it.
struct Play {
    dispatch: Dispatch<char>,
    counters: Counters,
    now: Time,
}

#[derive(Default)]
struct Counters(BTreeMap<WorkerId, u64>);

impl Board for Counters {
    fn received(&self, worker: WorkerId) -> u64 {
        self.0.get(&worker).copied().unwrap_or(0)
    }
}

fn listener_of(conn: char) -> ListenerId {
    ListenerId(if conn.is_lowercase() { 7 } else { 8 })
}

fn describe(output: &Output<char>) -> String {
    match output {
        Output::Send {
            worker,
            listener,
            conn,
        } => {
            assert_eq!(*listener, listener_of(*conn), "{conn} was accepted elsewhere");
            format!("{conn}>{}", worker.0)
        }
        Output::Close { conn } => format!("{conn} closed"),
        Output::Pause { listener } => format!("pause {}", listener.0),
        Output::Resume { listener } => format!("resume {}", listener.0),
        Output::Reclaim { worker } => format!("reclaim {}", worker.0),
        Output::WantWake { worker } => format!("wake {}", worker.0),
        Output::Probe { worker } => format!("probe {}", worker.0),
    }
}

impl Play {
    fn new() -> Self {
        let config = Config {
            window: 2,
            queue_limit: 4,
            stall_after: Duration::from_millis(5),
            retry_after: Duration::from_millis(20),
            ..Config::default()
        };
        Self {
            dispatch: Dispatch::new(config),
            counters: Counters::default(),
            now: Time::ZERO,
        }
    }

    /// Carries out one line, such as `accept a`, and says what came of it.
    fn act(&mut self, line: &str) -> Vec<String> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        let number = |index: usize| words[index].parse::<u32>().unwrap();
        let worker = || WorkerId(number(0));
        let listener = || ListenerId(number(words.len() - 1));
        let letters = |from: usize| words[from..].iter().map(|word| word.chars().next().unwrap());
        let conns = || letters(1).map(|conn| (listener_of(conn), conn)).collect();
        let returned = |why| {
            let conn = letters(1).next().unwrap();
            Input::Returned {
                worker: worker(),
                listener: listener_of(conn),
                conn,
                why,
            }
        };
        let input = match verb {
            "at" => {
                self.now = Duration::from_millis(number(0).into());
                return Vec::new();
            }
            "counts" => {
                self.counters.0.insert(worker(), words[1].parse().unwrap());
                return Vec::new();
            }
            "due" => {
                return vec![
                    self.dispatch
                        .next_deadline()
                        .map_or("never".into(), |at| at.as_millis().to_string()),
                ];
            }
            "waiting" => return vec![self.dispatch.waiting().to_string()],
            "add" => Input::WorkerAdded { worker: worker() },
            "listen" => Input::ListenerAdded { listener: listener() },
            "close" => Input::ListenerRemoved { listener: listener() },
            "join" => Input::Joined {
                worker: worker(),
                listener: listener(),
            },
            "left" => Input::Left {
                worker: worker(),
                listener: listener(),
            },
            "leaving" => Input::WorkerLeaving { worker: worker() },
            "gone" => Input::WorkerGone {
                worker: worker(),
                conns: conns(),
            },
            "accept" => {
                let conn = letters(0).next().unwrap();
                Input::Accepted {
                    listener: listener_of(conn),
                    conn,
                }
            }
            "deaf" => returned(Refusal::NotListening),
            "full" => returned(Refusal::Full),
            "room" => Input::Room {
                worker: worker(),
                listener: listener(),
            },
            "woke" => Input::Woke { worker: worker() },
            "reclaimed" => Input::Reclaimed {
                worker: worker(),
                conns: conns(),
            },
            "unsent" => Input::Unsent {
                worker: worker(),
                conns: conns(),
            },
            "tick" => Input::Tick,
            _ => panic!("what is {line}?"),
        };
        let mut out = Vec::new();
        self.dispatch.handle(self.now, input, &self.counters, &mut out);
        self.dispatch
            .check_invariants()
            .unwrap_or_else(|broken| panic!("after {line}: {broken}"));
        out.iter().map(describe).collect()
    }
}

/// Each row: what happens, separated by semicolons, and all that comes of it.
fn play(rows: &[(&str, &str)]) {
    let mut play = Play::new();
    for (index, (lines, expected)) in rows.iter().enumerate() {
        let said: Vec<String> = lines.split(';').flat_map(|line| play.act(line.trim())).collect();
        assert_eq!(said.join(", "), *expected, "row {index}: {lines}");
    }
}

const ONE: (&str, &str) = ("add 1; listen 7; join 1 7", "resume 7");
const TWO: (&str, &str) = ("add 1; add 2; listen 7; join 1 7; join 2 7", "resume 7");

#[test]
fn connections_go_round_in_turn() {
    play(&[
        (
            "add 1; add 2; add 3; listen 7; join 1 7; join 2 7; join 3 7",
            "resume 7",
        ),
        ("accept a; accept b; accept c; accept d", "a>1, b>2, c>3, d>1"),
        ("counts 1 2; counts 2 1; counts 3 1", ""),
        ("accept e; accept f; accept g; accept h", "e>2, f>3, g>1, h>2"),
    ]);
}

#[test]
fn each_listener_has_a_turn_of_its_own() {
    play(&[
        TWO,
        ("listen 8; join 1 8; join 2 8", "resume 8"),
        ("accept a; accept A; accept b; accept B", "a>1, A>1, b>2, B>2"),
    ]);
}

#[test]
fn a_worker_at_its_window_is_passed_over() {
    play(&[
        TWO,
        ("accept a; accept b; accept c", "a>1, b>2, c>1"),
        ("counts 2 1", ""),
        ("accept d; accept e", "d>2, e>2"),
    ]);
}

#[test]
fn with_nobody_ready_connections_wait_in_order() {
    play(&[
        ONE,
        ("accept a; accept b", "a>1, b>1"),
        // One request to be woken is enough.
        ("accept c; accept d; waiting", "wake 1, 2"),
        ("counts 1 1; woke 1", "c>1, wake 1"),
        // Whoever comes later waits behind those who are there, also when there is room at last.
        ("counts 1 3; accept e", "d>1, e>1"),
        ("waiting", "0"),
    ]);
}

#[test]
fn a_counter_that_moved_before_the_request_could_be_seen_is_found_by_a_tick() {
    play(&[
        ONE,
        ("accept a; accept b; accept c", "a>1, b>1, wake 1"),
        ("counts 1 2; tick", "c>1"),
        ("tick; waiting", "0"),
    ]);
}

#[test]
fn a_full_queue_pauses_its_listener_until_half_of_it_is_gone() {
    play(&[
        ONE,
        ("accept a; accept b", "a>1, b>1"),
        ("accept c; accept d; accept e; accept f", "wake 1, pause 7"),
        // The shell may have had one more at hand.
        ("accept g", ""),
        ("counts 1 2; woke 1", "c>1, d>1, wake 1"),
        ("counts 1 4; woke 1", "e>1, f>1, wake 1, resume 7"),
    ]);
}

#[test]
fn without_members_clients_wait_in_the_backlog() {
    play(&[
        ("add 1; listen 7", ""),
        // Accepted before the shell heard of the pause.
        ("join 1 7; left 1 7; accept a; accept b", "resume 7, pause 7"),
        ("due", "never"),
        ("join 1 7", "a>1, b>1, resume 7"),
    ]);
}

#[test]
fn a_stalled_worker_gives_up_what_it_has_for_an_idle_one() {
    play(&[
        TWO,
        ("accept a; accept b; accept c; due", "a>1, b>2, c>1, 5"),
        // Worker 2 keeps up, worker 1 does not.
        ("at 5; counts 2 1; tick", "wake 1, probe 1, reclaim 1, probe 1"),
        ("reclaimed 1 a c; due", "a>2, c>2, 10"),
        // Until its loop turns it gets nothing, and costs nothing.
        ("counts 2 3; accept d", "d>2"),
        ("at 10; counts 2 4; tick; due", "never"),
        ("woke 1; accept e; accept f", "e>1, f>2"),
    ]);
}

#[test]
fn reclaimed_connections_come_before_newer_ones() {
    play(&[
        TWO,
        (
            "accept a; accept b; accept c; accept d; accept e",
            "a>1, b>2, c>1, d>2, wake 1, wake 2",
        ),
        ("at 5; counts 2 2; tick", "probe 1, reclaim 1, probe 1, e>2"),
        ("accept f; accept g", "f>2"),
        ("reclaimed 1 a c; waiting", "3"),
        ("counts 2 4; woke 2", "a>2, c>2, wake 2"),
        ("counts 2 6; woke 2", "g>2"),
    ]);
}

#[test]
fn a_stalled_worker_keeps_what_it_has_while_nobody_is_idle() {
    play(&[
        TWO,
        ("accept a; accept b; accept c; accept d", "a>1, b>2, c>1, d>2"),
        ("at 5; counts 2 1; tick; due", "wake 1, probe 1, 10"),
        ("at 9; counts 2 2; accept e", "reclaim 1, probe 1, e>2"),
        // It has been faster than we.
        ("counts 1 2; reclaimed 1", ""),
        ("accept f", "f>1"),
    ]);
}

#[test]
fn nobody_looks_while_all_are_stalled() {
    play(&[
        TWO,
        ("accept a; accept b", "a>1, b>2"),
        ("at 5; tick; due", "wake 1, probe 1, wake 2, probe 2, never"),
        ("accept c; due", "never"),
        // The first whose loop turns has the new one and then those of the other.
        ("at 90; counts 2 1; woke 2", "reclaim 1, probe 1, c>2"),
        ("reclaimed 1 a; due", "a>2, 95"),
    ]);
}

#[test]
fn a_counter_that_moves_ends_a_stall() {
    play(&[
        TWO,
        ("accept a; accept b", "a>1, b>2"),
        ("at 5; tick", "wake 1, probe 1, wake 2, probe 2"),
        ("counts 1 1; accept c", "reclaim 2, probe 2, c>1"),
    ]);
}

#[test]
fn progress_however_small_is_no_stall() {
    play(&[
        TWO,
        ("accept a; accept b; accept c", "a>1, b>2, c>1"),
        ("at 5; counts 1 1; counts 2 1; tick; due", "10"),
        ("at 10; tick", "wake 1, probe 1, reclaim 1, probe 1"),
    ]);
}

#[test]
fn a_single_worker_is_not_watched() {
    play(&[
        ONE,
        ("add 2; listen 8; join 2 8", "resume 8"),
        ("accept a; accept b; accept c; due", "a>1, b>1, wake 1, never"),
        // Now there is somebody who could help, and the stall is old already.
        ("at 50; join 2 7; due", "c>2, 5"),
        ("counts 2 1; tick", "probe 1, reclaim 1, probe 1"),
    ]);
}

#[test]
fn help_comes_from_workers_of_the_same_listener_only() {
    play(&[
        ("add 1; add 2; add 3; listen 7; listen 8", ""),
        ("join 1 7; join 2 7; join 3 8", "resume 7, resume 8"),
        ("accept a; accept b; accept c; accept d", "a>1, b>2, c>1, d>2"),
        // Worker 3 is idle, but not of any use.
        ("at 5; counts 2 1; tick", "wake 1, probe 1"),
        ("join 3 7", "reclaim 1, probe 1"),
    ]);
}

#[test]
fn what_only_the_stalled_worker_could_serve_waits_for_it() {
    play(&[
        TWO,
        ("listen 8; join 1 8", "resume 8"),
        ("accept A; accept a; accept b", "A>1, a>1, b>2"),
        ("at 5; counts 2 1; tick", "wake 1, probe 1, reclaim 1, probe 1"),
        ("reclaimed 1 A a; due", "a>2, 10"),
        ("at 10; counts 2 2; tick; waiting; due", "1, never"),
        ("woke 1", "A>1"),
    ]);
}

#[test]
fn a_full_worker_is_spared_until_it_has_room() {
    play(&[
        TWO,
        ("accept a; counts 1 1; full 1 a", "a>1, a>2"),
        ("counts 2 1; accept b; counts 2 2; accept c", "b>2, c>2"),
        ("counts 2 3; full 2 c; waiting", "1"),
        // Neither a turn of the loop nor time makes room.
        ("at 99; tick; woke 1; due", "never"),
        ("room 1 7; waiting", "c>1, 0"),
        ("counts 1 2; accept d", "d>1"),
    ]);
}

#[test]
fn being_full_is_a_matter_of_one_listener() {
    play(&[
        ONE,
        ("listen 8; join 1 8", "resume 8"),
        ("accept a; counts 1 1; full 1 a", "a>1"),
        ("accept A; room 1 8; waiting", "A>1, 1"),
    ]);
}

#[test]
fn a_worker_that_does_not_listen_is_spared_for_a_while() {
    play(&[
        TWO,
        ("accept a; counts 1 1; deaf 1 a", "a>1, a>2"),
        ("counts 2 1; accept b; counts 2 2; deaf 2 b", "b>2"),
        ("at 19; tick; waiting; due", "1, 20"),
        ("at 20; tick", "b>1"),
        // Refused again: nothing goes round in circles.
        (
            "counts 1 2; deaf 1 b; counts 2 3; deaf 2 b; at 39; tick; waiting; due",
            "b>2, 1, 40",
        ),
    ]);
    play(&[
        ONE,
        ("accept a; counts 1 1; deaf 1 a; due", "a>1, 20"),
        // It has left and come back, and the refusal was about its first time.
        ("join 1 7; due", "a>1, never"),
    ]);
    play(&[
        ONE,
        ("accept a; counts 1 1; deaf 1 a; due", "a>1, 20"),
        ("left 1 7", "pause 7"),
        ("at 20; tick; due", "never"),
    ]);
}

#[test]
fn returned_connections_keep_their_order() {
    play(&[
        ONE,
        ("accept a; accept b; accept c; counts 1 2", "a>1, b>1, wake 1"),
        ("full 1 a; full 1 b", ""),
        ("room 1 7; counts 1 4; woke 1", "a>1, b>1, c>1"),
    ]);
}

#[test]
fn what_a_leaving_worker_has_not_received_goes_to_others() {
    play(&[
        TWO,
        ("accept a; accept b; accept c", "a>1, b>2, c>1"),
        ("leaving 1", "reclaim 1"),
        ("reclaimed 1 a c", "a>2, wake 2"),
        // It cannot come back.
        ("join 1 7; room 1 7; woke 1; counts 2 2; woke 2", "c>2"),
    ]);
}

#[test]
fn a_leaving_worker_may_return_what_it_had_received() {
    play(&[
        TWO,
        ("accept a; accept b; counts 1 1; counts 2 1", "a>1, b>2"),
        ("leaving 1; reclaimed 1; deaf 1 a", "reclaim 1, a>2"),
    ]);
}

#[test]
fn what_a_dead_worker_has_not_received_goes_to_others() {
    play(&[
        TWO,
        ("accept a; accept b; accept c; counts 2 1", "a>1, b>2, c>1"),
        ("gone 1 a c", "a>2, c>2"),
        ("accept d; waiting", "wake 2, 1"),
        ("gone 2 a c", "pause 7"),
        ("add 3; join 3 7", "a>3, c>3, wake 3, resume 7"),
        ("counts 3 2; woke 3; waiting", "d>3, 0"),
    ]);
}

#[test]
fn leaving_one_listener_concerns_that_one_only() {
    play(&[
        TWO,
        ("listen 8; join 1 8", "resume 8"),
        ("accept a; accept A", "a>1, A>1"),
        ("left 1 7", "reclaim 1"),
        ("reclaimed 1 a A", "a>2, A>1"),
        // Who is no member any more cannot leave.
        ("left 1 7", ""),
    ]);
}

#[test]
fn a_channel_that_is_full_is_left_alone_until_its_worker_speaks() {
    play(&[
        ONE,
        ("accept a; accept b", "a>1, b>1"),
        ("unsent 1 b; waiting", "wake 1, probe 1, 1"),
        // Counting is not enough: it could go on for ever.
        ("counts 1 1; tick; counts 1 2; tick", ""),
        ("woke 1", "b>1"),
    ]);
    play(&[
        TWO,
        ("accept a; accept b; accept c; counts 2 1", "a>1, b>2, c>1"),
        ("unsent 1 c", "wake 1, probe 1, reclaim 1, probe 1, c>2"),
        ("reclaimed 1 a", "a>2"),
    ]);
}

#[test]
fn what_waits_for_a_closed_listener_is_closed() {
    play(&[
        ONE,
        ("accept a; accept b; accept c; accept d", "a>1, b>1, wake 1"),
        ("close 7; waiting; due", "c closed, d closed, 0, never"),
        (
            "accept e; counts 1 2; deaf 1 a; reclaimed 1 b",
            "e closed, a closed, b closed",
        ),
    ]);
}

#[test]
fn a_busy_listener_does_not_take_all_the_room() {
    play(&[
        ONE,
        ("listen 8; join 1 8", "resume 8"),
        ("accept a; accept b", "a>1, b>1"),
        ("accept c; accept d; accept e; accept A; accept B", "wake 1"),
        ("counts 1 2; woke 1", "c>1, d>1, wake 1"),
        ("counts 1 4; woke 1", "A>1, B>1, wake 1"),
        ("counts 1 6; woke 1", "e>1"),
    ]);
}

#[test]
fn a_lying_counter_earns_nothing() {
    play(&[
        ONE,
        // More than it was sent: no credit for later.
        (
            "accept a; accept b; counts 1 18446744073709551615; accept c; accept d",
            "a>1, b>1, c>1, d>1",
        ),
        ("accept e; waiting", "wake 1, 1"),
        (
            "counts 1 0; tick; counts 1 18446744073709551615; tick; waiting",
            "1",
        ),
    ]);
    play(&[
        TWO,
        // Backwards: it looks stalled.
        (
            "accept a; accept b; at 5; counts 1 5; counts 2 1; tick; accept c; accept d",
            "a>1, b>2, c>1, d>2",
        ),
        (
            "at 10; counts 1 2; counts 2 2; tick",
            "wake 1, probe 1, reclaim 1, probe 1",
        ),
    ]);
}

#[test]
fn a_wrong_count_is_put_right_when_the_channel_turns_out_to_be_empty() {
    play(&[
        TWO,
        ("accept a; accept b; accept c; counts 2 1", "a>1, b>2, c>1"),
        // It never counted them, but it has them.
        ("at 5; tick; reclaimed 1", "wake 1, probe 1, reclaim 1, probe 1"),
        ("woke 1; accept d; accept e; accept f", "d>2, e>1, f>2"),
        ("accept g; accept h", "g>1, wake 1, wake 2"),
    ]);
}

#[test]
fn connections_that_were_made_up_are_closed() {
    play(&[
        TWO,
        ("deaf 1 x; full 9 y", "x closed, y closed"),
        ("accept a; counts 1 1; deaf 1 a; deaf 1 z", "a>1, a>2, z closed"),
        // What was taken back cannot be returned either.
        ("at 20; counts 2 1; tick; accept b", "b>1"),
        ("unsent 1 b; full 1 w", "wake 1, probe 1, b>2, w closed"),
    ]);
}

#[test]
fn the_unknown_and_the_repeated_do_no_harm() {
    play(&[
        (
            "woke 1; room 1 7; left 1 7; join 1 7; leaving 1; gone 1; reclaimed 1 a; unsent 1 b",
            "a closed, b closed",
        ),
        (
            "add 1; add 1; listen 7; listen 7; join 1 7; join 1 7; join 1 8; room 1 8",
            "resume 7",
        ),
        (
            "accept a; counts 1 1; full 1 A; accept b; counts 1 2",
            "a>1, A closed, b>1",
        ),
        (
            "leaving 1; leaving 1; gone 1; gone 1; close 8",
            "reclaim 1, pause 7, reclaim 1",
        ),
        ("close 7; close 7", ""),
    ]);
}
