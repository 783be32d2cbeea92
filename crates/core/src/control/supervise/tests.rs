//! The rules of supervision as tables: inputs, and the outputs that follow.
//!
//! The shell is prompt: each spawn is answered at once, with worker 1, 2, 3 …; after `broken 11` with that
//! error. Unless a row says otherwise, waits are 100, 200, 400 ms without jitter, and a worker has 1000 ms to
//! get ready, 500 ms to drain and 50 ms after SIGTERM. `4@1` is worker 4 in slot 1.

mod backoff;
mod distrust;
mod follow;
mod hopeless;
mod operate;
mod recycle;
mod reload;
mod restart;
mod retire;
mod scale;
mod shutdown;
mod standby;
mod takeover;
mod watch;

use std::time::Duration;

use super::*;
use crate::ids::{Request, Slot, Ticket};

fn options(workers: u32) -> Options {
    let ms = Duration::from_millis;
    let intensity = Intensity { max: 4, period: ms(60_000) };
    Options {
        workers,
        restart_intensity: intensity,
        total_intensity: Intensity { max: 100, ..intensity },
        backoff: Backoff {
            initial: ms(100),
            max: ms(300),
            factor: 2.0,
            jitter: 0.0,
            immediate: 1,
            reset_after: ms(9_000),
        },
        ready: ReadyWhen::Online,
        ready_timeout: ms(1_000),
        drain_timeout: ms(500),
        kill_timeout: ms(50),
        shutdown_timeout: ms(200),
        recycle: Recycle { jitter: 0.0, ..Recycle::default() },
        ..Options::default()
    }
}

/// Supervision and its shell.
struct Play {
    brain: Supervise,
    now: Time,
    workers: u32,
    broken: Option<i32>,
    /// The vitals of the sampled workers.
    shown: std::collections::BTreeMap<WorkerId, Vitals>,
}

fn place(slot: Option<Slot>) -> String {
    slot.map_or("-".into(), |slot| slot.0.to_string())
}

fn who(worker: Option<WorkerId>, slot: Option<Slot>) -> String {
    format!("{}@{}", worker.map_or("?".into(), |worker| worker.0.to_string()), place(slot))
}

fn tell(event: Event) -> String {
    match event {
        Event::Spawn { worker, slot, .. } => format!("({})", who(Some(worker), slot)),
        Event::Ready { worker, boot, .. } => format!("ready {} in {}", worker.0, boot.as_millis()),
        Event::Restart { slot, worker, why, phase, delay, restarts, .. } => {
            let phase = if phase == Phase::StartUp { " at start" } else { "" };
            let who = who(worker, slot);
            format!("restart {who}{phase}: {why}, +{}, #{restarts}", delay.as_millis())
        }
        Event::Backoff { slot, delay, failures } => {
            format!("backoff {} {} after {failures}", place(slot), delay.as_millis())
        }
        Event::GaveUp { slot, worker, scope, restarts, period, why, .. } => {
            format!("gave up {} {scope:?} {restarts} in {}: {why}", who(worker, slot), period.as_secs())
        }
        Event::Retire { worker, slot, reason, detail, by } => {
            format!("retire {} {reason}{detail} by {by:?}", who(Some(worker), slot))
        }
        Event::DrainTimeout { worker, slot, connections, resources } => {
            let held: Vec<String> =
                resources.iter().map(|(name, count)| format!(" {count} {name}")).collect();
            format!("drain timeout {} {connections:?}{}", who(Some(worker), slot), held.concat())
        }
        Event::Drained { worker, slot, resources } => {
            let held: Vec<String> =
                resources.iter().map(|(name, count)| format!(" {count} {name}")).collect();
            format!("drained {}{}", who(Some(worker), slot), held.concat())
        }
        Event::Stopping { delay } => format!("stopping in {}", delay.as_millis()),
        Event::Unresponsive { worker, slot, blocked_for, stack } => {
            let stack = stack.unwrap_or_default();
            format!("unresponsive {} {}{stack}", who(Some(worker), slot), blocked_for.as_millis())
        }
        Event::Recycle { worker, slot, excess, value, limit } => {
            format!("recycle {} {excess:?} {value}/{limit}", who(Some(worker), Some(slot)))
        }
        Event::ReloadStarted { slots, concurrency } => format!("reload {slots}/{concurrency}"),
        Event::ReloadDone { took } => format!("reloaded in {}", took.as_millis()),
        Event::ReloadFailed { failure, reloaded } => format!("reload failed after {reloaded}: {failure}"),
        Event::Follow { cpus, workers } => format!("follow {cpus}: {workers}"),
        Event::Promote { worker, slot, standby_for } => {
            format!("{} after {}", who(Some(worker), Some(slot)), standby_for.as_millis())
        }
        Event::Stopped { worker, slot, why, .. } => format!("stopped {}: {why}", who(worker, slot)),
        Event::Shutdown { gave_up, timeout } => {
            format!("shutdown {} {}", timeout.as_millis(), gave_up.is_some())
        }
    }
}

