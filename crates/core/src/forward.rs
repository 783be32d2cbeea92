//! Assigns clients to workers that listen on their own ports, for one front: the state machine. [`relay`]
//! handles the bytes.
//!
//! - A client is connected to the next worker of the schedule. Until that succeeds nothing is read from the
//!   client, so a refusal by a worker loses nothing, and the next worker is tried.
//! - A worker that refuses *rests*, longer each time. A worker that refused its last connection, or has never
//!   been offered one, is offered one at a time: so a starting worker is found within
//!   [`Config::longest_rest`] after it listens, by one client that waits anyway.
//! - If no worker is ready, a few clients wait here, for at most [`Config::connect_timeout`], and the others
//!   in the backlog; if there is no worker at all, all of them wait in the backlog.
//! - A leaving worker gets nothing more. Its connections continue.
//! - Idle connections are ended, if configured.

mod members;
mod messages;
pub mod proxy;
pub mod relay;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};

use self::members::{Member, Seats};
pub use self::messages::{Activity, Config, ConnId, Input, Output, Reason, Refusal, Time};
use super::ids::WorkerId;
use super::schedule::{Home, Key, Policy, Schedule};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It waits for a worker.
    Waiting,
    /// A connection to this worker is being opened.
    Connecting(WorkerId),
    Open(WorkerId),
    HalfOpen(WorkerId),
}

#[derive(Debug)]
struct Conn {
    since: Time,
    key: Option<Key>,
    stage: Stage,
    /// When to check it, if it has a timer.
    alarm: Option<Time>,
}

/// The counters of one front.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Clients that connected.
    pub accepted: u64,
    /// How often a worker refused a client, which then went to another worker or waited.
    pub refusals: u64,
    /// Clients that no worker accepted in time.
    pub turned_away: u64,
    /// Connections that ended because they were idle.
    pub timed_out: u64,
}

/// The state machine of one front.
#[derive(Debug)]
pub struct Forward {
    config: Config,
    schedule: Schedule,
    /// In the order of their seats.
    members: Vec<Member>,
    /// Workers that get nothing more and still have connections. Not in any order.
    leaving: Vec<Member>,
    conns: HashMap<ConnId, Conn>,
    waiting: VecDeque<ConnId>,
    alarms: BTreeSet<(Time, ConnId)>,
    accepting: bool,
    /// Descriptors have run out: no connection is begun before this time.
    exhausted_until: Option<Time>,
    counters: Counters,
}

impl Forward {
    /// Creates a front without workers. It does not accept yet.
    #[must_use]
    pub fn new(config: Config, policy: Policy) -> Self {
        Self {
            config,
            schedule: Schedule::new(policy),
            members: Vec::new(),
            leaving: Vec::new(),
            conns: HashMap::new(),
            waiting: VecDeque::new(),
            alarms: BTreeSet::new(),
            accepting: false,
            exhausted_until: None,
            counters: Counters::default(),
        }
    }

