//! The bytes of one connection: from the client to the worker and back.
//!
//! The shell reads, writes and shuts down; what it should do next, and what follows from what came of
//! it, is decided here. Readiness is told by edges (it is news that there is something to read, not that
//! there still is), so nothing may be left undone that can be done: a relay that says [`Step::Wait`] has
//! used up all it knew of.
//!
//! Each direction ends by itself. Only when all bytes have been passed on is the end passed on, and
//! only when both directions have ended is the connection over. A reset ends both at once.

/// One of the two ends of a forwarded connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who connected to the primary.
    Client,
    /// Whom the primary connected to.
    Worker,
}

impl Side {
    /// The opposite side.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Worker,
            Self::Worker => Self::Client,
        }
    }
}

/// How far a direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// More may come.
    Open,
    /// The source has ended; the sink does not know yet.
    Ending,
    /// The sink has refused a byte: whatever still comes is thrown away.
    Void,
    /// Over.
    Ended,
}

/// One direction, named by where its bytes come from.
#[derive(Clone, Copy, Debug)]
struct Half {
    phase: Phase,
    /// The source may have something.
    readable: bool,
    /// The sink may have room.
    writable: bool,
    /// Bytes that were read and that the sink had no room for.
    held: usize,
    /// The source has reset the connection; it may have left something to be read.
    reset: bool,
}

impl Half {
    const NEW: Self = Self { phase: Phase::Open, readable: false, writable: true, held: 0, reset: false };

    /// What this direction can do now.
    fn step(&self, from: Side) -> Option<Step> {
        match self.phase {
            Phase::Open | Phase::Ending if self.held > 0 => self.writable.then_some(Step::Flush { from }),
            // Nothing is read for which there is no room: that is how a slow reader slows the writer down.
            Phase::Open => (self.readable && self.writable).then_some(Step::Move { from }),
            Phase::Ending => Some(Step::Finish { from }),
            Phase::Void => self.readable.then_some(Step::Discard { from }),
            Phase::Ended => None,
        }
    }
}

/// What to do next. `from` names the direction by its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Read what there is, write what goes, keep the rest: [`Relay::moved`], [`Relay::ended`],
    /// [`Relay::broke`], [`Relay::refused`].
    Move {
        /// The source.
        from: Side,
    },
    /// Write what is held: [`Relay::flushed`] or [`Relay::refused`].
    Flush {
        /// The source.
        from: Side,
    },
    /// Read and throw away: [`Relay::moved`], [`Relay::ended`] or [`Relay::broke`].
    Discard {
        /// The source.
        from: Side,
    },
    /// Tell the other side that nothing more comes: [`Relay::finished`].
    Finish {
        /// The source.
        from: Side,
    },
    /// All is said, by both: close both.
    Close,
    /// Somebody has reset the connection: reset the other side, too.
    Reset {
        /// Who did.
        by: Side,
    },
    /// Nothing until there is news.
    Wait,
}

/// What came of moving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Bytes that were read.
    pub taken: usize,
    /// Bytes of these that were written. The rest is held; or thrown away, when discarding.
    pub passed: usize,
    /// The source has no more for now: there will be news when it has.
    pub drained: bool,
}

/// The two directions of a connection.
#[derive(Clone, Debug)]
pub struct Relay {
    client: Half,
    worker: Half,
    touched: bool,
    reset: Option<Side>,
}

impl Default for Relay {
    fn default() -> Self {
        Self { client: Half::NEW, worker: Half::NEW, touched: false, reset: None }
    }
}

impl Relay {
    fn half(&mut self, from: Side) -> &mut Half {
        match from {
            Side::Client => &mut self.client,
            Side::Worker => &mut self.worker,
        }
    }

    /// News: there is something to be read from a side, be it an end or an error.
    pub fn readable(&mut self, side: Side) {
        self.half(side).readable = true;
    }

