//! Relays the bytes of one connection, from the client to the worker and back.
//!
//! The shell reads, writes and shuts down; this state machine decides the next step and processes its result.
//! Readiness is edge-triggered (an event says that there is something to read, not that there still is), so
//! nothing possible may be left undone: a relay that returns [`Step::Wait`] has used up all it knew of.
//!
//! Each direction ends by itself. The end is forwarded after all bytes have been, and the connection is over
//! after both directions have ended. A reset ends both at once.

/// One of the two ends of a forwarded connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client that connected to the primary.
    Client,
    /// The worker to which the primary connected.
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

/// The phase of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// More may come.
    Open,
    /// The source has ended; the sink has not been shut down yet.
    Ending,
    /// The sink has refused a byte: all further bytes are discarded.
    Void,
    /// Nothing more will come.
    Ended,
}

/// One direction, named after its source.
#[derive(Clone, Copy, Debug)]
struct Half {
    phase: Phase,
    /// The source may be readable.
    readable: bool,
    /// The sink may be writable.
    writable: bool,
    /// Bytes that were read and not yet written, because the sink had no room.
    held: usize,
    /// The source has reset the connection; there may still be bytes to read.
    reset: bool,
}

impl Half {
    const NEW: Self = Self { phase: Phase::Open, readable: false, writable: true, held: 0, reset: false };

    /// The next possible step of this direction.
    fn step(&self, from: Side) -> Option<Step> {
        match self.phase {
            Phase::Open | Phase::Ending if self.held > 0 => self.writable.then_some(Step::Flush { from }),
            // Nothing is read without room for it: this is the back pressure on a fast writer.
            Phase::Open => (self.readable && self.writable).then_some(Step::Move { from }),
            Phase::Ending => Some(Step::Finish { from }),
            Phase::Void => self.readable.then_some(Step::Discard { from }),
            Phase::Ended => None,
        }
    }
}

/// The next step. `from` names the direction by its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Read, write as much as possible, keep the rest: [`Relay::moved`], [`Relay::ended`], [`Relay::broke`],
    /// [`Relay::refused`].
    Move {
        /// The source.
        from: Side,
    },
    /// Write the held bytes: [`Relay::flushed`] or [`Relay::refused`].
    Flush {
        /// The source.
        from: Side,
    },
    /// Read and discard: [`Relay::moved`], [`Relay::ended`] or [`Relay::broke`].
    Discard {
        /// The source.
        from: Side,
    },
    /// Shut down writing on the other side: [`Relay::finished`].
    Finish {
        /// The source.
        from: Side,
    },
    /// Both directions have ended: close both sockets.
    Close,
    /// One side has reset the connection: reset the other side.
    Reset {
        /// The side that reset it.
        by: Side,
    },
    /// Wait for the next readiness event.
    Wait,
}

/// The result of moving bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// The number of bytes read.
    pub taken: usize,
    /// The number of these that were written. The rest is held, or discarded.
    pub passed: usize,
    /// The source is empty for now: an event will report when it is readable again.
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

    /// A side has become readable, or has an end or an error to report.
    pub fn readable(&mut self, side: Side) {
        self.half(side).readable = true;
    }

    /// A side has become writable, or has an error to report to the writer.
    pub fn writable(&mut self, side: Side) {
        self.half(side.other()).writable = true;
    }

    /// The next step.
    pub fn next(&self) -> Step {
        if let Some(by) = self.reset {
            return Step::Reset { by };
        }
        let over = |half: &Half| match half.phase {
            Phase::Ended => true,
            // Closing signals the end too.
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
            // A side that has reset the connection sends nothing more, and everything it had sent has been
            // forwarded.
            if half.reset {
                return Step::Reset { by: from };
            }
        }
        Step::Wait
    }

    /// Bytes were moved or discarded. If something was taken and not all of it passed on, the sink has no
    /// room.
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

    /// This many held bytes were written. If some are left, the sink has no room.
    pub fn flushed(&mut self, from: Side, passed: usize) {
        let half = self.half(from);
        half.held = half.held.saturating_sub(passed);
        if half.held > 0 {
            half.writable = false;
        }
    }

    /// A side has ended. A worker's end is forwarded to the client, so the client stays with this worker even
    /// if no byte has moved.
    pub fn ended(&mut self, from: Side) {
        self.touched |= from == Side::Worker;
        let half = self.half(from);
        half.readable = false;
        half.phase = match half.phase {
            Phase::Open | Phase::Ending => Phase::Ending,
            Phase::Void | Phase::Ended => Phase::Ended,
        };
    }

    /// The end was forwarded to the other side.
    pub fn finished(&mut self, from: Side) {
        self.half(from).phase = Phase::Ended;
    }

    /// Reading from a side has failed: it has reset the connection, or is lost.
    pub fn broke(&mut self, from: Side) {
        self.reset.get_or_insert(from);
    }

    /// Writing to the sink has failed. With `reset`, because it has reset the connection; without, because it
    /// has ended and accepts no more.
    pub fn refused(&mut self, from: Side, reset: bool) {
        let half = self.half(from);
        half.held = 0;
        half.phase = match half.phase {
            Phase::Open | Phase::Void => Phase::Void,
            Phase::Ending | Phase::Ended => Phase::Ended,
        };
        self.half(from.other()).reset |= reset;
    }

    /// Whether any byte has been read from either side, or the worker's end. Until then the client can still
    /// be moved to another worker: no worker has received a byte of it, and it has received nothing. After
    /// that it cannot: a second worker would execute a request whose response cannot be delivered.
    #[must_use]
    pub fn is_touched(&self) -> bool {
        self.touched
    }

    /// How many bytes from a side are held.
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

    /// Checks the invariants.
    ///
    /// # Panics
    /// If one is broken.
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
    fn a_side_that_has_ended_and_accepts_no_more_still_has_its_bytes_forwarded() {
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
    fn a_reset_follows_the_bytes_that_can_be_forwarded() {
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
    fn a_client_to_which_the_end_was_forwarded_stays_with_its_worker() {
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
