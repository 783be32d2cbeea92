//! What the dispatcher knows about one worker.

use std::time::Duration;

use super::counts::Counts;
use super::{Board, Time};
use crate::ids::{ListenerId, Slot, WorkerId};
use crate::schedule::{ALWAYS_BUSY, BLOCKED};

/// The state of a worker, as the dispatcher sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its loop turns, as far as known.
    Turning,
    /// It has not received from its channel for too long. It gets nothing until it does, or reports a turn of
    /// its loop: it could not receive a connection earlier, and in the queue the connection is available to
    /// others.
    Blocked,
    /// Its channel refused a message. Like blocked, but its counter does not end this state: a worker that
    /// counts without receiving would cause endless attempts. Each report of a turn allows one attempt.
    Choked,
    /// It is leaving: it gets nothing more, and may still return connections.
    Leaving,
}

/// How many windows of connections a worker may return at once. A worker returns a connection in the turn of
/// its loop in which it received it, so a correct worker stays far below the limit; and a worker that invents
/// connections cannot flood the others with as many as it was ever sent.
const RETURNABLE_WINDOWS: u32 = 16;

/// How long a worker may leave something in its channel before policies that measure load treat its loop as
/// blocked. It is then only less preferred, so a mistake costs little.
const BLOCKED_AFTER: Duration = Duration::from_millis(2);

/// The shortest interval between two measurements of an event loop.
const GAUGE_PERIOD: Duration = Duration::from_millis(50);

/// The time constant of the average. A loop reports its work only when the work is over: just after a long
/// piece of work the loop is free, and must not look busier than a loop that has just begun one.
const GAUGE_MEMORY: Duration = Duration::from_millis(500);

/// How busy a loop has been recently.
#[derive(Debug)]
struct Gauge {
    since: Time,
    busy: Duration,
    /// In thousandths; a moving average.
    utilisation: u32,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    /// None once it is leaving: the slot is free for its replacement.
    pub(super) slot: Option<Slot>,
    pub(super) counts: Counts,
    gauge: Gauge,
    pub(super) standing: Standing,
    /// The wake flag on its page is set and has not been answered.
    pub(super) wake_asked: bool,
    /// The shell was told to reclaim from its channel and has not answered.
    pub(super) reclaiming: bool,
    /// When the rest is reclaimed, if not everything could be.
    pub(super) reclaim_again_at: Option<Time>,
    /// How many of its listeners it shares with another worker. If none, no other worker could help, and it
    /// need not be watched.
    pub(super) shared: u32,
    /// Connections sent and not known to be received. The counter is read only where it matters, so this is
    /// an upper bound.
    in_flight: u32,
    /// The highest value of its counter seen.
    seen: u64,
    /// Connections that it was sent recently and may still return; further ones are refused.
    returnable: u32,
    /// Connections that it was sent and has not returned: it cannot hand over more.
    held: u64,
    /// The listeners of which it was a member when it began to leave.
    pub(super) left: Vec<ListenerId>,
    /// The open listeners of which it is or has been a member: it may return their connections.
    joined: Vec<ListenerId>,
    /// The start of the period in which it must show activity: the last activity, or when it was sent
    /// something.
    since: Time,
}

