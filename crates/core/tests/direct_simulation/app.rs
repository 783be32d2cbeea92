//! A process of the simulation.

use std::collections::{BTreeMap, BTreeSet};

use rcluster_core::exchange::endpoint::{Endpoint, Incoming, Transport};
use rcluster_core::exchange::frame::{Frame, Kind};
use rcluster_core::exchange::wire::Ask;
use rcluster_core::exchange::{RequestId, Target};
use rcluster_core::random::Random;

use super::wires::Wires;

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub(crate) struct App {
    pub(crate) worker: u32,
    pub(crate) endpoint: Endpoint,
    pub(crate) wires: Wires,
    /// The number of its last message.
    pub(crate) last: u64,
    /// The last message received from each worker.
    pub(crate) heard: BTreeMap<u32, u64>,
    pub(crate) next_id: u64,
    pub(crate) open: BTreeSet<u64>,
    pub(crate) unwanted: BTreeSet<u64>,
    pub(crate) to_answer: Vec<u64>,
    pub(crate) answered: BTreeMap<u8, u64>,
    /// How many of its declarations were read.
    pub(crate) declared: usize,
    /// A process that violates the protocol. Its partners may receive anything from it.
    pub(crate) is_rogue: bool,
    pub(crate) reads: bool,
    /// It has stopped reading while there may be more.
    pub(crate) has_more: bool,
    /// Its end. The exchange has still to read what it had sent, and to hear of it.
    pub(crate) has_ended: bool,
    /// It is told where there is something to read.
    pub(crate) has_event_loop: bool,
}

/// The number of a message, padded to its length.
pub(crate) fn numbered(number: u64, length: usize) -> Vec<u8> {
    let mut data = number.to_le_bytes().to_vec();
    data.resize(8 + length, 7);
    data
}

impl App {
    pub(crate) fn data(&mut self, random: &mut Random) -> Vec<u8> {
        self.last += 1;
        // Some are too long for a packet of a pair.
        numbered(self.last, if random.one_in(60) { 20 << 10 } else { random.below(100) })
    }

    pub(crate) fn send(&mut self, ask: &Ask<'_>) {
        self.endpoint.send(&mut self.wires, ask).expect("there is room");
    }

    pub(crate) fn request(&mut self, random: &mut Random, target: Target<'_>) {
        self.next_id += 1;
        self.open.insert(self.next_id);
        let (id, data) = (RequestId(self.next_id), self.data(random));
        self.send(&Ask::Request { id, target, name: b"name", data: &data });
    }

    /// Reads up to `count` frames. False if there are no more.
    pub(crate) fn read(&mut self, count: usize, rogues: &BTreeSet<u32>) -> bool {
        if self.has_event_loop {
            let mut pairs = Vec::new();
            let link = self.wires.poll(&mut pairs);
            // In any order: that of the loop is none.
            pairs.iter().rev().for_each(|pair| self.endpoint.on_ready(Some(*pair)));
            if link {
                self.endpoint.on_ready(None);
            } else if pairs.is_empty() && !self.has_more {
                return false;
            }
        }
        self.has_more = false;
        self.endpoint.begin_turn();
        for _ in 0..count {
            let next = self.endpoint.next(&mut self.wires, |frame: Frame<'_>| {
                let number = frame.data.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
                (frame.kind, frame.flag, frame.worker, frame.number, number)
            });
            match next.expect("the exchange makes sense") {
                Incoming::Nothing => return false,
                Incoming::End => panic!("nobody ends the link"),
                Incoming::Frame(frame) => self.on_frame(frame, rogues),
            }
        }
        self.has_more = true;
        true
    }

    fn on_frame(&mut self, told: (Kind, u8, u32, u64, Option<u64>), rogues: &BTreeSet<u32>) {
        let (kind, flag, worker, number, message) = told;
        if let Some(message) = message.filter(|_| !rogues.contains(&worker)) {
            let last = self.heard.insert(worker, message);
            assert!(last < Some(message), "{} hears {worker}: {message} after {last:?}", self.worker);
        }
        match kind {
            Kind::Request => self.to_answer.push(number),
            Kind::Cancelled => self.to_answer.retain(|call| *call != number),
            Kind::Outcome => {
                // The outcome may have been under way when the request was cancelled.
                let is_one = self.open.remove(&number) || self.unwanted.remove(&number);
                assert!(is_one, "one outcome for each request");
                *self.answered.entry(flag).or_default() += 1;
            }
            Kind::Message | Kind::Notice | Kind::ChannelLag | Kind::HandlerLag => {}
            kind => panic!("{kind:?} is not for the process"),
        }
    }

    /// Its sockets are closed, and what it was told is lost.
    pub(crate) fn end(&mut self) {
        self.has_ended = true;
        self.wires.cut();
    }

    /// Violates the protocol.
    pub(crate) fn rampage(&mut self, random: &mut Random) {
        let pairs: Vec<_> = self.wires.sockets.keys().copied().collect();
        let Some(pair) = random.pick(&pairs) else { return };
        if random.one_in(4) {
            self.wires.close(pair);
            return;
        }
        let mut packet: Vec<u8> = (0..random.below(60)).map(|_| random.bits().to_le_bytes()[0]).collect();
        if packet.len() > 24 && random.one_in(2) {
            // A complete frame of any kind, with any number.
            let length = u32::try_from(packet.len() - 4).unwrap();
            packet[..4].copy_from_slice(&length.to_le_bytes());
            packet[4] = random.bits().to_le_bytes()[0] % 16;
            packet[6..8].copy_from_slice(&[0, 0]);
            packet[16..24].copy_from_slice(&(random.bits() % 50).to_le_bytes());
        }
        let _sent_or_full = self.wires.send_to(pair, &packet);
    }
}
