//! What the dispatcher knows about one worker.

use std::time::Duration;

use super::counts::Counts;
use super::{Board, Time};
use crate::ids::{ListenerId, Slot, WorkerId};
use crate::schedule::{ALWAYS_BUSY, BLOCKED};

/// How a worker stands with the dispatcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its loop turns, as far as anybody can tell.
    Turning,
    /// It has not touched its channel for too long. Until it does, or says that its loop turned, it gets
    /// nothing: it could not take it any earlier, and in our queue the connection is free for others.
    Blocked,
    /// Its channel refused a message. As blocked, except that the counter does not clear it: a worker
    /// which counts without receiving would have us try for ever. Only word from it, one try each.
    Choked,
    /// On its way out: gets nothing more, may still return connections.
    Leaving,
}

/// How many windows' worth of connections a worker may return at one go. A worker refuses a connection in
/// the turn of its loop in which it receives it, so a well-behaved one stays far below; and one that makes
/// connections up cannot flood the others with as many as it was sent in all its life.
const RETURNABLE_WINDOWS: u32 = 16;

/// How long a worker may leave something in its channel before its loop is taken for one that stands still, by
/// those policies that care. It is only preferred less; being mistaken costs little.
const BLOCKED_AFTER: Duration = Duration::from_millis(2);

/// How often the work of an event loop is measured, at the most.
const GAUGE_PERIOD: Duration = Duration::from_millis(50);

/// Over how long it is averaged. A loop tells of its work when that is over: just after a long piece of it the loop
/// is free, and must not look busier than one that has just begun with such a piece.
const GAUGE_MEMORY: Duration = Duration::from_millis(500);

/// How busy a loop has been lately.
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
    /// None once it leaves: it is free for the next.
    pub(super) slot: Option<Slot>,
    pub(super) counts: Counts,
    gauge: Gauge,
    pub(super) standing: Standing,
    /// The page's wake flag is set and has not been answered.
    pub(super) wake_asked: bool,
    /// The shell has been told to take its queue back and has not answered.
    pub(super) reclaiming: bool,
    /// How many of its listeners it shares with another worker. With none there is nobody to help out,
    /// and no point in watching it.
    pub(super) shared: u32,
    /// Connections sent and not known to be received. The counter is read only where it matters, so
    /// this is an upper bound.
    in_flight: u32,
    /// The highest count it has shown.
    seen: u64,
    /// Connections it was sent lately and may still return; a worker that returns more makes them up.
    returnable: u32,
    /// Connections it was sent that have not come back: it cannot hand over more.
    held: u64,
    /// The listeners that it was a member of when it began to leave.
    pub(super) left: Vec<ListenerId>,
    /// The open listeners at which it is a member or has been one: it may return connections of these.
    joined: Vec<ListenerId>,
    /// Since when it owes a sign of life: its last one, or the moment it was sent something to react to.
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

    /// Without taking note of it.
    pub(super) fn in_flight_now(&self, board: &impl Board) -> u32 {
        let received = board.received(self.id).saturating_sub(self.seen);
        self.in_flight.saturating_sub(u32::try_from(received).unwrap_or(u32::MAX))
    }

    /// Reads its counter. Only the difference to the last reading counts, and only as far as something
    /// is in flight: so a counter that jumps earns the worker no credit for later, and one that goes back
    /// makes it look blocked, which harms nobody else.
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

    /// How much of its time its loop is at work, in thousandths, or that it stands still.
    pub(super) fn utilisation(&mut self, now: Time, board: &impl Board) -> u32 {
        self.read(now, board);
        self.gauge(now, board)
    }

    /// The same, without taking note of what it has received.
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

    /// Whether it may be sent a connection. The counter is on a page that another CPU writes to, so it is
    /// read only when the answer would be no without it.
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

    /// Whether it would take one more if so many were in flight.
    pub(super) fn takes(&self, in_flight: u32, window: u32) -> bool {
        self.standing == Standing::Turning && in_flight < window
    }

    /// Whether it would be ready if only it received what it has been sent.
    pub(super) fn is_at_window(&self, window: u32) -> bool {
        self.standing == Standing::Turning && self.in_flight >= window
    }

    /// Whether it has nothing to do for us and is there to do it.
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

    /// Whether its loop has stopped with connections in its channel.
    pub(super) fn is_blocked_with_connections(&self) -> bool {
        self.is_suspended() && self.in_flight > 0
    }

    /// When it counts as blocked if it shows no sign of life until then.
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

    /// It accepts by itself from now on. Should its server turn out to be full with the first one, it returns a connection
    /// that we have not sent.
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

    /// Its channel has been emptied, and these were in it.
    pub(super) fn emptied(&mut self, count: usize) {
        self.reclaiming = false;
        self.missed(count);
        // What was not there it must have received, whether it has counted that or not: so a count that
        // has gone wrong is put right here. Only where nothing can have been sent in the meantime.
        if self.is_suspended() {
            self.in_flight = 0;
        }
    }

    /// It returns a connection. False if it cannot have had it from us.
    pub(super) fn returned(&mut self) -> bool {
        let genuine = self.returnable > 0;
        self.counts.returned += u64::from(genuine);
        self.held = self.held.saturating_sub(u64::from(genuine));
        self.returnable = self.returnable.saturating_sub(1);
        genuine
    }

    /// It hands a connection over. False if it cannot have had it from us. All that it has may come at one go: how fast
    /// is for the shell to say, and whoever makes connections up could as well open them.
    pub(super) fn handed_over(&mut self) -> bool {
        let genuine = self.held > 0;
        self.counts.handed_over += u64::from(genuine);
        self.held = self.held.saturating_sub(1);
        genuine
    }

    /// It listens here. That it stops is no reason to forget it: it may return connections later.
    pub(super) fn joined(&mut self, listener: ListenerId) {
        if !self.has_joined(listener) {
            self.joined.push(listener);
        }
    }

    pub(super) fn has_joined(&self, listener: ListenerId) -> bool {
        self.joined.contains(&listener)
    }

    /// The listener has closed.
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