    /// News: a side has room again, or an error to tell to who writes.
    pub fn writable(&mut self, side: Side) {
        self.half(side.other()).writable = true;
    }

    /// What to do now.
    pub fn next(&self) -> Step {
        if let Some(by) = self.reset {
            return Step::Reset { by };
        }
        let over = |half: &Half| match half.phase {
            Phase::Ended => true,
            // Closing says it as well.
            Phase::Ending => half.held == 0,
            Phase::Open | Phase::Void => false,
        };
        if over(&self.client) && over(&self.worker) {
            return Step::Close;
        }
        for (half, from) in [(&self.worker, Side::Worker), (&self.client, Side::Client)] {
            if let Some(step) = half.step(from) {
                return step;
            }
            // Who has reset the connection sends nothing more. What can be passed on has been.
            if half.reset {
                return Step::Reset { by: from };
            }
        }
        Step::Wait
    }

    /// Bytes have been moved, or thrown away. With something taken and not all of it passed, the sink
    /// is known to have no room.
    pub fn moved(&mut self, from: Side, moved: Moved) {
        let half = self.half(from);
        if moved.drained {
            half.readable = false;
        }
        if half.phase == Phase::Void {
            return;
        }
        let left = moved.taken.saturating_sub(moved.passed);
        if left > 0 {
            half.held += left;
            half.writable = false;
        }
        self.touched |= moved.taken > 0;
    }

    /// So many of the bytes that were held have been written. With some left, the sink has no room.
    pub fn flushed(&mut self, from: Side, passed: usize) {
        let half = self.half(from);
        half.held = half.held.saturating_sub(passed);
        if half.held > 0 {
            half.writable = false;
        }
    }

    /// A side has said that nothing more comes from it. A worker's end is passed on to the client, so the client stays
    /// with this worker even if no byte has moved.
    pub fn ended(&mut self, from: Side) {
        self.touched |= from == Side::Worker;
        let half = self.half(from);
        half.readable = false;
        half.phase = match half.phase {
            Phase::Open | Phase::Ending => Phase::Ending,
            Phase::Void | Phase::Ended => Phase::Ended,
        };
    }

    /// The other side has been told so.
    pub fn finished(&mut self, from: Side) {
        self.half(from).phase = Phase::Ended;
    }

    /// Reading from a side has failed: it has reset the connection, or is lost.
    pub fn broke(&mut self, from: Side) {
        self.reset.get_or_insert(from);
    }

    /// Writing what came from a side to the other one has failed. With `reset`, because the other one
    /// has reset the connection; without, because it has ended and wants no more.
    pub fn refused(&mut self, from: Side, reset: bool) {
        let half = self.half(from);
        half.held = 0;
        half.phase = match half.phase {
            Phase::Open | Phase::Void => Phase::Void,
            Phase::Ending | Phase::Ended => Phase::Ended,
        };
        self.half(from.other()).reset |= reset;
    }

    /// Whether any byte has been read from either side, or the worker's end. Until then the client can still be given
    /// to another worker: none has a byte of it, and it has been told nothing. After that it cannot: a second worker
    /// would execute a request whose answer has nowhere to go.
    #[must_use]
    pub fn is_touched(&self) -> bool {
        self.touched
    }

    /// How many bytes from a side wait for room.
    #[must_use]
    pub fn held(&self, from: Side) -> usize {
        match from {
            Side::Client => self.client.held,
            Side::Worker => self.worker.held,
        }
    }

    /// Whether one direction has ended and the other has not.
    #[must_use]
    pub fn is_half_open(&self) -> bool {
        let over = |half: &Half| half.phase != Phase::Open;
        over(&self.client) || over(&self.worker)
    }

