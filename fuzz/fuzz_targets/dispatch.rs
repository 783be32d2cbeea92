//! The dispatcher, with workers that count, return and say anything.
//!
//! The shell keeps its contract: it carries out what it is told, in order, and answers. Each connection is in one place only,
//! and in the end none is left.
#![no_main]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use rcluster_core::dispatch::{Board, Config, Connection, Dispatch, Input, Output, Refusal};
use rcluster_core::ids::{ListenerId, Slot, WorkerId};
use rcluster_core::schedule::{Action, Home, Key, Overload, Plan, Policy};

/// Deliberately not `Clone`.
#[derive(Debug)]
struct Conn {
    id: u32,
    home: Option<Home>,
    kept: bool,
}

impl Connection for Conn {
    fn home(&self) -> Option<Home> {
        self.home
    }
    fn is_kept(&self) -> bool {
        self.kept
    }
}

/// The pages of the workers: every look may show another number, smaller or larger.
struct Pages<'a>(RefCell<&'a [u8]>, Cell<u64>);

impl Pages<'_> {
    fn number(&self) -> u64 {
        let mut bytes = self.0.borrow_mut();
        let Some((&first, rest)) = bytes.split_first() else { return self.1.get() };
        *bytes = rest;
        let number = match first {
            0..128 => self.1.get().wrapping_add(u64::from(first)),
            128..192 => u64::from(first - 128),
            192..255 => 1_u64.rotate_left(u32::from(first)).wrapping_sub(u64::from(first & 1)),
            255 => u64::MAX,
        };
        self.1.set(number);
        number
    }
}

impl Board for Pages<'_> {
    fn received(&self, _: WorkerId) -> u64 {
        self.number()
    }
    fn open(&self, _: WorkerId) -> u32 {
        self.number() as u32
    }
    fn busy(&self, _: WorkerId) -> Duration {
        Duration::from_nanos(self.number())
    }
}

struct Shell<'a> {
    dispatch: Dispatch<Conn>,
    pages: Pages<'a>,
    now: Duration,
    /// The channels of those that live.
    workers: BTreeMap<WorkerId, VecDeque<(ListenerId, Conn)>>,
    /// Whether they are paused.
    listeners: BTreeMap<ListenerId, bool>,
    /// Connections that the dispatcher has.
    inside: BTreeSet<u32>,
    ids: u32,
}

