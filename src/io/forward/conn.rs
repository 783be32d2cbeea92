//! One forwarded connection, which carries out the decisions of its [`Relay`].

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::token::Token;
use super::tools::Tools;
use super::way::{Ends, Way};
use super::{FrontAddress, FrontOptions};
use rcluster_core::forward::ConnId;
use rcluster_core::forward::proxy::Version;
use rcluster_core::forward::relay::{Relay, Side, Step};
use rcluster_core::ids::WorkerId;
use rcluster_sys::epoll::Interest;
use rcluster_sys::error::SysError;
use rcluster_sys::stream;

/// The maximum number of steps of one connection before the others get their turn.
const STEPS: usize = 16;

/// What must be done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Verdict {
    Wait,
    /// It has used up its turn and could continue.
    Again,
    Close,
    Reset {
        by: Side,
    },
    /// A system call that the connection depends on has failed.
    Abandon(SysError),
}

/// A connection with both its ends.
pub(super) struct Conn {
    /// The front that accepted it.
    front: usize,
    client: OwnedFd,
    client_watched: bool,
    /// The worker that was tried last.
    worker: Option<WorkerId>,
    upstream: Upstream,
    /// The PROXY protocol header that precedes the client's bytes, if any.
    proxy: Option<Version>,
    relay: Relay,
    from_client: Way,
    from_worker: Way,
    moved_at: Duration,
    half_open_told: bool,
    /// Whether it is queued to continue.
    queued: bool,
}

/// The end towards the worker.
enum Upstream {
    None,
    Pending(OwnedFd),
    Open(OwnedFd),
}

impl Conn {
    pub(super) fn new(front: usize, options: &FrontOptions, client: OwnedFd) -> Self {
        Self {
            front,
            client,
            client_watched: false,
            worker: None,
            upstream: Upstream::None,
            proxy: options.proxy,
            relay: Relay::default(),
            from_client: Way::new(matches!(options.address, FrontAddress::Tcp { .. })),
            from_worker: Way::new(false),
            moved_at: Duration::ZERO,
            half_open_told: false,
            queued: false,
        }
    }

    pub(super) fn front(&self) -> usize {
        self.front
    }

    pub(super) fn client(&self) -> &OwnedFd {
        &self.client
    }

    /// The PROXY protocol header for the worker, if any.
    pub(super) fn proxy(&self) -> Option<Version> {
        self.proxy
    }

    /// The worker that was tried last.
    pub(super) fn worker(&self) -> Option<WorkerId> {
        self.worker
    }

    pub(super) fn set_worker(&mut self, worker: WorkerId) {
        self.worker = Some(worker);
    }

    /// When the last byte was moved.
    pub(super) fn moved_at(&self) -> Duration {
        self.moved_at
    }

