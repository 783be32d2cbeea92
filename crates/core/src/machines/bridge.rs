//! Between the exchange of this machine and its link with others: what the exchange has for them are inputs of the link, and
//! its outputs are for the exchange.

use std::sync::Arc;

use super::{End, Input, Output, Topic};
use crate::exchange::endpoint::PACKET;
use crate::exchange::frame::{Assembler, Frame, Kind, LEADER, Status};
use crate::exchange::{CallId, ELSEWHERE, Exchange, Interest, Leaders, RequestId};

/// How many bytes may be on their way to the server. What has no room waits in the exchange, which bounds it.
const WINDOW: usize = 8 << 20;

/// See the module.
#[derive(Debug)]
pub struct Bridge {
    assembler: Assembler,
    packet: Vec<u8>,
    under_way: usize,
    /// Why other machines cannot be reached.
    failure: String,
}

impl Bridge {
    /// Other machines can be reached from now on.
    #[must_use]
    pub fn new(exchange: &mut Exchange) -> Self {
        exchange.join_elsewhere();
        Self { assembler: Assembler::default(), packet: Vec::new(), under_way: 0, failure: String::new() }
    }

    /// How many bytes are on their way to the server.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Takes what processes of this machine want to hear, and what they have for others.
    pub fn take(&mut self, exchange: &mut Exchange, mut tell: impl FnMut(Input)) {
        for (interest, is_wanted) in exchange.take_interests() {
            let topic = topic_of(&interest);
            tell(if is_wanted { Input::Listen(topic) } else { Input::Unlisten(topic) });
        }
        while self.under_way < WINDOW {
            exchange.peek(ELSEWHERE, PACKET, &mut self.packet);
            if self.packet.is_empty() {
                return;
            }
            self.assembler.push(&self.packet);
            exchange.on_sent(ELSEWHERE, self.packet.len());
            // What the exchange says is as it has to be.
            while let Ok(Some(frame)) = self.assembler.next_frame() {
                let Some(input) = input_of(&frame) else { continue };
                self.under_way += input.cost();
                tell(input);
            }
            self.assembler.shrink();
        }
    }

    /// Does what has been decided. `tell` takes what has come of it at once.
    pub fn on_outputs(
        &mut self,
        exchange: &mut Exchange,
        outputs: &[Output],
        leaders: Leaders<'_>,
        mut tell: impl FnMut(Input),
    ) {
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
                Output::Tell { leader, name, worker, data } => {
                    exchange.on_told(*worker, leader, (name, data), leaders);
                }
                Output::Ask { id, worker, leader, name, data } => {
                    let workers = exchange.on_asked(*id, *worker, leader.as_deref(), (name, data), leaders);
                    tell(Input::Asked { id: *id, workers });
                }
                Output::Unask(id) => exchange.on_unasked(*id),
                Output::Outcome { call, machine, worker, status, data } => {
                    exchange.on_outcome(*call, machine.digits(), *worker, *status, data);
                }
                Output::Ended { call, end } => {
                    let (status, missing) = status_of(*end);
                    let why = if status == Status::Disconnected { &*self.failure } else { "" };
                    exchange.on_ended(*call, status, missing, why);
                }
                Output::Failed(why) => self.failure.clone_from(why),
                Output::Room(bytes) => self.under_way = self.under_way.saturating_sub(*bytes),
                // These are for the server.
                Output::Open
                | Output::Close
                | Output::Change { .. }
                | Output::Publish(_)
                | Output::Beat(..) => {}
            }
        }
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
        Topic::Requests | Topic::Machine(_) => None,
    }
}

/// How a process is told of the end of a request, and of how many machines.
fn status_of(end: End) -> (Status, u32) {
    match end {
        End::Complete => (Status::Nobody, 0),
        End::NoLeader => (Status::NoLeader, 0),
        End::Missing(count) => (Status::Missing, count),
        End::Late(count) => (Status::Late, count),
        End::Disconnected => (Status::Disconnected, 0),
        End::Busy => (Status::Unsent, 0),
    }
}

/// What a frame for other machines is to the link.
fn input_of(frame: &Frame<'_>) -> Option<Input> {
    let name: Arc<[u8]> = frame.name.into();
    let worker = frame.worker;
    let is_for_leader = frame.flag == LEADER;
    let leader = if is_for_leader { usize::try_from(frame.rest).ok()? } else { 0 };
    let split = || frame.data.split_at_checked(leader);
    Some(match frame.kind {
        Kind::Message => Input::Post { topic: Topic::Channel(name), worker, data: frame.data.to_vec() },
        Kind::Notice if is_for_leader => {
            let (leader, data) = split()?;
            Input::Tell { leader: leader.into(), name, worker, data: data.to_vec() }
        }
        Kind::Notice => Input::Post { topic: Topic::Handler(name), worker, data: frame.data.to_vec() },
        Kind::ChannelLag => Input::Dropped { topic: Topic::Channel(name), count: frame.number },
        Kind::HandlerLag => Input::Dropped { topic: Topic::Handler(name), count: frame.number },
        Kind::Request => {
            let (leader, data) = split()?;
            let leader = is_for_leader.then(|| leader.into());
            Input::Request { call: CallId(frame.number), worker, leader, name, data: data.to_vec() }
        }
        Kind::Cancelled => Input::Cancel { call: CallId(frame.number), tell: frame.flag != 0 },
        Kind::Outcome => Input::Answered {
            id: RequestId(frame.number),
            worker,
            status: Status::of_machine(frame.flag)?,
            data: frame.data.to_vec(),
            is_last: frame.rest == 0,
        },
        _ => return None,
    })
}
