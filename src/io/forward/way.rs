//! One direction of a forwarded connection, moved by copying or through a pipe.

use std::os::fd::OwnedFd;

use super::tools::Tools;
use rcluster_core::forward::relay::{Moved, Relay, Side};
use rcluster_sys::stream::{self, Pipe, Transfer};

/// The number of consecutive large reads after which a pipe is worthwhile. A short exchange is cheaper to
/// copy.
const BULK: u8 = 2;

/// The minimum size of a large read.
const LARGE: usize = 64 * 1024;

/// Bytes that wait for room.
enum Held {
    Nothing,
    Bytes { bytes: Vec<u8>, from: usize },
    Piped(Pipe),
}

/// One direction.
pub(super) struct Way {
    /// Whether a pipe may be used. Not for a Unix socket: its pages are used once and freed, and a buffer
    /// that stays in the cache is faster by a third.
    by_pipe: bool,
    held: Held,
    /// The number of consecutive large reads.
    large_reads: u8,
    /// Whether the poller has reported the end of the source. It must then be read to the end, because no
    /// more events follow.
    end_announced: bool,
    /// Whether the sink is watched for room.
    wants_room: bool,
}

/// Both ends of one direction, and the relay to be updated.
pub(super) struct Ends<'conn> {
    pub(super) from: Side,
    pub(super) source: &'conn OwnedFd,
    pub(super) sink: &'conn OwnedFd,
    pub(super) relay: &'conn mut Relay,
}

impl Way {
    pub(super) const fn new(by_pipe: bool) -> Self {
        Self { by_pipe, held: Held::Nothing, large_reads: 0, end_announced: false, wants_room: false }
    }

    /// Restarts for another sink: nothing is held, and the source is unchanged.
    pub(super) fn begin_again(&mut self) {
        *self = Self { end_announced: self.end_announced, ..Self::new(self.by_pipe) };
    }

    pub(super) fn announce_end(&mut self) {
        self.end_announced = true;
    }

    /// Starts watching the sink for room. Returns false if it is watched already.
    pub(super) fn is_newly_wanting_room(&mut self) -> bool {
        !std::mem::replace(&mut self.wants_room, true)
    }

    /// Moves the bytes of one read.
    pub(super) fn move_some(&mut self, ends: Ends<'_>, tools: &mut Tools) {
        let pipe = if self.by_pipe && self.large_reads >= BULK { tools.take_pipe() } else { None };
        match pipe {
            Some(pipe) => self.splice(ends, pipe, tools),
            None => self.copy(ends, tools),
        }
    }

    fn copy(&mut self, ends: Ends<'_>, tools: &mut Tools) {
        let Ends { from, source, sink, relay } = ends;
        let taken = match stream::read(source, tools.buffer()) {
            Transfer::Done(0) => return relay.ended(from),
            Transfer::Done(taken) => taken,
            Transfer::Blocked => {
                return relay.moved(from, Moved { drained: true, ..Moved::default() });
            }
            Transfer::Broken { .. } => return relay.broke(from),
        };
        let full = taken == tools.buffer().len();
        self.large_reads = if taken >= LARGE { self.large_reads.saturating_add(1) } else { 0 };
        let passed = match stream::write(sink, &tools.buffer()[..taken]) {
            Transfer::Done(passed) => passed,
            Transfer::Blocked => 0,
            Transfer::Broken { reset } => {
                relay.moved(from, Moved { taken, passed: taken, drained: false });
                return relay.refused(from, reset);
            }
        };
        if passed < taken {
            self.held = Held::Bytes { bytes: tools.buffer()[passed..taken].to_vec(), from: 0 };
        }
        // A stream that returned less than there was room for is drained. Only the end brings no event of its
        // own, if it was reported together with these bytes.
        relay.moved(from, Moved { taken, passed, drained: !full && !self.end_announced });
    }

    fn splice(&mut self, ends: Ends<'_>, pipe: Pipe, tools: &mut Tools) {
        let Ends { from, source, sink, relay } = ends;
        let taken = match pipe.fill(source) {
            Transfer::Done(0) => {
                tools.keep_pipe(pipe);
                return relay.ended(from);
            }
            Transfer::Done(taken) => taken,
            Transfer::Blocked => {
                tools.keep_pipe(pipe);
                return relay.moved(from, Moved { drained: true, ..Moved::default() });
            }
            Transfer::Broken { .. } => return relay.broke(from),
        };
        if taken < LARGE / 2 {
            self.large_reads = 0;
        }
        let passed = match pipe.empty(sink, taken) {
            Transfer::Done(passed) => passed,
            Transfer::Blocked => 0,
            Transfer::Broken { reset } => {
                relay.moved(from, Moved { taken, passed: taken, drained: false });
                return relay.refused(from, reset);
            }
        };
        if passed < taken {
            self.held = Held::Piped(pipe);
        } else {
            tools.keep_pipe(pipe);
        }
        relay.moved(from, Moved { taken, passed, drained: false });
    }

    /// Passes on what is held.
    pub(super) fn flush(&mut self, ends: Ends<'_>, tools: &mut Tools) {
        let Ends { from, sink, relay, .. } = ends;
        let count = relay.held(from);
        let transfer = match &mut self.held {
            Held::Nothing => Transfer::Done(0),
            Held::Bytes { bytes, from } => {
                let transfer = stream::write(sink, &bytes[*from..]);
                if let Transfer::Done(passed) = transfer {
                    *from += passed;
                }
                transfer
            }
            Held::Piped(pipe) => pipe.empty(sink, count),
        };
        match transfer {
            Transfer::Done(passed) => relay.flushed(from, passed),
            Transfer::Blocked => relay.flushed(from, 0),
            Transfer::Broken { reset } => {
                self.held = Held::Nothing;
                return relay.refused(from, reset);
            }
        }
        if relay.held(from) == 0
            && let Held::Piped(pipe) = std::mem::replace(&mut self.held, Held::Nothing)
        {
            tools.keep_pipe(pipe);
        }
    }

    /// Reads and discards.
    pub(super) fn discard(ends: Ends<'_>, tools: &mut Tools) {
        let Ends { from, source, relay, .. } = ends;
        match stream::read(source, tools.buffer()) {
            Transfer::Done(0) => relay.ended(from),
            Transfer::Done(taken) => relay.moved(from, Moved { taken, ..Moved::default() }),
            Transfer::Blocked => relay.moved(from, Moved { drained: true, ..Moved::default() }),
            Transfer::Broken { .. } => relay.broke(from),
        }
    }
}