    /// Whether a connection to a worker is being established.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self.upstream, Upstream::Pending(_))
    }

    /// Whether it is connected to a worker.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.upstream, Upstream::Open(_))
    }

    /// Watches a connection to a worker that is being established. On an error, there is none.
    pub(super) fn wait_for(&mut self, id: ConnId, worker: OwnedFd, tools: &Tools) -> Result<(), SysError> {
        tools.poller().watch(&worker, Token::of(id, Side::Worker), Interest::ReadableWritableEdge)?;
        self.set_pending(worker);
        Ok(())
    }

    pub(super) fn set_pending(&mut self, worker: OwnedFd) {
        self.upstream = Upstream::Pending(worker);
    }

    /// Takes the connection to a worker that is being established, if there is one.
    pub(super) fn take_pending(&mut self) -> Option<OwnedFd> {
        match std::mem::replace(&mut self.upstream, Upstream::None) {
            Upstream::Pending(worker) => Some(worker),
            other => {
                self.upstream = other;
                None
            }
        }
    }

    /// Closes the end towards the worker.
    pub(super) fn drop_upstream(&mut self) {
        self.upstream = Upstream::None;
    }

    /// Ends it so that both sides see a reset.
    pub(super) fn reset(self) {
        stream::reset(self.client);
        if let Upstream::Open(worker) = self.upstream {
            stream::reset(worker);
        }
    }

    /// Marks it as queued to continue. Returns false if it was marked before.
    pub(super) fn is_newly_queued(&mut self) -> bool {
        !std::mem::replace(&mut self.queued, true)
    }

    pub(super) fn unqueue(&mut self) {
        self.queued = false;
    }

    /// Whether no byte has been passed on.
    pub(super) fn is_untouched(&self) -> bool {
        !self.relay.is_touched()
    }

    /// Whether one of the two sides has ended.
    pub(super) fn is_half_open(&self) -> bool {
        self.relay.is_half_open()
    }

    /// Whether it is half open; true only at the first call.
    pub(super) fn is_half_open_news(&mut self) -> bool {
        self.is_half_open() && !std::mem::replace(&mut self.half_open_told, true)
    }

    /// Whether it has a worker, and neither side has sent anything yet.
    pub(super) fn is_unserved(&self) -> bool {
        match self.upstream {
            Upstream::None => false,
            Upstream::Pending(_) => true,
            Upstream::Open(_) => self.is_untouched(),
        }
    }

    /// It is connected to a worker, on a port or not: from now on bytes are moved. On an error, it has no
    /// worker.
    pub(super) fn begin(
        &mut self,
        id: ConnId,
        worker: OwnedFd,
        on_port: bool,
        tools: &Tools,
    ) -> Result<(), SysError> {
        tools.poller().watch(&worker, Token::of(id, Side::Worker), Interest::ReadableEdge)?;
        self.relay = Relay::default();
        self.from_worker = Way::new(on_port);
        self.from_client.begin_again();
        self.moved_at = tools.now();
        self.half_open_told = false;
        if self.client_watched {
            // The event arrived while there was no worker.
            self.relay.readable(Side::Client);
        } else {
            tools.poller().watch(&self.client, Token::of(id, Side::Client), Interest::ReadableEdge)?;
            self.client_watched = true;
        }
        self.upstream = Upstream::Open(worker);
        Ok(())
    }

    /// Handles an event of one of the two ends.
    pub(super) fn on_event(&mut self, side: Side, readable: bool, writable: bool, end: bool) {
        if end {
            self.way(side).announce_end();
        }
        if readable {
            self.relay.readable(side);
        }
        if writable {
            self.relay.writable(side);
        }
    }

    /// Moves bytes as far as possible.
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
                    self.moved_at = tools.now();
                    if let Some((way, ends)) = self.ends(from) {
                        way.move_some(ends, tools);
                    }
                    if let Err(error) = self.ask_for_room(id, from, tools) {
                        return Verdict::Abandon(error);
                    }
                }
                Step::Flush { from } => {
                    self.moved_at = tools.now();
                    if let Some((way, ends)) = self.ends(from) {
                        way.flush(ends, tools);
                    }
                }
                Step::Discard { from } => {
                    if let Some((_, ends)) = self.ends(from) {
                        Way::discard(ends, tools);
                    }
                }
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

    /// One direction, and both its ends.
    fn ends(&mut self, from: Side) -> Option<(&mut Way, Ends<'_>)> {
        let Upstream::Open(worker) = &self.upstream else { return None };
        let relay = &mut self.relay;
        Some(match from {
            Side::Client => (&mut self.from_client, Ends { from, source: &self.client, sink: worker, relay }),
            Side::Worker => (&mut self.from_worker, Ends { from, source: worker, sink: &self.client, relay }),
        })
    }

    /// When a sink lacks room for the first time, starts watching for room. If there is room by then, the
    /// change itself triggers an event.
    fn ask_for_room(&mut self, id: ConnId, from: Side, tools: &Tools) -> Result<(), SysError> {
        if self.relay.held(from) == 0 || !self.way(from).is_newly_wanting_room() {
            return Ok(());
        }
        let to = from.other();
        match self.end(to) {
            Some(sink) => tools.poller().change(sink, Token::of(id, to), Interest::ReadableWritableEdge),
            None => Ok(()),
        }
    }
}
