//! The link of other machines with the exchange of this one: it takes part like a process of this machine.

use crate::io::redis::MachineLink;
use rcluster_core::exchange::endpoint::PACKET;
use rcluster_core::exchange::frame::{Assembler, Frame, Kind};
use rcluster_core::exchange::{ELSEWHERE, Exchange, Interest};
use rcluster_core::machines::{Input, Output, Topic};

/// How many bytes may be on their way to the server. What has no room waits in the exchange, which bounds it.
const WINDOW: usize = 8 << 20;

/// See the module.
pub(super) struct Elsewhere {
    link: MachineLink,
    assembler: Assembler,
    under_way: usize,
}

impl Elsewhere {
    pub(super) fn new(link: MachineLink, exchange: &mut Exchange) -> Self {
        exchange.join_elsewhere();
        Self { link, assembler: Assembler::default(), under_way: 0 }
    }

    /// Hands on what processes of this machine want to hear, and what they have for others.
    pub(super) fn deliver(&mut self, exchange: &mut Exchange, packet: &mut Vec<u8>) {
        for (interest, is_wanted) in exchange.take_interests() {
            let topic = topic_of(&interest);
            self.link.tell(if is_wanted { Input::Listen(topic) } else { Input::Unlisten(topic) });
        }
        while self.under_way < WINDOW {
            exchange.peek(ELSEWHERE, PACKET, packet);
            if packet.is_empty() {
                return;
            }
            self.assembler.push(packet);
            exchange.on_sent(ELSEWHERE, packet.len());
            // What the exchange says is as it has to be.
            while let Ok(Some(frame)) = self.assembler.next_frame() {
                let Some(input) = input_of(&frame) else { continue };
                self.under_way += frame.data.len();
                self.link.tell(input);
            }
            self.assembler.shrink();
        }
    }

    /// Does what has been decided about messages between machines.
    pub(super) fn on_outputs(&mut self, exchange: &mut Exchange, outputs: &[Output]) {
        for output in outputs {
            match output {
                Output::Message { topic, worker, data } => {
                    if let Some(interest) = interest_of(topic) {
                        exchange.on_heard(&interest, *worker, data);
                    }
                }
                Output::Lost { topic, count } => {
                    if let Some(interest) = interest_of(topic) {
                        exchange.on_lost(&interest, *count);
                    }
                }
                Output::Room(bytes) => self.under_way = self.under_way.saturating_sub(*bytes),
                // These are for the server.
                Output::Open
                | Output::Close
                | Output::Change { .. }
                | Output::Publish(_)
                | Output::Beat(..) => {}
            }
        }
        self.link.on_delivered(outputs);
    }
}

fn topic_of(interest: &Interest) -> Topic {
    match interest {
        Interest::Channel(name) => Topic::Channel(name.clone()),
        Interest::Handler(name) => Topic::Handler(name.clone()),
    }
}

fn interest_of(topic: &Topic) -> Option<Interest> {
    match topic {
        Topic::Channel(name) => Some(Interest::Channel(name.clone())),
        Topic::Handler(name) => Some(Interest::Handler(name.clone())),
        Topic::Machine(_) => None,
    }
}

/// What a frame for other machines is there.
fn input_of(frame: &Frame<'_>) -> Option<Input> {
    let name = || frame.name.into();
    let topic = match frame.kind {
        Kind::Message | Kind::ChannelLag => Topic::Channel(name()),
        Kind::Notice | Kind::HandlerLag => Topic::Handler(name()),
        _ => return None,
    };
    Some(match frame.kind {
        Kind::Message | Kind::Notice => {
            Input::Post { topic, worker: frame.worker, data: frame.data.to_vec() }
        }
        _ => Input::Dropped { topic, count: frame.number },
    })
}