    /// Checks that what is known can be.
    ///
    /// # Panics
    /// If it cannot.
    pub fn check_invariants(&self) {
        for half in [&self.client, &self.worker] {
            assert!(half.held == 0 || matches!(half.phase, Phase::Open | Phase::Ending), "{self:?}");
            assert!(half.phase != Phase::Ending || !half.readable || half.held > 0, "{self:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Side::{Client, Worker};

    fn relay() -> Relay {
        Relay::default()
    }

    fn taken(taken: usize, passed: usize) -> Moved {
        Moved { taken, passed, drained: true }
    }

    #[test]
    fn a_request_and_its_answer() {
        let mut it = relay();
        assert_eq!(it.next(), Step::Wait);
        it.readable(Client);
        assert_eq!(it.next(), Step::Move { from: Client });
        it.moved(Client, taken(10, 10));
        assert_eq!(it.next(), Step::Wait);
        it.readable(Worker);
        assert_eq!(it.next(), Step::Move { from: Worker });
        it.moved(Worker, Moved { taken: 5, passed: 5, drained: false });
        assert_eq!(it.next(), Step::Move { from: Worker }, "there may be more");
        it.ended(Worker);
        assert_eq!(it.next(), Step::Finish { from: Worker });
        it.finished(Worker);
        assert_eq!(it.next(), Step::Wait, "the client may go on");
        it.readable(Client);
        it.ended(Client);
        assert_eq!(it.next(), Step::Close, "closing tells the worker");
    }

    #[test]
    fn the_end_waits_for_the_bytes_before_it() {
        let mut it = relay();
        it.readable(Client);
        it.moved(Client, Moved { taken: 10, passed: 4, drained: false });
        assert_eq!((it.next(), it.held(Client)), (Step::Wait, 6), "no room, so nothing more is read");
        it.writable(Worker);
        assert_eq!(it.next(), Step::Flush { from: Client });
        it.flushed(Client, 5);
        assert_eq!(it.next(), Step::Wait);
        it.writable(Worker);
        it.flushed(Client, 1);
        assert_eq!(it.next(), Step::Move { from: Client }, "what was there before has not been read");
        it.ended(Client);
        assert_eq!(it.next(), Step::Finish { from: Client });
    }

    #[test]
    fn who_has_ended_and_takes_no_more_is_not_lost_with_what_it_said() {
        let mut it = relay();
        it.readable(Client);
        it.readable(Worker);
        it.refused(Client, false);
        assert_eq!(it.next(), Step::Move { from: Worker }, "the worker's answer is still there");
        it.moved(Worker, taken(7, 7));
        assert_eq!(it.next(), Step::Discard { from: Client });
        it.moved(Client, taken(100, 0));
        assert_eq!(it.held(Client), 0);
        it.readable(Worker);
        it.ended(Worker);
        assert_eq!(it.next(), Step::Finish { from: Worker });
        it.finished(Worker);
        it.readable(Client);
        it.ended(Client);
        assert_eq!(it.next(), Step::Close);
    }

    #[test]
    fn a_reset_comes_behind_what_can_be_passed_on() {
        let mut it = relay();
        it.readable(Client);
        it.readable(Worker);
        it.refused(Client, true);
        assert_eq!(it.next(), Step::Move { from: Worker });
        it.moved(Worker, taken(7, 7));
        assert_eq!(it.next(), Step::Reset { by: Worker });
    }

    #[test]
    fn a_reset_ends_both() {
        let mut it = relay();
        it.readable(Worker);
        it.moved(Worker, taken(9, 3));
        it.readable(Client);
        it.broke(Client);
        assert_eq!(it.next(), Step::Reset { by: Client });
        assert!(it.is_touched());
        let mut it = relay();
        it.readable(Worker);
        it.broke(Worker);
        assert!(!it.is_touched(), "another worker may have the client");
    }

    #[test]
    fn a_client_that_is_told_an_end_stays_with_its_worker() {
        let mut it = relay();
        it.readable(Worker);
        it.ended(Worker);
        assert!(it.is_touched(), "the client is told so");
        let mut it = relay();
        it.readable(Client);
        it.ended(Client);
        assert!(!it.is_touched(), "the end of a client can be read again for another worker");
    }
}
