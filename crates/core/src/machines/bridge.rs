//! Connects this machine's exchange with other machines. Frames of the exchange for other machines become
//! inputs of [`Machines`](super::Machines), and its outputs are carried out on the exchange.

use std::sync::Arc;

use super::{End, Input, Output, Topic};
use crate::exchange::endpoint::PACKET;
use crate::exchange::frame::{ANY, Assembler, Frame, Kind, LEADER, Status};
use crate::exchange::{CallId, Exchange, Leaders, OTHER_MACHINES, RequestId, Subscription};

/// The largest number of bytes on their way to the server. The rest waits in the exchange, which bounds it.
const WINDOW: usize = 8 << 20;

/// The bridge: see the module.
#[derive(Debug)]
pub struct Bridge {
    assembler: Assembler,
    packet: Vec<u8>,
    under_way: usize,
    /// Why other machines cannot be reached.
    failure: String,
}

impl Bridge {
    /// From now on, other machines can be reached.
    #[must_use]
    pub fn new(exchange: &mut Exchange) -> Self {
        exchange.join_other_machines();
        Self { assembler: Assembler::default(), packet: Vec::new(), under_way: 0, failure: String::new() }
    }

    /// The number of bytes on their way to the server.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Takes changed subscriptions and frames for other machines from the exchange.
    pub fn take(&mut self, exchange: &mut Exchange, mut tell: impl FnMut(Input)) {
        for (subscription, is_wanted) in exchange.take_subscription_changes() {
            let topic = topic_of(&subscription);
            tell(if is_wanted { Input::Subscribe(topic) } else { Input::Unsubscribe(topic) });
        }
        while self.under_way < WINDOW {
            exchange.peek(OTHER_MACHINES, PACKET, &mut self.packet);
            if self.packet.is_empty() {
                return;
            }
            self.assembler.push(&self.packet);
            exchange.on_sent(OTHER_MACHINES, self.packet.len());
            // The exchange writes only valid frames.
            while let Ok(Some(frame)) = self.assembler.next_frame() {
                let Some(input) = input_of(&frame) else { continue };
                self.under_way += input.cost();
                tell(input);
            }
            self.assembler.shrink();
        }
    }

    /// Carries out outputs. `tell` receives the inputs that follow from them immediately.
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
                    if let Some(subscription) = subscription_of(topic) {
                        exchange.on_remote_message(&subscription, *worker, data);
                    }
                }
                Output::Lost { topic, count } => {
                    if let Some(subscription) = subscription_of(topic) {
                        exchange.on_remote_loss(&subscription, *count);
                    }
                }
                Output::NotifyLeader { leader, name, worker, data } => {
                    exchange.on_remote_notice(*worker, leader, (name, data), leaders);
                }
                Output::Ask { id, worker, leader, name, data } => {
                    let workers =
                        exchange.on_remote_request(*id, *worker, leader.as_deref(), (name, data), leaders);
                    tell(Input::Asked { id: *id, workers });
                }
                Output::Cancel(id) => exchange.on_remote_cancel(*id),
                Output::Outcome { call, machine, worker, status, data } => {
                    exchange.on_remote_outcome(*call, machine.digits(), *worker, *status, data);
                }
                Output::Ended { call, end } => {
                    let (status, missing) = status_of(*end);
                    let why = if status == Status::Disconnected { &*self.failure } else { "" };
                    exchange.on_remote_end(*call, status, missing, why);
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

fn topic_of(subscription: &Subscription) -> Topic {
    match subscription {
        Subscription::Channel(name) => Topic::Channel(name.clone()),
        Subscription::Handler(name) => Topic::Handler(name.clone()),
    }
}

fn subscription_of(topic: &Topic) -> Option<Subscription> {
    match topic {
        Topic::Channel(name) => Some(Subscription::Channel(name.clone())),
        Topic::Handler(name) => Some(Subscription::Handler(name.clone())),
        Topic::Requests | Topic::Machine(_) => None,
    }
}

/// The status, and the number of missing machines, that a process is told when its request ends.
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

/// The input for a frame to other machines; `None` if there is none.
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
            Input::NotifyLeader { leader: leader.into(), name, worker, data: data.to_vec() }
        }
        Kind::Notice => Input::Post { topic: Topic::Handler(name), worker, data: frame.data.to_vec() },
        Kind::ChannelLag => Input::Dropped { topic: Topic::Channel(name), count: frame.number },
        Kind::HandlerLag if frame.flag == ANY => {
            Input::Dropped { topic: Topic::Requests, count: frame.number }
        }
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
