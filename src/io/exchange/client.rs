//! The link of a process with the exchange, and the sockets of its pairs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::io::store::{ConnectError, Line};
use rcluster_core::exchange::RequestId;
use rcluster_core::exchange::endpoint::{self, Endpoint, Found, Incoming, Put, SendError, Transport};
use rcluster_core::exchange::frame::{Frame, InvalidFrame};
use rcluster_core::exchange::pairs::PairId;
use rcluster_core::exchange::wire::Ask;
use rcluster_core::store::ring::Pushed;
use rcluster_sys::closer::{Closer, Descriptor};
use rcluster_sys::descriptor::duplicate;
use rcluster_sys::epoll::Poller;
use rcluster_sys::error::SysError;
use rcluster_sys::passing::{
    Loss, Received, Sent, accepts_descriptors, carries_descriptors, is_message_socket, receive, send,
};

/// The token of the link. The token of a pair is its number plus one.
const LINK: u64 = 0;

/// The link: see the module.
#[derive(Debug)]
pub struct ExchangeClient(RefCell<Parts>);

#[derive(Debug)]
struct Parts {
    endpoint: Endpoint,
    sockets: Sockets,
}

/// All sockets that the process reads from.
#[derive(Debug)]
struct Sockets {
    line: Line,
    poller: Poller,
    pairs: BTreeMap<PairId, Pair>,
    /// The descriptors that came with the last packet of the link.
    arrived: Vec<OwnedFd>,
    closer: Closer,
}

/// This process's end of a pair, of whose other end nothing is trusted.
///
/// # Design
/// The event loop must not close a descriptor that the other process has sent, because that may block. No packet of a
/// pair has any, and from Linux 6.16 on the kernel refuses them. On older kernels, each packet is looked at before it is
/// received, and the socket, whose queue may contain descriptors, is closed by a [`Closer`].
#[derive(Debug)]
struct Pair {
    socket: Descriptor,
    /// Whether descriptors can come.
    is_open_to_descriptors: bool,
}

impl Pair {
    fn new(socket: OwnedFd, closer: &Closer) -> Self {
        let is_open_to_descriptors = accepts_descriptors(&socket);
        let socket = if is_open_to_descriptors {
            Descriptor::foreign(socket, closer)
        } else {
            Descriptor::own(socket)
        };
        Self { socket, is_open_to_descriptors }
    }

    fn receive(&self, packet: &mut [u8], closer: &Closer) -> Found {
        if self.is_open_to_descriptors {
            match carries_descriptors(self.socket.as_fd()) {
                Ok(false) => {}
                // An empty packet is invalid, which ends the pair.
                Ok(true) => return Found::Packet(0),
                Err(_) => return Found::End,
            }
        }
        let mut fds = Vec::new();
        let received = receive(self.socket.as_fd(), packet, &mut fds);
        // There are none, unless the kernel has not kept what it was told.
        closer.close_all(fds);
        if matches!(received, Ok(Received::Message { loss: Loss::Bytes | Loss::Descriptors, .. })) {
            Found::End
        } else {
            found(received)
        }
    }
}

impl ExchangeClient {
    /// Waits for the answer to a request to join the exchange. The primary has the other end of `socket`.
    pub fn connect(socket: OwnedFd) -> Result<Self, ConnectError> {
        let (line, []) = Line::connect(socket)?;
        let poller = Poller::new()?;
        poller.add(&line, LINK)?;
        let (pairs, arrived, closer) = (BTreeMap::new(), Vec::new(), Closer::new());
        let sockets = Sockets { line, poller, pairs, arrived, closer };
        Ok(Self(RefCell::new(Parts { endpoint: Endpoint::default(), sockets })))
    }

    /// A descriptor that is readable when [`next`](Self::next) may have something.
    pub fn watched(&self) -> Result<OwnedFd, SysError> {
        duplicate(&self.0.borrow().sockets.poller)
    }

    /// Whether other machines can be reached.
    pub fn has_link(&self) -> bool {
        self.0.borrow().sockets.line.noted() != 0
    }

    /// Queues a request, in order.
    pub fn send(&self, ask: &Ask<'_>) -> Result<(), SendError> {
        let Parts { endpoint, sockets } = &mut *self.0.borrow_mut();
        endpoint.send(sockets, ask)
    }