    /// When to give [`Input::Tick`] if no other input comes earlier.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let rests = self.members.iter().filter_map(|member| member.rests_until).min();
        let rests = rests.filter(|_| !self.waiting.is_empty() && self.exhausted_until.is_none());
        let alarm = self.alarms.first().map(|(at, _)| *at);
        [self.exhausted_until, rests, alarm].into_iter().flatten().min()
    }

    /// The counters so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The number of clients that wait for a worker.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a client waits for a worker, or for its connection to one.
    #[must_use]
    pub fn has_unconnected(&self) -> bool {
        let members = self.members.iter().chain(&self.leaving);
        !self.waiting.is_empty() || members.map(|member| member.connecting).sum::<u32>() > 0
    }

    /// The number of connections, including waiting ones.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// The number of connections of each worker.
    pub fn loads(&self) -> impl Iterator<Item = (WorkerId, u32)> {
        self.members.iter().chain(&self.leaving).map(|member| (member.worker, member.open))
    }

    /// Processes an input. The outputs are appended to `out`; carry them all out, in order, before the next
    /// input.
    pub fn handle(&mut self, now: Time, input: Input, activity: &impl Activity, out: &mut Vec<Output>) {
        match input {
            Input::WorkerAdded { worker, slot } => {
                let seat = self.schedule.seat(self.members.len());
                self.members.insert(seat, Member::new(worker, slot));
            }
            Input::WorkerLeaving { worker } => self.unseat(worker),
            Input::WorkerExited { worker } => {
                self.unseat(worker);
                self.drop_idle_leaving();
            }
            Input::Accepted { conn, key } => self.accept(conn, key, now),
            Input::Exhausted => self.pause(now),
            Input::Connected { conn } => self.connected(conn, now),
            Input::Refused { conn, why } => self.refused(conn, why, now),
            Input::HalfClosed { conn } => self.half_closed(conn, now),
            Input::Ended { conn } => self.remove(conn),
            Input::Tick => self.on_time(now, activity, out),
        }
        self.dispatch_queue(now, out);
        self.regulate(out);
    }

    fn accept(&mut self, conn: ConnId, key: Option<Key>, now: Time) {
        self.counters.accepted += 1;
        self.conns.insert(conn, Conn { since: now, key, stage: Stage::Waiting, alarm: None });
        self.waiting.push_back(conn);
        self.set_alarm(conn, Some(now.saturating_add(self.config.connect_timeout)));
    }

    fn connected(&mut self, conn: ConnId, now: Time) {
        let Some(it) = self.conns.get_mut(&conn) else { return };
        let Stage::Connecting(worker) = it.stage else { return };
        it.stage = Stage::Open(worker);
        if let Some(member) = self.member(worker) {
            member.connecting -= 1;
            member.open += 1;
            member.took();
        }
        let alarm = self.config.idle_timeout.map(|idle| now.saturating_add(idle));
        self.set_alarm(conn, alarm);
    }

    fn refused(&mut self, conn: ConnId, why: Refusal, now: Time) {
        let Some(it) = self.conns.get_mut(&conn) else { return };
        let stage = std::mem::replace(&mut it.stage, Stage::Waiting);
        if matches!(stage, Stage::Open(_) | Stage::HalfOpen(_)) {
            // It was served in between, so its time to wait starts again.
            it.since = now;
        }
        let since = it.since;
        let config = self.config;
        let worker = match stage {
            Stage::Waiting => return,
            Stage::Connecting(worker) | Stage::Open(worker) | Stage::HalfOpen(worker) => worker,
        };
        if let Some(member) = self.member(worker) {
            let count =
                if matches!(stage, Stage::Connecting(_)) { &mut member.connecting } else { &mut member.open };
            *count -= 1;
            member.refused(why, now, &config);
        }
        self.drop_idle_leaving();
        if why == Refusal::Exhausted {
            self.pause(now);
        } else {
            self.counters.refusals += 1;
        }
        // It came before the clients that wait now.
        self.waiting.push_front(conn);
        self.set_alarm(conn, Some(since.saturating_add(config.connect_timeout)));
    }

    fn half_closed(&mut self, conn: ConnId, now: Time) {
        let Some(it) = self.conns.get_mut(&conn) else { return };
        let Stage::Open(worker) = it.stage else { return };
        it.stage = Stage::HalfOpen(worker);
        let limits = [self.config.half_open_timeout, self.config.idle_timeout];
        let limit = limits.into_iter().flatten().min();
        self.set_alarm(conn, limit.map(|limit| now.saturating_add(limit)));
    }

    fn remove(&mut self, conn: ConnId) {
        let Some(it) = self.conns.remove(&conn) else { return };
        if let Some(at) = it.alarm {
            self.alarms.remove(&(at, conn));
        }
        match it.stage {
            Stage::Waiting => self.waiting.retain(|other| *other != conn),
            Stage::Connecting(worker) => {
                if let Some(member) = self.member(worker) {
                    member.connecting -= 1;
                }
            }
            Stage::Open(worker) | Stage::HalfOpen(worker) => {
                if let Some(member) = self.member(worker) {
                    member.open -= 1;
                }
            }
        }
        self.drop_idle_leaving();
    }

    fn on_time(&mut self, now: Time, activity: &impl Activity, out: &mut Vec<Output>) {
        if self.exhausted_until.is_some_and(|until| until <= now) {
            self.exhausted_until = None;
        }
        while let Some(&(at, conn)) = self.alarms.first().filter(|(at, _)| *at <= now) {
            self.alarms.remove(&(at, conn));
            let Some(it) = self.conns.get_mut(&conn) else { continue };
            it.alarm = None;
            let (stage, since) = (it.stage, it.since);
            let limit = match stage {
                Stage::Waiting | Stage::Connecting(_) => {
                    if since.saturating_add(self.config.connect_timeout) <= now {
                        self.counters.turned_away += 1;
                        out.push(Output::Abort { conn, reason: Reason::NoWorker });
                        self.remove(conn);
                    } else {
                        // Only the time of one attempt is over, not the whole time to connect.
                        out.push(Output::GiveUp { conn });
                        self.refused(conn, Refusal::Saturated, now);
                    }
                    continue;
                }
                Stage::Open(_) => self.config.idle_timeout,
                Stage::HalfOpen(_) => {
                    [self.config.half_open_timeout, self.config.idle_timeout].into_iter().flatten().min()
                }
            };
            let Some(limit) = limit else { continue };
            let until = activity.last_moved(conn).saturating_add(limit);
            if until <= now {
                self.counters.timed_out += 1;
                out.push(Output::Abort { conn, reason: Reason::Idle });
                self.remove(conn);
            } else {
                self.set_alarm(conn, Some(until));
            }
        }
    }

    /// Offers the waiting clients to workers that are ready.
    fn dispatch_queue(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.exhausted_until.is_some_and(|until| until > now) {
            return;
        }
        for member in &mut self.members {
            member.on_time(now);
        }
        while let Some(&conn) = self.waiting.front() {
            let mut seats = Seats(&self.members);
            let key = self.conns.get(&conn).and_then(|it| it.key);
            let Some(seat) = self.schedule.choose(&mut seats, key.map(Home::Client), false) else { return };
            self.waiting.pop_front();
            let member = &mut self.members[seat];
            member.connecting += 1;
            let worker = member.worker;
            let Some(it) = self.conns.get_mut(&conn) else { continue };
            it.stage = Stage::Connecting(worker);
            let patience = now.saturating_add(self.config.attempt_timeout);
            let end = it.since.saturating_add(self.config.connect_timeout);
            self.set_alarm(conn, Some(patience.min(end)));
            out.push(Output::Connect { conn, worker });
        }
    }

    fn regulate(&mut self, out: &mut Vec<Output>) {
        let able = !self.members.is_empty()
            && self.exhausted_until.is_none()
            && self.waiting.len() < self.config.waiting_limit
            && self.config.max_connections.is_none_or(|max| self.conns.len() < max);
        if able != self.accepting {
            self.accepting = able;
            out.push(if able { Output::Resume } else { Output::Pause });
        }
    }

    fn pause(&mut self, now: Time) {
        self.exhausted_until = Some(now.saturating_add(self.config.exhausted_pause));
    }

    fn unseat(&mut self, worker: WorkerId) {
        let Some(seat) = self.members.iter().position(|member| member.worker == worker) else { return };
        self.schedule.vacate(seat);
        let member = self.members.remove(seat);
        if member.open + member.connecting > 0 {
            self.leaving.push(member);
        }
    }

    fn drop_idle_leaving(&mut self) {
        if !self.leaving.is_empty() {
            self.leaving.retain(|member| member.open + member.connecting > 0);
        }
    }

    fn member(&mut self, worker: WorkerId) -> Option<&mut Member> {
        self.members.iter_mut().chain(&mut self.leaving).find(|member| member.worker == worker)
    }

    fn set_alarm(&mut self, conn: ConnId, alarm: Option<Time>) {
        let Some(it) = self.conns.get_mut(&conn) else { return };
        let before = std::mem::replace(&mut it.alarm, alarm);
        if before == alarm {
            return;
        }
        if let Some(at) = before {
            self.alarms.remove(&(at, conn));
        }
        if let Some(at) = alarm {
            self.alarms.insert((at, conn));
        }
    }

    /// Checks the invariants.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check_invariants(&self, now: Time) {
        for (&conn, it) in &self.conns {
            assert_eq!(it.stage == Stage::Waiting, self.waiting.contains(&conn), "{conn:?}");
            assert!(it.alarm.is_none_or(|at| self.alarms.contains(&(at, conn))), "{conn:?} has an alarm");
            let watched = matches!(it.stage, Stage::Waiting | Stage::Connecting(_));
            assert!(!watched || it.alarm.is_some(), "{conn:?} would wait for ever");
        }
        assert_eq!(self.alarms.len(), self.conns.values().filter(|it| it.alarm.is_some()).count());
        for member in self.members.iter().chain(&self.leaving) {
            let count = |wanted: fn(Stage) -> Option<WorkerId>| {
                self.conns.values().filter(|it| wanted(it.stage) == Some(member.worker)).count()
            };
            let connecting = count(|stage| match stage {
                Stage::Connecting(worker) => Some(worker),
                _ => None,
            });
            let open = count(|stage| match stage {
                Stage::Open(worker) | Stage::HalfOpen(worker) => Some(worker),
                _ => None,
            });
            assert_eq!((member.connecting as usize, member.open as usize), (connecting, open), "{member:?}");
        }
        let exhausted = self.exhausted_until.is_some_and(|until| until > now);
        if !self.waiting.is_empty() && !exhausted {
            assert!(self.next_deadline().is_some(), "they are looked after");
            assert!(!self.members.iter().any(Member::is_ready), "somebody could have them");
        }
    }
}