impl Shell<'_> {
    fn give(&mut self, input: Input<Conn>) {
        let mut inputs = VecDeque::from([input]);
        let mut out = Vec::new();
        for _ in 0..10_000 {
            let Some(input) = inputs.pop_front() else { return };
            match &input {
                Input::Accepted { conn, .. } | Input::Returned { conn, .. } => self.enters(conn),
                Input::WorkerExited { conns, .. }
                | Input::Reclaimed { conns, .. }
                | Input::Unsent { conns, .. } => {
                    conns.iter().for_each(|(_, conn)| self.enters(conn));
                }
                _ => {}
            }
            let named = format!("{input:?}");
            self.dispatch.handle(self.now, input, &self.pages, &mut out);
            if let Err(broken) = self.dispatch.check_invariants(self.now) {
                panic!("after {named}: {broken}");
            }
            let mut recheck = false;
            for output in out.drain(..) {
                recheck |= matches!(output, Output::WantWake { .. });
                inputs.extend(self.carry_out(output));
            }
            if recheck {
                inputs.push_back(Input::Tick);
            }
        }
        panic!("dispatcher and shell go round in circles");
    }

    fn enters(&mut self, conn: &Conn) {
        assert!(self.inside.insert(conn.id), "{conn:?} is there twice");
    }

    fn carry_out(&mut self, output: Output<Conn>) -> Option<Input<Conn>> {
        match &output {
            Output::Send { conn, .. }
            | Output::Close { conn }
            | Output::Ask { conn, .. }
            | Output::Shed { conn, .. } => {
                assert!(self.inside.remove(&conn.id), "{conn:?} is given out and was not there");
            }
            _ => {}
        }
        match output {
            Output::Send { worker, listener, conn } => {
                let channel = self.workers.get_mut(&worker).expect("only living workers get connections");
                if channel.len() >= 8 {
                    return Some(Input::Unsent { worker, conns: vec![(listener, conn)] });
                }
                channel.push_back((listener, conn));
            }
            Output::Ask { listener, conn } => {
                return Some(Input::Accepted { listener, conn: Conn { home: None, ..conn } });
            }
            Output::Reclaim { worker } => {
                let channel = self.workers.get_mut(&worker).expect("only living workers are reclaimed from");
                // There may be descriptors for some of them only.
                let count = match self.pages.number() % 4 {
                    0 => channel.len() / 2,
                    _ => channel.len(),
                };
                let conns = channel.drain(..count).collect();
                return Some(Input::Reclaimed { worker, conns, all: channel.is_empty() });
            }
            Output::Pause { listener } | Output::Resume { listener } => {
                let pause = matches!(output, Output::Pause { .. });
                let paused = self.listeners.get_mut(&listener).expect("only open listeners are paused");
                assert_ne!(*paused, pause, "{listener} is told what it does already");
                *paused = pause;
            }
            Output::Shed { conn, .. } => assert!(!conn.kept),
            Output::Close { .. }
            | Output::WantWake { .. }
            | Output::Probe { .. }
            | Output::AcceptOnBehalf { .. }
            | Output::StopAcceptingOnBehalf { .. } => {}
        }
        None
    }

    fn conn(&mut self, bytes: &mut Unstructured, kept: bool) -> Result<Conn> {
        self.ids += 1;
        let home = match bytes.arbitrary::<u8>()? {
            0..100 => None,
            client @ 100..200 => Some(Home::Client(Key {
                slot: (client % 5 == 0).then_some(Slot(u32::from(client % 7))),
                ..Key::of(&[client])
            })),
            worker => Some(Home::Worker(WorkerId(u32::from(worker - 200)))),
        };
        Ok(Conn { id: self.ids, home, kept })
    }

    fn step(&mut self, bytes: &mut Unstructured) -> Result<()> {
        let what = bytes.arbitrary::<u8>()? % 20;
        // They may exist, have existed, or never will.
        let (worker, listener) = (bytes.int_in_range(0..=9)?, bytes.int_in_range(0..=5)?);
        let (worker, listener) = (WorkerId(worker), ListenerId(listener));
        match what {
            0 if !self.workers.contains_key(&worker) && self.workers.len() < 6 => {
                self.workers.insert(worker, VecDeque::new());
                self.give(Input::WorkerAdded { worker, slot: Slot(bytes.int_in_range(0..=4)?) });
            }
            1 if !self.listeners.contains_key(&listener) => {
                let plan = plan(bytes)?;
                self.listeners.insert(listener, true);
                self.give(Input::ListenerAdded { listener, plan });
            }
            2 if bytes.ratio(1, 4)? => {
                self.listeners.remove(&listener);
                self.give(Input::ListenerRemoved { listener });
            }
            3 | 4 => self.give(Input::Joined { worker, listener }),
            5 => self.give(Input::Left { worker, listener }),
            6 if bytes.ratio(1, 2)? => self.give(Input::WorkerLeaving { worker }),
            7 if bytes.ratio(1, 2)? => self.end(worker),
            8..=11 => {
                let conn = self.conn(bytes, false)?;
                self.give(Input::Accepted { listener, conn });
            }
            // It takes something from its channel, and may return that, or a connection that it has made up.
            12 | 13 => {
                let received = self.workers.get_mut(&worker).and_then(VecDeque::pop_front);
                let why =
                    bytes.choose(&[Refusal::NotListening, Refusal::Full, Refusal::HandedOver]).copied()?;
                let kept = why == Refusal::HandedOver || bytes.arbitrary()?;
                let conn = match received {
                    Some((_, conn)) if bytes.arbitrary()? => Conn { kept, ..conn },
                    _ => self.conn(bytes, kept)?,
                };
                self.give(Input::Returned { worker, listener, conn, why });
            }
            14 => self.give(Input::Room { worker, listener }),
            15 => self.give(Input::Full { worker, listener }),
            16 => self.give(Input::Unattended { worker }),
            17 => self.give(Input::Woke { worker }),
            18 => {
                self.now = match self.dispatch.next_deadline() {
                    Some(due) if bytes.arbitrary()? => self.now.max(due),
                    _ => self.now.saturating_add(Duration::from_micros(1 << bytes.int_in_range(0..=40)?)),
                };
                self.give(Input::Tick);
            }
            _ => self.give(Input::Tick),
        }
        Ok(())
    }

    fn end(&mut self, worker: WorkerId) {
        let conns = self.workers.remove(&worker).into_iter().flatten().collect();
        self.give(Input::WorkerExited { worker, conns });
    }
}

fn plan(bytes: &mut Unstructured) -> Result<Plan> {
    let policy = *bytes.choose(&[
        Policy::RoundRobin,
        Policy::None,
        Policy::LeastConnections,
        Policy::LeastLoaded,
        Policy::Sticky,
        Policy::Kernel,
        Policy::Hook,
    ])?;
    let overload = Overload {
        queue: bytes.int_in_range(0..=6)?,
        deadline: bytes.arbitrary::<Option<u8>>()?.map(|ms| Duration::from_millis(ms.into())),
        action: if bytes.arbitrary()? { Action::Reset } else { Action::Wait },
    };
    let ms = |bits: u32| Duration::from_millis(u64::MAX >> bits.min(63));
    Ok(Plan {
        policy,
        slow_start: ms(bytes.int_in_range(0..=63)?),
        patience: ms(bytes.int_in_range(0..=63)?),
        overload,
        ..Plan::default()
    })
}

fuzz_target!(|input: &[u8]| {
    // What the pages show, and what happens.
    let (pages, steps) = input.split_at(input.len() / 4);
    let mut bytes = Unstructured::new(steps);
    let mut shell = Shell {
        dispatch: Dispatch::new(Config { window: 3, ..Config::default() }),
        pages: Pages(RefCell::new(pages), Cell::new(0)),
        now: Duration::ZERO,
        workers: BTreeMap::new(),
        listeners: BTreeMap::new(),
        inside: BTreeSet::new(),
        ids: 0,
    };
    while !bytes.is_empty() && shell.step(&mut bytes).is_ok() {}
    for worker in shell.workers.keys().copied().collect::<Vec<_>>() {
        shell.end(worker);
    }
    while let Some((listener, _)) = shell.listeners.pop_first() {
        shell.give(Input::ListenerRemoved { listener });
    }
    assert!(shell.inside.is_empty(), "{:?} are left in {:?}", shell.inside, shell.dispatch);
    assert_eq!(shell.dispatch.waiting(), 0);
});
