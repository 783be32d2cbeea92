//! Simulated rings, links and sockets with small buffers, whose other end may be closed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use rcluster_core::exchange::endpoint::{Found, Pushed, Put, Transport};
use rcluster_core::exchange::pairs::PairId;

const RING: usize = 12;
const LINK: usize = 3;
const SOCKET: usize = 4;

/// One direction of a socket.
#[derive(Default)]
pub(crate) struct Pipe {
    pub(crate) packets: VecDeque<Vec<u8>>,
    pub(crate) is_closed: bool,
}

/// An end of the socket of a pair.
pub(crate) struct Socket {
    pub(crate) input: Rc<RefCell<Pipe>>,
    pub(crate) output: Rc<RefCell<Pipe>>,
}

impl Socket {
    pub(crate) fn pair() -> [Self; 2] {
        let (one, other) = (Rc::<RefCell<Pipe>>::default(), Rc::<RefCell<Pipe>>::default());
        [Self { input: Rc::clone(&one), output: Rc::clone(&other) }, Self { input: other, output: one }]
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.input.borrow_mut().is_closed = true;
        self.output.borrow_mut().is_closed = true;
    }
}

/// All rings and sockets of a process.
#[derive(Default)]
pub(crate) struct Wires {
    pub(crate) ring: VecDeque<Vec<u64>>,
    /// It waits for room in the ring.
    pub(crate) wants_room: bool,
    link: VecDeque<(Vec<u8>, Option<Socket>)>,
    arrived: Option<Socket>,
    pub(crate) sockets: BTreeMap<PairId, Socket>,
    ignored: BTreeSet<PairId>,
    pub(crate) published: BTreeMap<usize, usize>,
    /// The number of packets sent to pairs, and of those that found no room.
    pub(crate) sent: u64,
    pub(crate) refused: u64,
}

impl Wires {
    pub(crate) fn has_room(&self) -> bool {
        self.link.len() < LINK
    }

    /// Closes the link and all sockets. What is in the ring stays there.
    pub(crate) fn cut(&mut self) {
        self.link.clear();
        self.arrived = None;
        self.sockets.clear();
    }

    pub(crate) fn deliver(&mut self, packet: &[u8], socket: Option<Socket>) {
        self.link.push_back((packet.to_vec(), socket));
    }
}

fn copy(packet: &[u8], into: &mut [u8]) -> Found {
    let Some(into) = into.get_mut(..packet.len()) else { return Found::End };
    into.copy_from_slice(packet);
    Found::Packet(packet.len())
}

impl Transport for Wires {
    fn push(&mut self, request: &[u64]) -> Pushed {
        if self.ring.len() >= RING {
            self.wants_room = true;
            return Pushed::Full;
        }
        self.ring.push_back(request.to_vec());
        Pushed::Done
    }

    fn receive(&mut self, packet: &mut [u8]) -> Found {
        let Some((bytes, socket)) = self.link.pop_front() else { return Found::Nothing };
        self.arrived = socket;
        copy(&bytes, packet)
    }

    fn send_to(&mut self, pair: PairId, packet: &[u8]) -> Put {
        let Some(socket) = self.sockets.get(&pair) else { return Put::Full };
        let mut output = socket.output.borrow_mut();
        if output.is_closed {
            return Put::End;
        }
        if output.packets.len() >= SOCKET {
            self.refused += 1;
            return Put::Full;
        }
        output.packets.push_back(packet.to_vec());
        self.sent += 1;
        Put::Done
    }

    fn receive_from(&mut self, pair: PairId, packet: &mut [u8]) -> Found {
        let Some(socket) = self.sockets.get(&pair) else { return Found::Nothing };
        let mut input = socket.input.borrow_mut();
        match input.packets.pop_front() {
            Some(bytes) => copy(&bytes, packet),
            None if input.is_closed => Found::End,
            None => Found::Nothing,
        }
    }

    fn poll(&mut self, pairs: &mut Vec<PairId>) -> bool {
        let watched = self.sockets.iter().filter(|(pair, _)| !self.ignored.contains(pair));
        let ready = watched.filter(|(_, socket)| {
            let input = socket.input.borrow();
            input.is_closed || !input.packets.is_empty()
        });
        pairs.extend(ready.map(|(pair, _)| *pair));
        !self.link.is_empty()
    }

    fn adopt(&mut self, pair: PairId) -> bool {
        let Some(socket) = self.arrived.take() else { return false };
        self.sockets.insert(pair, socket);
        true
    }

    fn watch(&mut self, pair: PairId, watch: bool) {
        if watch {
            self.ignored.remove(&pair);
        } else {
            self.ignored.insert(pair);
        }
    }

    fn close(&mut self, pair: PairId) {
        self.sockets.remove(&pair);
    }

    fn publish(&mut self, place: usize, requests: usize) {
        self.published.insert(place, requests);
    }
}
