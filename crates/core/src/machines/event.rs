//! The inputs and outputs of [`Machines`](super::Machines).

use std::sync::Arc;

use super::topic::{MachineId, Topic};
use crate::exchange::frame::Status;
use crate::exchange::{CallId, RequestId};

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A process of this machine subscribes to a channel, or handles a name.
    Subscribe(Topic),
    /// No process of this machine does so any more.
    Unsubscribe(Topic),
    /// A process of this machine posts a message, or sends a notice.
    Post {
        /// The channel, or the name of the handlers.
        topic: Topic,
        /// The sending worker; 0 is the primary.
        worker: u32,
        /// The message.
        data: Vec<u8>,
    },
    /// A process of this machine sends a notice to a leader, on whichever machine it is.
    NotifyLeader {
        /// The name of the leader.
        leader: Arc<[u8]>,
        /// The name of the handler.
        name: Arc<[u8]>,
        /// The sending worker; 0 is the primary.
        worker: u32,
        /// The message.
        data: Vec<u8>,
    },
    /// Messages of processes of this machine were dropped, because there was no room.
    Dropped {
        /// The topic on which they would have been published.
        topic: Topic,
        /// The number of messages.
        count: u64,
    },
    /// A process of this machine makes a request to other machines. It leads to [`Output::Outcome`]s and one
    /// [`Output::Ended`].
    Request {
        /// The call in this machine's exchange.
        call: CallId,
        /// The worker that makes the request; 0 is the primary.
        worker: u32,
        /// The name of the leader that should answer; `None` for all workers.
        leader: Option<Arc<[u8]>>,
        /// The name of the handler.
        name: Arc<[u8]>,
        /// The argument.
        data: Vec<u8>,
    },
    /// The process no longer waits for this request.
    Cancel {
        /// The call.
        call: CallId,
        /// Whether it wants to know what is missing.
        tell: bool,
    },
    /// A request of another machine was given to these workers; `None` if there are too many unanswered ones.
    Asked {
        /// See [`Output::Ask`].
        id: RequestId,
        /// The workers.
        workers: Option<Vec<u32>>,
    },
    /// A worker has answered a request of another machine.
    Answered {
        /// See [`Output::Ask`].
        id: RequestId,
        /// The worker.
        worker: u32,
        /// How the call ended.
        status: Status,
        /// The result, or the error.
        data: Vec<u8>,
        /// Whether no more answers follow.
        is_last: bool,
    },
    /// The connection to the server is open.
    Opened,
    /// The connection could not be opened, or has ended, for this reason.
    Failed(String),
    /// The subscriptions have been changed.
    Changed,
    /// The batch has been published. For each publication, the number of subscribers that it has reached.
    Published(Vec<u64>),
    /// Something was published on a topic.
    Received {
        /// The topic.
        topic: Topic,
        /// The encoded publication.
        bytes: Vec<u8>,
        /// Whether the processes have room for it.
        has_room: bool,
    },
    /// Time has passed.
    Tick,
}

/// How a request to other machines ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All outcomes have been delivered.
    Complete,
    /// No machine has the leader.
    NoLeader,
    /// This many machines have received the request but have not announced who answers.
    Missing(u32),
    /// The time limit of the process is over, with this many machines missing; 0 if no missing machine is
    /// known.
    Late(u32),
    /// There is no connection to the server.
    Disconnected,
    /// Too many messages are queued to be published.
    Busy,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect to the server.
    Open,
    /// Drop the connection, and the commands under way on it.
    Close,
    /// Change the subscriptions. [`Input::Changed`] follows.
    Change {
        /// The topics to subscribe to.
        subscribe: Vec<Topic>,
        /// The topics to unsubscribe from.
        unsubscribe: Vec<Topic>,
    },
    /// Publish these in order. [`Input::Published`] follows.
    Publish(Vec<(Topic, Vec<u8>)>),
    /// Publish a beat, and check whether this is still the right server.
    Beat(Topic, Vec<u8>),
    /// Deliver a message to the processes of this machine that subscribe to the topic.
    Message {
        /// The channel, or the name of the handlers.
        topic: Topic,
        /// The sending worker of the other machine; 0 is its primary.
        worker: u32,
        /// The message.
        data: Vec<u8>,
    },
    /// Tell the subscribers of a topic that messages were lost.
    Lost {
        /// The channel, or the name of the handlers.
        topic: Topic,
        /// The number of messages; 0 if unknown.
        count: u64,
    },
    /// Deliver a notice to the leader, if it is on this machine.
    NotifyLeader {
        /// The name of the leader.
        leader: Arc<[u8]>,
        /// The name of the handler.
        name: Arc<[u8]>,
        /// The sending worker of the other machine; 0 is its primary.
        worker: u32,
        /// The message.
        data: Vec<u8>,
    },
    /// Give a request of another machine to processes of this one. [`Input::Asked`] follows, and one
    /// [`Input::Answered`] for each worker.
    Ask {
        /// The number of the request. Never reused.
        id: RequestId,
        /// The worker of the other machine that makes the request; 0 is its primary.
        worker: u32,
        /// The name of the leader that should answer, if it is on this machine; `None` for all workers.
        leader: Option<Arc<[u8]>>,
        /// The name of the handler.
        name: Arc<[u8]>,
        /// The argument.
        data: Vec<u8>,
    },
    /// Cancel a request of another machine: its answers are not needed any more.
    Cancel(RequestId),
    /// Deliver one outcome of a request to the process that made it.
    Outcome {
        /// The call.
        call: CallId,
        /// The machine that has answered.
        machine: MachineId,
        /// Its worker; 0 is its primary.
        worker: u32,
        /// How the call ended.
        status: Status,
        /// The result, or the error.
        data: Vec<u8>,
    },
    /// A request of this machine has ended. No outcomes follow.
    Ended {
        /// The call.
        call: CallId,
        /// How it ended.
        end: End,
    },
    /// Why there is no connection. Comes before the [`Output::Ended`] of the requests that fail for this
    /// reason.
    Failed(String),
    /// This many bytes of this machine's processes have been published or dropped, so there is room for
    /// others.
    Room(usize),
}

impl Input {
    /// The bytes that this input occupies until an [`Output::Room`] frees them.
    #[must_use]
    pub fn cost(&self) -> usize {
        match self {
            Self::Post { data, .. }
            | Self::NotifyLeader { data, .. }
            | Self::Request { data, .. }
            | Self::Answered { data, .. } => data.len(),
            _ => 0,
        }
    }
}

impl Output {
    pub(super) fn outcome(call: CallId, machine: MachineId, worker: u32, status: Status) -> Self {
        Self::Outcome { call, machine, worker, status, data: Vec::new() }
    }

    /// The number of bytes for processes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Message { data, .. }
            | Self::NotifyLeader { data, .. }
            | Self::Ask { data, .. }
            | Self::Outcome { data, .. } => data.len(),
            _ => 0,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