fn describe(output: Output) -> String {
    match output {
        Output::Spawn(SpawnOrder { slot, cause, .. }) => format!("spawn {} {cause:?}", place(slot)),
        Output::Promote { worker, .. } => format!("promote {}", worker.0),
        Output::Drain { worker, reason, timeout } => {
            format!("drain {} {reason} {}", worker.0, timeout.as_millis())
        }
        Output::Kill { worker, signal: KillSignal::Term } => format!("term {}", worker.0),
        Output::Kill { worker, signal: KillSignal::Kill } => format!("kill {}", worker.0),
        Output::Keep { worker } => format!("keep {}", worker.0),
        Output::Reclaim { worker } => format!("reclaim {}", worker.0),
        Output::Probe { worker } => format!("probe {}", worker.0),
        Output::CaptureStack { worker } => format!("capture {}", worker.0),
        Output::Tell(event) => tell(event),
        Output::Done { request, result: Ok(()) } => format!("done {}", request.0),
        Output::Done { request, result: Err(failure) } => format!("failed {}: {failure}", request.0),
        Output::StopPrimary { code } => format!("exit {code}"),
    }
}

impl Play {
    fn new(options: Options) -> Self {
        let shown = std::collections::BTreeMap::new();
        Self { brain: Supervise::new(options, 1), now: Time::ZERO, workers: 0, broken: None, shown }
    }

    fn give(&mut self, input: Input, said: &mut Vec<String>) {
        let about = format!("{input:?}");
        let mut out = Vec::new();
        self.brain.handle(self.now, input, &mut out);
        self.brain.check_invariants().unwrap_or_else(|broken| panic!("after {about}: {broken}"));
        let mut answers = Vec::new();
        for output in out {
            if let Output::Spawn(SpawnOrder { ticket, .. }) = output {
                answers.push(if let Some(errno) = self.broken {
                    Input::SpawnFailed { ticket, cause: format!("error {errno}") }
                } else {
                    self.workers += 1;
                    Input::Spawned { ticket, worker: WorkerId(self.workers) }
                });
            }
            said.push(describe(output));
        }
        for answer in answers {
            self.give(answer, said);
        }
    }

