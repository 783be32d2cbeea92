//! A server that implements the script in a few lines of Rust.

use std::collections::HashMap;

use rcluster_core::leases::{Answer, Ask, Operation};
use rcluster_core::random::Random;

const TURN: u64 = 500;

/// What the server stores for a name.
#[derive(Clone, Debug, Default)]
struct Kept {
    owner: Option<Owner>,
    until: u64,
    token: u64,
    ttl: u64,
    turn: Option<u64>,
    turn_until: u64,
    waiting: u64,
}

/// A machine, and its lease.
pub(crate) type Owner = (u64, u64);

/// The data with which a server comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    /// Everything that it has acknowledged.
    Whole,
    /// An earlier state, from a replica.
    Older,
    /// No data at all.
    Empty,
}

/// What is kept under each name.
type Names = HashMap<Vec<u8>, Kept>;

#[derive(Debug)]
pub(crate) struct Server {
    names: Names,
    /// The known run of the server, and since when it has been this one.
    known: Option<(u64, u64)>,
    /// The replica's copy of both.
    replica: (Names, Option<(u64, u64)>),
    run: u64,
    started: u64,
    /// Whether it was a replica before.
    was_replica: bool,
    /// The ms per second by which its clock is fast; may be negative.
    drift: i64,
    /// By how much its clock was set back, in ms.
    pub(crate) set_back: u64,
    pub(crate) is_up: bool,
    pub(crate) paused_until: u64,
}

impl Server {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            names: HashMap::new(),
            known: None,
            replica: Default::default(),
            run: 1,
            started: 0,
            was_replica: false,
            set_back: 0,
            drift: i64::from(random.number(0, 20)) - 10,
            is_up: true,
            paused_until: 0,
        }
    }

    fn now(&self, time: u64) -> u64 {
        let time = i64::try_from(time).unwrap();
        u64::try_from(1_700_000_000_000 + time + time * self.drift / 1000).unwrap() - self.set_back
    }

    pub(crate) fn replicate(&mut self) {
        self.replica = (self.names.clone(), self.known);
    }

    pub(crate) fn come_back(&mut self, how: Back, time: u64) {
        match how {
            Back::Whole => {}
            Back::Older => (self.names, self.known) = self.replica.clone(),
            Back::Empty => (self.names, self.known) = Default::default(),
        }
        self.replicate();
        self.run += 1;
        // A replica that takes over has been running for a long time.
        self.was_replica = how == Back::Older;
        self.started = if self.was_replica { 0 } else { time };
        self.is_up = true;
    }

    /// The answer, and whether a release is published.
    pub(crate) fn execute(&mut self, machine: u64, ask: &Ask, time: u64) -> (Answer, bool) {
        let now = self.now(time);
        let uptime = (time - self.started) / 1000 * 1000;
        let run = self.run;
        let ttl = u64::from(ask.ttl);
        let mut kept = self.names.get(&ask.name).cloned().unwrap_or_default();
        let longest = kept.ttl.max(ttl);
        let changed = match self.known {
            Some((known, changed)) if known == run => changed.min(now),
            None if !self.was_replica => now - uptime,
            Some(_) | None => now,
        };
        self.known = Some((run, changed));
        let ready = changed + longest;
        kept.until = kept.until.min(now + longest);
        kept.turn_until = kept.turn_until.min(now + longest + TURN);
        kept.waiting = kept.waiting.min(now + 2 * longest + TURN);
        if let Some(known) = self.names.get_mut(&ask.name) {
            known.clone_from(&kept);
        }
        let is_free = kept.owner.is_none() || kept.until <= now;
        let owner = (machine, ask.id.0);
        let is_mine = kept.owner == Some(owner);
        let (answer, tells, writes) = match ask.operation {
            Operation::Release => {
                if is_mine {
                    kept.owner = None;
                    kept.turn_until = now + TURN;
                }
                (Answer::Released, is_mine && kept.waiting > now, is_mine)
            }
            Operation::Renew
                if ((is_mine || is_free) && kept.token <= ask.token) || kept.token < ask.token =>
            {
                (kept.owner, kept.until, kept.token) = (Some(owner), now + ttl, ask.token);
                (Answer::Renewed, false, true)
            }
            Operation::Renew => (Answer::Lost, false, false),
            Operation::Acquire | Operation::Steal => {
                let steals = ask.operation == Operation::Steal;
                let mut wait = 0;
                if steals || is_mine {
                    // Nobody else is waited for.
                } else if !is_free {
                    wait = kept.until - now;
                } else if kept.turn.is_some_and(|turn| turn != machine) {
                    wait = kept.turn_until.saturating_sub(now);
                }
                wait = wait.max(ready.saturating_sub(now));
                if wait > 0 {
                    if kept.turn.is_none() || kept.turn_until <= now {
                        (kept.turn, kept.turn_until) = (Some(machine), now + wait + TURN);
                    }
                    kept.waiting = kept.waiting.max(now + wait + longest);
                    (Answer::Busy { wait }, false, true)
                } else {
                    kept.token = (kept.token + 1).max(now * 1000);
                    (kept.owner, kept.until) = (Some(owner), now + ttl);
                    kept.turn = kept.turn.filter(|turn| *turn != machine);
                    (Answer::Held { token: kept.token }, steals && !is_free && !is_mine, true)
                }
            }
        };
        if writes {
            kept.ttl = longest;
            self.names.insert(ask.name.clone(), kept);
        }
        (answer, tells)
    }
}