    /// Stops waiting for a request's outcomes. Returns the worker if no outcome follows although `tell`
    /// requests one.
    pub fn cancel(&self, id: RequestId, tell: bool) -> Result<Option<u32>, SendError> {
        let Parts { endpoint, sockets } = &mut *self.0.borrow_mut();
        endpoint.cancel(sockets, id, tell)
    }

    /// Marks the start of a turn of the event loop.
    pub fn begin_turn(&self) {
        self.0.borrow_mut().endpoint.begin_turn();
    }

    /// The next frame, converted by `read`, which must not use this client.
    pub fn next<T>(&self, read: impl FnOnce(Frame<'_>) -> T) -> Result<Incoming<T>, InvalidFrame> {
        let Parts { endpoint, sockets } = &mut *self.0.borrow_mut();
        endpoint.next(sockets, read)
    }
}

impl Transport for Sockets {
    fn push(&mut self, request: &[u64]) -> endpoint::Pushed {
        match self.line.push_or_wait(request) {
            Pushed::Done { .. } => endpoint::Pushed::Done,
            Pushed::Full => endpoint::Pushed::Full,
            Pushed::TooLong => endpoint::Pushed::TooLong,
        }
    }

    fn receive(&mut self, packet: &mut [u8]) -> Found {
        // A pair that was not taken: the other process may have sent something over it already.
        self.arrived.drain(..).for_each(|socket| drop(Pair::new(socket, &self.closer)));
        found(self.line.receive_with(packet, &mut self.arrived))
    }

    fn send_to(&mut self, pair: PairId, packet: &[u8]) -> Put {
        let Some(pair) = self.pairs.get(&pair) else { return Put::Full };
        match send(pair.socket.as_fd(), packet, &[]) {
            Ok(Sent::Done) => Put::Done,
            Ok(Sent::Full | Sent::TooManyOnTheirWay) => Put::Full,
            Err(_) => Put::End,
        }
    }

    fn receive_from(&mut self, pair: PairId, packet: &mut [u8]) -> Found {
        let Some(pair) = self.pairs.get(&pair) else { return Found::Nothing };
        pair.receive(packet, &self.closer)
    }

    fn poll(&mut self, pairs: &mut Vec<PairId>) -> bool {
        // After an error, the next wake-up of the event loop tries again.
        let events = self.poller.wait(Some(Duration::ZERO)).unwrap_or(0);
        let mut link = false;
        for index in 0..events {
            match self.poller.token(index).checked_sub(1) {
                None => link = true,
                Some(pair) => pairs.extend(u32::try_from(pair).map(PairId)),
            }
        }
        link
    }

    fn adopt(&mut self, pair: PairId) -> bool {
        let Some(socket) = self.arrived.pop().filter(is_message_socket) else { return false };
        let end = Pair::new(socket, &self.closer);
        // Sockets that cannot be closed must not become more.
        let is_watched =
            !self.closer.is_full() && self.poller.add(&end.socket, u64::from(pair.0) + 1).is_ok();
        if is_watched {
            self.pairs.insert(pair, end);
        }
        is_watched
    }

    fn watch(&mut self, pair: PairId, watch: bool) {
        if let Some(Pair { socket, .. }) = self.pairs.get(&pair) {
            // A pair that cannot be watched is read when it ends.
            let _ = if watch {
                self.poller.add(socket, u64::from(pair.0) + 1)
            } else {
                self.poller.remove(socket)
            };
        }
    }

    fn close(&mut self, pair: PairId) {
        if let Some(Pair { socket, .. }) = self.pairs.remove(&pair) {
            // The socket is or was registered; an error while deregistering has no consequence.
            let _ = self.poller.remove(&socket);
        }
    }

    fn publish(&mut self, place: usize, number: usize) {
        self.line.publish(place, number as u64);
    }
}

fn found(received: Result<Received, SysError>) -> Found {
    match received {
        Ok(Received::Message { len, .. }) => Found::Packet(len),
        Ok(Received::Empty) => Found::Nothing,
        Ok(Received::Closed) | Err(_) => Found::End,
    }
}

#[cfg(test)]
impl ExchangeClient {
    /// Publishes a wrong number of declarations.
    pub(super) fn claim_declarations(&self, number: usize) {
        self.0.borrow_mut().sockets.publish(rcluster_core::exchange::declared::DECLARED, number);
    }
}

#[cfg(test)]
mod tests;
