//! The dispatcher's rules as tables: inputs, and the outputs that follow.
//!
//! Connections are letters: lower case ones belong to listener 7, upper case ones and digits to listener 8.
//! The window is 2, the queue holds 4, a worker is blocked after 5 ms and rests for 20 ms,
//! and what cannot be reclaimed is reclaimed after 100 ms.

mod blocked;
mod distrust;
mod hand_over;
mod on_behalf;
mod overload;
mod policies;
mod queues;
mod requeue;

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::ids::Slot;
use crate::schedule::{Home, Key, Overload, Plan};

/// A dispatcher and its environment.
struct Play {
    dispatch: Dispatch<char>,
    plan: Plan,
    counters: Counters,
    now: Time,
}

/// By worker: received, open, milliseconds busy.
#[derive(Default)]
struct Counters(BTreeMap<WorkerId, [u64; 3]>);

impl Counters {
    fn get(&self, worker: WorkerId, which: usize) -> u64 {
        self.0.get(&worker).map_or(0, |counters| counters[which])
    }
}

impl Board for Counters {
    fn received(&self, worker: WorkerId) -> u64 {
        self.get(worker, 0)
    }
    fn open(&self, worker: WorkerId) -> u32 {
        u32::try_from(self.get(worker, 1)).unwrap()
    }
    fn busy(&self, worker: WorkerId) -> Duration {
        Duration::from_millis(self.get(worker, 2))
    }
}

/// Each letter is a client, each digit a client for which that worker has been chosen. The letters u to z are
/// connections that a worker has handed over.
impl Connection for char {
    fn is_kept(&self) -> bool {
        matches!(self.to_ascii_lowercase(), 'u'..='z')
    }

    fn home(&self) -> Option<Home> {
        let client = || Home::Client(Key::of(&[u8::try_from(*self).unwrap()]));
        Some(self.to_digit(10).map_or_else(client, |worker| Home::Worker(WorkerId(worker))))
    }
}

fn listener_of(conn: char) -> ListenerId {
    ListenerId(if conn.is_lowercase() { 7 } else { 8 })
}

fn describe(output: &Output<char>) -> String {
    match output {
        Output::Send { worker, listener, conn } => {
            assert_eq!(*listener, listener_of(*conn), "{conn} was accepted elsewhere");
            format!("{conn}>{}", worker.0)
        }
        Output::Close { conn } => format!("{conn} closed"),
        Output::Ask { conn, .. } => format!("ask about {conn}"),
        Output::Shed { listener, conn } => {
            assert_eq!(*listener, listener_of(*conn), "{conn} was accepted elsewhere");
            format!("{conn} shed")
        }
        Output::Pause { listener } => format!("pause {}", listener.0),
        Output::Resume { listener } => format!("resume {}", listener.0),
        Output::Reclaim { worker } => format!("reclaim {}", worker.0),
        Output::WantWake { worker } => format!("wake {}", worker.0),
        Output::Probe { worker } => format!("probe {}", worker.0),
        Output::AcceptOnBehalf { worker, listener } => format!("for {} at {}", worker.0, listener.0),
        Output::StopAcceptingOnBehalf { worker, listener } => {
            format!("not for {} at {}", worker.0, listener.0)
        }
    }
}

impl Play {
    fn new(plan: Plan) -> Self {
        let config = Config {
            window: 2,
            blocked_after: Duration::from_millis(5),
            retry_after: Duration::from_millis(20),
            reclaim_again_after: Duration::from_millis(100),
        };
        Self { dispatch: Dispatch::new(config), plan, counters: Counters::default(), now: Time::ZERO }
    }

    /// Carries out one line, such as `accept a`, and returns the outputs.
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
            Input::Returned { worker: worker(), listener: listener_of(conn), conn, why }
        };
        let input = match verb {
            "at" => {
                self.now = Duration::from_millis(number(0).into());
                return Vec::new();
            }
            "counts" => {
                self.counters.0.entry(worker()).or_default()[0] = words[1].parse().unwrap();
                return Vec::new();
            }
            "open" => {
                self.counters.0.entry(worker()).or_default()[1] = words[1].parse().unwrap();
                return Vec::new();
            }
            "busy" => {
                self.counters.0.entry(worker()).or_default()[2] = words[1].parse().unwrap();
                return Vec::new();
            }
            "due" => {
                return vec![
                    self.dispatch.next_deadline().map_or("never".into(), |at| at.as_millis().to_string()),
                ];
            }
            "waiting" => return vec![self.dispatch.waiting().to_string()],
            "add" => {
                let slot = words.get(1).map_or(number(0) - 1, |slot| slot.parse().unwrap());
                Input::WorkerAdded { worker: worker(), slot: Slot(slot) }
            }
            "listen" => Input::ListenerAdded { listener: listener(), plan: self.plan.clone() },
            "close" => Input::ListenerRemoved { listener: listener() },
            "join" => Input::Joined { worker: worker(), listener: listener() },
            "left" => Input::Left { worker: worker(), listener: listener() },
            "leaving" => Input::WorkerLeaving { worker: worker() },
            "gone" => Input::WorkerExited { worker: worker(), conns: conns() },
            "accept" => {
                let conn = letters(0).next().unwrap();
                Input::Accepted { listener: listener_of(conn), conn }
            }
            "deaf" => returned(Refusal::NotListening),
            "full" => returned(Refusal::Full),
            "hands" => returned(Refusal::HandedOver),
            "may" => {
                let room = self.dispatch.hand_over_room(worker());
                return vec![room.map_or("none".into(), |room| room.to_string())];
            }
            "counted" => {
                let stats = self.dispatch.stats(&self.counters);
                let Counts { accepted, queued, shed, returned, handed_over, .. } = stats.listeners[0].counts;
                return vec![format!("{accepted} {queued} {shed} {returned} {handed_over}")];
            }
            "fills" => Input::Full { worker: worker(), listener: listener() },
            "unattended" => Input::Unattended { worker: worker() },
            "room" => Input::Room { worker: worker(), listener: listener() },
            "woke" => Input::Woke { worker: worker() },
            "reclaimed" => Input::Reclaimed { worker: worker(), conns: conns(), all: true },
            "partly" => Input::Reclaimed { worker: worker(), conns: conns(), all: false },
            "unsent" => Input::Unsent { worker: worker(), conns: conns() },
            "tick" => Input::Tick,
            _ => panic!("what is {line}?"),
        };
        let mut out = Vec::new();
        self.dispatch.handle(self.now, input, &self.counters, &mut out);
        self.dispatch.check_invariants(self.now).unwrap_or_else(|broken| panic!("after {line}: {broken}"));
        out.iter().map(describe).collect()
    }
}

/// Each row: inputs, separated by semicolons, and all outputs.
fn play(rows: &[(&str, &str)]) {
    play_with(Plan { overload: Overload { queue: 4, ..Overload::default() }, ..Plan::default() }, rows);
}

fn play_with(plan: Plan, rows: &[(&str, &str)]) {
    let mut stage = Play::new(plan);
    for (index, (lines, expected)) in rows.iter().enumerate() {
        let said: Vec<String> = lines.split(';').flat_map(|line| stage.act(line.trim())).collect();
        assert_eq!(said.join(", "), *expected, "row {index}: {lines}");
    }
}

const ONE: (&str, &str) = ("add 1; listen 7; join 1 7", "resume 7");
const TWO: (&str, &str) = ("add 1; add 2; listen 7; join 1 7; join 2 7", "resume 7");
