//! One forwarded connection: carries out what its [`Relay`] says.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::token::Token;
use super::{FrontAddress, FrontOptions};
use rcluster_core::forward::ConnId;
use rcluster_core::forward::relay::{Moved, Relay, Side, Step};
use rcluster_core::ids::WorkerId;
use rcluster_sys::epoll::{Interest, Poller};
use rcluster_sys::error::SysError;
use rcluster_sys::headroom::room_for_clients;
use rcluster_sys::stream::{self, Pipe, Transfer};

/// What one read takes at the most, when bytes are copied: all that a unix socket holds, so that its writer is
/// woken once for all of it.
const BUFFER: usize = 256 * 1024;

/// What a pipe holds.
const PIPE: usize = 256 * 1024;

/// How many pipes that are not in use are kept.
const SPARE_PIPES: usize = 16;

/// After so many large reads in a row a stream is worth a pipe. A short exchange is cheaper to copy.
const BULK: u8 = 2;

/// What a large read brings.
const LARGE: usize = 64 * 1024;

/// How much one connection may do before the others have their turn.
const STEPS: usize = 16;

/// What all connections share.
pub(super) struct Tools {
    pub(super) poller: Poller,
    buffer: Box<[u8]>,
    pipes: Vec<Pipe>,
    /// None could be made lately: bytes are copied until this time.
    no_pipes_until: Duration,
    pub(super) now: Duration,
}

impl Tools {
    pub(super) fn new(poller: Poller) -> Self {
        Self {
            poller,
            buffer: vec![0; BUFFER].into(),
            pipes: Vec::new(),
            no_pipes_until: Duration::ZERO,
            now: Duration::ZERO,
        }
    }

    /// None when the system has none: copying works as well, only slower.
    fn take_pipe(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.pipes.pop() {
            return Some(pipe);
        }
        if self.now < self.no_pipes_until {
            return None;
        }
        let pipe = room_for_clients(2).and_then(|()| Pipe::new(PIPE)).ok();
        if pipe.is_none() {
            self.no_pipes_until = self.now + Duration::from_secs(1);
        }
        pipe
    }

    /// Only an empty one may be given back.
    fn give_back(&mut self, pipe: Pipe) {
        if self.pipes.len() < SPARE_PIPES {
            self.pipes.push(pipe);
        }
    }
}

/// Bytes that wait for room.
enum Held {
    Nothing,
    Bytes { bytes: Vec<u8>, from: usize },
    Piped(Pipe),
}

/// What goes one way.
struct Way {
    /// Its bytes may go through a pipe. What comes from a unix socket had better not: its pages are used once
    /// and thrown away, and a buffer that stays in the cache is quicker by a third.
    by_pipe: bool,
    held: Held,
    /// Large reads in a row.
    large_reads: u8,
    /// The source has announced its end: it has to be read up to that, since no more news will come.
    end_announced: bool,
    /// News of room at the sink is wanted.
    wants_room: bool,
}

impl Way {
    const fn new(by_pipe: bool) -> Self {
        Self { by_pipe, held: Held::Nothing, large_reads: 0, end_announced: false, wants_room: false }
    }
}

/// What is to be done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Verdict {
    Wait,
    /// It has had its turn and could go on.
    Again,
    Close,
    Reset {
        by: Side,
    },
    /// The system refuses what the connection cannot go on without.
    Abandon(SysError),
}

/// A connection with both its ends.
pub(super) struct Conn {
    pub(super) index: usize,
    pub(super) client: OwnedFd,
    pub(super) client_watched: bool,
    /// Who has been asked last.
    pub(super) worker: Option<WorkerId>,
    pub(super) upstream: Upstream,
    pub(super) relay: Relay,
    from_client: Way,
    from_worker: Way,
    pub(super) moved_at: Duration,
    pub(super) half_open_told: bool,
    /// It is among those that could go on.
    pub(super) queued: bool,
}

/// The end towards the worker.
pub(super) enum Upstream {
    None,
    Pending(OwnedFd),
    Open(OwnedFd),
}