impl Worker {
    pub(super) fn new(id: WorkerId, slot: Slot, now: Time, board: &impl Board) -> Self {
        Self {
            id,
            slot: Some(slot),
            counts: Counts::default(),
            gauge: Gauge { since: now, busy: board.busy(id), utilisation: 0 },
            standing: Standing::Turning,
            wake_asked: false,
            reclaiming: false,
            reclaim_again_at: None,
            shared: 0,
            in_flight: 0,
            seen: board.received(id),
            returnable: 0,
            held: 0,
            left: Vec::new(),
            joined: Vec::new(),
            since: now,
        }
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Computed without updating the state.
    pub(super) fn in_flight_now(&self, board: &impl Board) -> u32 {
        let received = board.received(self.id).saturating_sub(self.seen);
        self.in_flight.saturating_sub(u32::try_from(received).unwrap_or(u32::MAX))
    }

    /// Reads its counter. Only the difference to the last reading counts, and at most what is in flight: so a
    /// counter that jumps gives the worker no credit for later, and one that goes back makes it look blocked,
    /// which harms no other worker.
    pub(super) fn read(&mut self, now: Time, board: &impl Board) {
        let count = board.received(self.id);
        if count <= self.seen {
            return;
        }
        let received = u32::try_from(count - self.seen).unwrap_or(u32::MAX);
        self.in_flight = self.in_flight.saturating_sub(received);
        self.seen = count;
        self.since = now;
        if self.standing == Standing::Blocked {
            self.standing = Standing::Turning;
        }
    }

    /// How busy its loop is, in thousandths, or `BLOCKED`.
    pub(super) fn utilisation(&mut self, now: Time, board: &impl Board) -> u32 {
        self.read(now, board);
        self.gauge(now, board)
    }

    /// Like `utilisation`, without updating what it has received.
    pub(super) fn gauge(&mut self, now: Time, board: &impl Board) -> u32 {
        let untouched = self.in_flight > 0 && board.received(self.id) <= self.seen;
        if untouched && now >= self.since.saturating_add(BLOCKED_AFTER) {
            return BLOCKED;
        }
        let period = now.saturating_sub(self.gauge.since);
        if period >= GAUGE_PERIOD {
            let busy = board.busy(self.id);
            let share = busy.saturating_sub(self.gauge.busy).as_micros() * u128::from(ALWAYS_BUSY)
                / period.as_micros();
            let share = share.min(u128::from(ALWAYS_BUSY));
            let (fresh, memory) = (period.min(GAUGE_MEMORY).as_micros(), GAUGE_MEMORY.as_micros());
            let average = (u128::from(self.gauge.utilisation) * (memory - fresh) + share * fresh) / memory;
            let utilisation = u32::try_from(average).unwrap_or(ALWAYS_BUSY);
            self.gauge = Gauge { since: now, busy, utilisation };
        }
        self.gauge.utilisation
    }

    /// Whether a connection may be sent to it. The counter is on a page that another CPU writes, so it is
    /// read only if the answer would be no without it.
    pub(super) fn is_ready(&mut self, window: u32, now: Time, board: &impl Board) -> bool {
        if self.has_room(window) {
            return true;
        }
        self.read(now, board);
        self.has_room(window)
    }

    fn has_room(&self, window: u32) -> bool {
        self.takes(self.in_flight, window)
    }

    /// Whether it would take one more connection with this many in flight.
    pub(super) fn takes(&self, in_flight: u32, window: u32) -> bool {
        self.standing == Standing::Turning && in_flight < window
    }

    /// Whether it would be ready if it received what it has been sent.
    pub(super) fn is_at_window(&self, window: u32) -> bool {
        self.standing == Standing::Turning && self.in_flight >= window
    }

    /// Whether it is idle and its loop turns.
    pub(super) fn is_idle(&mut self, now: Time, board: &impl Board) -> bool {
        if self.in_flight > 0 {
            self.read(now, board);
        }
        self.standing == Standing::Turning && self.in_flight == 0
    }

    /// Whether it gets nothing until its loop turns.
    pub(super) fn is_suspended(&self) -> bool {
        matches!(self.standing, Standing::Blocked | Standing::Choked)
    }

    /// Whether its loop is blocked with connections in its channel.
    pub(super) fn is_blocked_with_connections(&self) -> bool {
        self.is_suspended() && self.in_flight > 0
    }

    /// When it counts as blocked if it shows no activity until then.
    pub(super) fn deadline(&self, blocked_after: Duration) -> Option<Time> {
        let watched = self.standing == Standing::Turning && self.in_flight > 0 && self.shared > 0;
        watched.then(|| self.since.saturating_add(blocked_after))
    }

    pub(super) fn sent(&mut self, window: u32, now: Time) {
        if self.in_flight == 0 {
            self.since = now;
        }
        self.in_flight += 1;
        self.held += 1;
        self.counts.passed += 1;
        self.returnable = window.saturating_mul(RETURNABLE_WINDOWS).min(self.returnable.saturating_add(1));
    }

    /// It accepts by itself again. If its server is already full with the first connection, it returns a
    /// connection that the dispatcher has not sent.
    pub(super) fn accepts_again(&mut self) {
        self.returnable = self.returnable.saturating_add(1);
    }

    /// `count` connections never reached it: they did not fit into its channel, or were reclaimed.
    pub(super) fn missed(&mut self, count: usize) {
        self.counts.reclaimed += count as u64;
        self.held = self.held.saturating_sub(count as u64);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.in_flight = self.in_flight.saturating_sub(count);
        self.returnable = self.returnable.saturating_sub(count);
    }

    /// `count` connections in its channel were reclaimed. If more are left there, they can be reclaimed later.
    pub(super) fn reclaimed(&mut self, count: usize, reclaim_again_at: Option<Time>) {
        self.reclaiming = false;
        self.reclaim_again_at = reclaim_again_at;
        self.missed(count);
        // If none is left, it must have received everything else, whether it has counted that or not: so a wrong
        // count is corrected here. Only where nothing can have been sent in the meantime.
        if reclaim_again_at.is_none() && self.is_suspended() {
            self.in_flight = 0;
        }
    }

    /// Whether nothing is to be reclaimed from it now: that is under way, or was not possible.
    pub(super) fn rests_from_reclaiming(&self, now: Time) -> bool {
        self.reclaiming || self.reclaim_again_at.is_some_and(|at| at > now)
    }

    /// It returns a connection. False if the dispatcher cannot have sent it.
    pub(super) fn returned(&mut self) -> bool {
        let genuine = self.returnable > 0;
        self.counts.returned += u64::from(genuine);
        self.held = self.held.saturating_sub(u64::from(genuine));
        self.returnable = self.returnable.saturating_sub(1);
        genuine
    }

    /// It hands over a connection. False if the dispatcher cannot have sent it. The rate is not limited here:
    /// the shell does that, and a worker that invents connections could just as well open them.
    pub(super) fn handed_over(&mut self) -> bool {
        let genuine = self.held > 0;
        self.counts.handed_over += u64::from(genuine);
        self.held = self.held.saturating_sub(1);
        genuine
    }

    /// It listens on this listener. The listener is remembered when it leaves, because it may return
    /// connections later.
    pub(super) fn joined(&mut self, listener: ListenerId) {
        if !self.has_joined(listener) {
            self.joined.push(listener);
        }
    }

    pub(super) fn has_joined(&self, listener: ListenerId) -> bool {
        self.joined.contains(&listener)
    }

    /// The listener is closed.
    pub(super) fn forget(&mut self, listener: ListenerId) {
        self.joined.retain(|joined| *joined != listener);
    }

    pub(super) fn woke(&mut self, now: Time) {
        self.wake_asked = false;
        self.since = now;
        if self.standing != Standing::Leaving {
            self.standing = Standing::Turning;
        }
    }
}
