//! A simulated process.

use std::time::Duration;

use rcluster_core::control::supervise::{ExitKind, Time};
use rcluster_core::ids::Slot;

use rcluster_core::random::Random;

/// An action of a process, or something done to it, at a time of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Deed {
    Online,
    Listening,
    Ready,
    Exit(ExitKind),
    Throw,
    Leave,
    Block,
    /// Its stack has been captured.
    Stack,
}

/// The behaviour of a process, chosen at its start.
#[derive(Debug)]
pub(crate) struct Temper {
    /// Its actions, with their time after its start.
    pub(crate) plan: Vec<(Duration, Deed)>,
    /// How long it takes to drain; `None`: it never ends.
    pub(crate) drain: Option<Duration>,
    pub(crate) obeys_term: bool,
    /// Bytes per sample.
    pub(crate) leak: u64,
    pub(crate) clients: u64,
}

impl Temper {
    pub(crate) fn good(random: &mut Random) -> Self {
        let boot = random.ms(5, 200);
        let plan = vec![(boot / 2, Deed::Online), (boot, Deed::Listening), (boot, Deed::Ready)];
        let (leak, clients) = (0, random.below(3) as u64);
        Self { plan, drain: Some(random.ms(0, 100)), obeys_term: true, leak, clients }
    }

    pub(crate) fn any(random: &mut Random) -> Self {
        let mut temper = Self::good(random);
        temper.obeys_term = !random.one_in(4);
        if random.one_in(6) {
            temper.drain = None;
        }
        if random.one_in(3) {
            temper.leak = random.below(30) as u64;
        }
        match random.below(20) {
            0 | 1 => temper.plan = vec![(random.ms(0, 100), Deed::Exit(any_exit(random)))],
            2 => temper.plan.truncate(random.below(3)),
            3 => temper.plan.push((random.ms(0, 900), Deed::Exit(any_exit(random)))),
            4 => temper.plan.push((random.ms(0, 900), Deed::Throw)),
            5 => temper.plan.push((random.ms(0, 900), Deed::Leave)),
            6 => temper.plan.push((random.ms(0, 900), Deed::Block)),
            _ => {}
        }
        temper
    }
}

pub(crate) fn any_exit(random: &mut Random) -> ExitKind {
    match random.below(6) {
        0 => ExitKind::Signal(9),
        1 => ExitKind::Signal(11),
        2 => ExitKind::Code(0),
        3 => ExitKind::Code(7),
        _ => ExitKind::Code(1),
    }
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub(crate) struct Process {
    pub(crate) temper: Temper,
    /// `None` for a standby.
    pub(crate) slot: Option<Slot>,
    pub(crate) born: Time,
    /// The state machine knows of it.
    pub(crate) known: bool,
    pub(crate) ready: bool,
    /// When it reached the required stage.
    pub(crate) able: Option<Time>,
    pub(crate) was_standby: bool,
    /// The app has been told that it is ready.
    pub(crate) told_ready: bool,
    /// The exit code with which it ends after a drain.
    pub(crate) exit_code: i32,
    pub(crate) left: bool,
    pub(crate) blocked: Option<Time>,
    pub(crate) turns: u64,
    pub(crate) rss: u64,
    pub(crate) received: u64,
    /// What was done to it, and when.
    pub(crate) drained: Option<(Time, Duration)>,
    pub(crate) termed: Option<Time>,
    pub(crate) killed: Option<Time>,
    pub(crate) reclaimed: Option<Time>,
    /// It was cut off.
    pub(crate) cut: Option<Time>,
    /// It is the only one that serves its listener, as the state machine was told.
    pub(crate) alone: bool,
}

impl Process {
    pub(crate) fn new(temper: Temper, slot: Option<Slot>, born: Time) -> Self {
        Self {
            temper,
            slot,
            born,
            known: false,
            ready: false,
            able: None,
            was_standby: slot.is_none(),
            told_ready: false,
            exit_code: 0,
            left: false,
            blocked: None,
            turns: 0,
            rss: 50,
            received: 0,
            drained: None,
            termed: None,
            killed: None,
            reclaimed: None,
            cut: None,
            alone: false,
        }
    }

    /// Whether the state machine still counts it as serving.
    pub(crate) fn counts(&self) -> bool {
        self.known
            && self.drained.is_none()
            && self.termed.is_none()
            && self.killed.is_none()
            && self.reclaimed.is_none()
            && self.cut.is_none()
    }

    pub(crate) fn serves(&self) -> bool {
        self.ready && self.counts() && !self.left
    }
}