impl Conn {
    pub(super) fn new(index: usize, options: &FrontOptions, client: OwnedFd) -> Self {
        Self {
            index,
            client,
            client_watched: false,
            worker: None,
            upstream: Upstream::None,
            relay: Relay::default(),
            from_client: Way::new(matches!(options.address, FrontAddress::Tcp { .. })),
            from_worker: Way::new(false),
            moved_at: Duration::ZERO,
            half_open_told: false,
            queued: false,
        }
    }

    /// Whether a worker has been asked, and neither side has said anything yet.
    pub(super) fn is_unheard(&self) -> bool {
        match self.upstream {
            Upstream::None => false,
            Upstream::Pending(_) => true,
            Upstream::Open(_) => !self.relay.is_touched(),
        }
    }

    /// It has a worker, on a port or not: from now on bytes are moved. On an error it still has none.
    pub(super) fn begin(
        &mut self,
        id: ConnId,
        worker: OwnedFd,
        on_port: bool,
        tools: &Tools,
    ) -> Result<(), SysError> {
        tools.poller.watch(&worker, Token::of(id, Side::Worker), Interest::News)?;
        self.relay = Relay::default();
        self.from_worker = Way::new(on_port);
        let before = &self.from_client;
        self.from_client = Way { end_announced: before.end_announced, ..Way::new(before.by_pipe) };
        self.moved_at = tools.now;
        self.half_open_told = false;
        if self.client_watched {
            // Its news came while there was nobody to have it.
            self.relay.readable(Side::Client);
        } else {
            tools.poller.watch(&self.client, Token::of(id, Side::Client), Interest::News)?;
            self.client_watched = true;
        }
        self.upstream = Upstream::Open(worker);
        Ok(())
    }

    /// Takes in news of one of the two ends.
    pub(super) fn hear(&mut self, side: Side, readable: bool, writable: bool, end: bool) {
        if end {
            self.way(side).end_announced = true;
        }
        if readable {
            self.relay.readable(side);
        }
        if writable {
            self.relay.writable(side);
        }
    }

    /// Moves what can be moved.
    pub(super) fn pump(&mut self, id: ConnId, tools: &mut Tools) -> Verdict {
        let mut budget = STEPS;
        loop {
            let step = self.relay.next();
            match step {
                Step::Wait => return Verdict::Wait,
                Step::Close => return Verdict::Close,
                Step::Reset { by } => return Verdict::Reset { by },
                Step::Finish { from } => {
                    if let Some(to) = self.end(from.other()) {
                        stream::finish(to);
                    }
                    self.relay.finished(from);
                    continue;
                }
                _ if budget == 0 => return Verdict::Again,
                Step::Move { from } => {
                    self.move_some(from, tools);
                    if let Err(error) = self.ask_for_room(id, from, tools) {
                        return Verdict::Abandon(error);
                    }
                }
                Step::Flush { from } => self.flush(from, tools),
                Step::Discard { from } => self.discard(from, tools),
            }
            budget -= 1;
        }
    }

    fn way(&mut self, from: Side) -> &mut Way {
        match from {
            Side::Client => &mut self.from_client,
            Side::Worker => &mut self.from_worker,
        }
    }

    fn end(&self, side: Side) -> Option<&OwnedFd> {
        match (side, &self.upstream) {
            (Side::Client, _) => Some(&self.client),
            (Side::Worker, Upstream::Open(worker)) => Some(worker),
            (Side::Worker, _) => None,
        }
    }

    /// Both ends of one way, and the way itself.
    fn ends(&mut self, from: Side) -> Option<(&OwnedFd, &OwnedFd, &mut Way, &mut Relay)> {
        let Upstream::Open(worker) = &self.upstream else { return None };
        Some(match from {
            Side::Client => (&self.client, worker, &mut self.from_client, &mut self.relay),
            Side::Worker => (worker, &self.client, &mut self.from_worker, &mut self.relay),
        })
    }