    /// Carries out one line, such as `exit 1 0`, and returns the outputs.
    fn act(&mut self, line: &str) -> Vec<String> {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap();
        let words: Vec<&str> = words.collect();
        let number = |index: usize| words[index].parse::<u32>().unwrap();
        let worker = || WorkerId(number(0));
        let request = || Request(number(words.len() - 1).into());
        let asked = |by| Input::RetireAsked {
            worker: worker(),
            reason: Reason::Asked(words[1].into()),
            detail: words.get(2).map_or(String::new(), |detail| format!(" {detail}")),
            by,
        };
        let input = match verb {
            "at" => {
                self.now = Duration::from_millis(number(0).into());
                Input::Tick
            }
            "due" => {
                let due = self.brain.next_deadline();
                return vec![due.map_or("never".into(), |at| at.as_millis().to_string())];
            }
            "broken" => {
                self.broken = Some(words[0].parse().unwrap()).filter(|errno| *errno != 0);
                return Vec::new();
            }
            // Turns, memory and received connections of a worker in the next sample.
            "shows" => {
                let vitals = Vitals {
                    turns: number(1).into(),
                    rss: Some(number(2).into()),
                    clients: number(3).into(),
                    connections: 7,
                };
                self.shown.insert(worker(), vitals);
                return Vec::new();
            }
            // Time passes, and all workers are sampled.
            "look" => {
                self.now = Duration::from_millis(number(0).into());
                for (worker, vitals) in self.shown.clone() {
                    self.give(Input::Vitals { worker, vitals }, &mut Vec::new());
                }
                Input::Tick
            }
            "states" => {
                let slots = self.brain.stats(self.now).slots;
                return slots.iter().map(|slot| format!("{:?}", slot.state)).collect();
            }
            "start" => Input::Start,
            "online" => Input::Online { worker: worker() },
            "listening" => Input::Listening { worker: worker() },
            "ready" => Input::Ready { worker: worker() },
            "throws" => asked(By::Worker),
            "retire" => asked(By::Primary),
            // What keeps the worker alive, and whether it has nothing left to serve.
            "held" | "drained" => Input::Held {
                worker: worker(),
                drained: verb == "drained",
                resources: words[1..].iter().map(|name| ((*name).to_owned(), 1)).collect(),
            },
            "alone" => Input::ServesAlone { worker: worker(), listeners: number(1) as usize },
            "cut" => Input::CutOff { worker: worker() },
            "leaving" => Input::Leaving { worker: worker() },
            "exit" => Input::Exited { worker: worker(), exit: ExitKind::Code(words[1].parse().unwrap()) },
            "signal" => Input::Exited { worker: worker(), exit: ExitKind::Signal(words[1].parse().unwrap()) },
            "stack" => Input::Stack { worker: worker(), text: words.get(1).map(|text| format!(" {text}")) },
            "spawned" => Input::Spawned { ticket: Ticket(number(0).into()), worker: WorkerId(number(1)) },
            "unspawned" => Input::SpawnFailed { ticket: Ticket(number(0).into()), cause: "error 11".into() },
            "scale" => Input::Scale { workers: number(0), request: request() },
            // CPUs, and bytes of memory.
            "limits" => Input::Limits { cpus: number(0), memory: Some(number(1).into()) },
            "follow" => Input::FollowCpus,
            "restart" => Input::Restart { slot: Slot(number(0)), request: request() },
            "drain-slot" => Input::DrainSlot { slot: Slot(number(0)), request: request() },
            "reload" => Input::Reload { concurrency: number(0), request: request() },
            "shutdown" => {
                let ms = |index| Duration::from_millis(number(index).into());
                let delay = if words.len() > 2 { ms(1) } else { Duration::ZERO };
                Input::Shutdown { delay, timeout: ms(0), request: request() }
            }
            "force" => Input::Force,
            _ => panic!("what is {line}?"),
        };
        let mut said = Vec::new();
        self.give(input, &mut said);
        said
    }
}

/// Each row: inputs, separated by semicolons, and all outputs.
fn play(options: Options, rows: &[(&str, &str)]) {
    let mut play = Play::new(options);
    let mut differences = Vec::new();
    for (index, (lines, expected)) in rows.iter().enumerate() {
        let said: Vec<String> = lines.split(';').flat_map(|line| play.act(line.trim())).collect();
        let said = said.join(", ");
        if said != *expected {
            differences.push(format!("row {index}: {lines}\n     got: {said}\nexpected: {expected}\n"));
        }
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

const ONE: (&str, &str) = ("start; online 1", "spawn 0 Start, (1@0), ready 1 in 0");
const TWO: (&str, &str) =
    ("start; online 1; online 2", "spawn 0 Start, spawn 1 Start, (1@0), (2@1), ready 1 in 0, ready 2 in 0");