    fn move_some(&mut self, from: Side, tools: &mut Tools) {
        self.moved_at = tools.now;
        let way = self.way(from);
        let pipe = if way.by_pipe && way.large_reads >= BULK { tools.take_pipe() } else { None };
        match pipe {
            Some(pipe) => self.splice(from, pipe, tools),
            None => self.copy(from, tools),
        }
    }

    fn copy(&mut self, from: Side, tools: &mut Tools) {
        let Some((source, sink, way, relay)) = self.ends(from) else { return };
        let taken = match stream::read(source, &mut tools.buffer) {
            Transfer::Done(0) => return relay.ended(from),
            Transfer::Done(taken) => taken,
            Transfer::Blocked => {
                return relay.moved(from, Moved { drained: true, ..Moved::default() });
            }
            Transfer::Broken { .. } => return relay.broke(from),
        };
        let full = taken == tools.buffer.len();
        way.large_reads = if taken >= LARGE { way.large_reads.saturating_add(1) } else { 0 };
        let passed = match stream::write(sink, &tools.buffer[..taken]) {
            Transfer::Done(passed) => passed,
            Transfer::Blocked => 0,
            Transfer::Broken { reset } => {
                relay.moved(from, Moved { taken, passed: taken, drained: false });
                return relay.refused(from, reset);
            }
        };
        if passed < taken {
            way.held = Held::Bytes { bytes: tools.buffer[passed..taken].to_vec(), from: 0 };
        }
        // A stream that gave less than there was room for has no more. Only its end comes without news
        // of its own, if it was announced together with these bytes.
        relay.moved(from, Moved { taken, passed, drained: !full && !way.end_announced });
    }

    fn splice(&mut self, from: Side, pipe: Pipe, tools: &mut Tools) {
        let Some((source, sink, way, relay)) = self.ends(from) else { return };
        let taken = match pipe.fill(source) {
            Transfer::Done(0) => {
                tools.give_back(pipe);
                return relay.ended(from);
            }
            Transfer::Done(taken) => taken,
            Transfer::Blocked => {
                tools.give_back(pipe);
                return relay.moved(from, Moved { drained: true, ..Moved::default() });
            }
            Transfer::Broken { .. } => return relay.broke(from),
        };
        if taken < LARGE / 2 {
            way.large_reads = 0;
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
            way.held = Held::Piped(pipe);
        } else {
            tools.give_back(pipe);
        }
        relay.moved(from, Moved { taken, passed, drained: false });
    }

    fn flush(&mut self, from: Side, tools: &mut Tools) {
        self.moved_at = tools.now;
        let count = self.relay.held(from);
        let Some((_, sink, way, relay)) = self.ends(from) else { return };
        let transfer = match &mut way.held {
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
                way.held = Held::Nothing;
                return relay.refused(from, reset);
            }
        }
        if relay.held(from) == 0
            && let Held::Piped(pipe) = std::mem::replace(&mut way.held, Held::Nothing)
        {
            tools.give_back(pipe);
        }
    }

    fn discard(&mut self, from: Side, tools: &mut Tools) {
        let Some((source, _, _, relay)) = self.ends(from) else { return };
        match stream::read(source, &mut tools.buffer) {
            Transfer::Done(0) => relay.ended(from),
            Transfer::Done(taken) => relay.moved(from, Moved { taken, ..Moved::default() }),
            Transfer::Blocked => relay.moved(from, Moved { drained: true, ..Moved::default() }),
            Transfer::Broken { .. } => relay.broke(from),
        }
    }

    /// From the first time on that a sink has no room, news of room is wanted. Asking for it brings it
    /// at once if there is room by now.
    fn ask_for_room(&mut self, id: ConnId, from: Side, tools: &Tools) -> Result<(), SysError> {
        if self.relay.held(from) == 0 || self.way(from).wants_room {
            return Ok(());
        }
        self.way(from).wants_room = true;
        let to = from.other();
        match self.end(to) {
            Some(sink) => tools.poller.change(sink, Token::of(id, to), Interest::NewsAndRoom),
            None => Ok(()),
        }
    }
}
