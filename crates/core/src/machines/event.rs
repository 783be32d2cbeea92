//! What happens to the link with other machines, and what it decides.

use std::sync::Arc;

use super::topic::{MachineId, Topic};
use crate::exchange::frame::Status;
use crate::exchange::{CallId, RequestId};

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Somebody of this machine hears a channel, or handles a name.
    Listen(Topic),
    /// Nobody does any more.
    Unlisten(Topic),
    /// A process of this machine has something for others.
    Post {
        /// Where they hear it.
        topic: Topic,
        /// The worker; 0 is the primary.
        worker: u32,
        /// The message.
        data: Vec<u8>,
    },
    /// The same for the handler of the one that leads, on whichever machine.
    Tell {
        /// The name of the leader.
        leader: Arc<[u8]>,
        /// The name of the handler.
        name: Arc<[u8]>,
        /// The worker; 0 is the primary.
        worker: u32,
        /// The message.
        data: Vec<u8>,
    },
    /// So many of these had no room on their way here.
    Dropped {
        /// Where others would have heard them.
        topic: Topic,
        /// How many.
        count: u64,
    },
    /// A process of this machine asks others. Answered by outcomes, and by [`Output::Ended`].
    Request {
        /// The call of this machine's exchange.
        call: CallId,
        /// The worker; 0 is the primary.
        worker: u32,
        /// The one that leads under this name; all workers if there is none.
        leader: Option<Arc<[u8]>>,
        /// The name.
        name: Arc<[u8]>,
        /// The argument.
        data: Vec<u8>,
    },
    /// It does not wait any more.
    Cancel {
        /// The call.
        call: CallId,
        /// Whether it is told what is missing.
        tell: bool,
    },
    /// What another machine has asked has reached these workers; `None`: there is too much to be answered.
    Asked {
        /// See [`Output::Ask`].
        id: RequestId,
        /// The workers.
        workers: Option<Vec<u32>>,
    },
    /// One of them has answered.
    Answered {
        /// See [`Output::Ask`].
        id: RequestId,
        /// The worker.
        worker: u32,
        /// What has come of it.
        status: Status,
        /// The result, or the error.
        data: Vec<u8>,
        /// Whether it is the last one.
        is_last: bool,
    },
    /// The server is connected.
    Opened,
    /// It cannot be connected, or is not connected any more: why.
    Failed(String),
    /// What was to be subscribed to and no more is.
    Changed,
    /// What was to be published is, and each has reached so many.
    Published(Vec<u64>),
    /// A publication has come.
    Heard {
        /// The topic on which it has come.
        topic: Topic,
        /// What has come.
        bytes: Vec<u8>,
        /// Whether there is room for it on its way to the processes.
        has_room: bool,
    },
    /// Nothing but that time has passed.
    Tick,
}

/// How the part of a request ends that is for other machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All outcomes have been told.
    Complete,
    /// Nobody leads on any of them.
    NoLeader,
    /// So many machines have been asked, and have not said who answers.
    Missing(u32),
    /// The same when the time of the process is up; 0 if none has been asked, as far as is known.
    Late(u32),
    /// There is no connection with the server.
    Disconnected,
    /// Too much waits for the server.
    Busy,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect to the server.
    Open,
    /// Forget the connection, and what is under way on it.
    Close,
    /// Hear and hear no longer. Answered by [`Input::Changed`].
    Change {
        /// What to subscribe to.
        subscribe: Vec<Topic>,
        /// What not to be subscribed to any more.
        unsubscribe: Vec<Topic>,
    },
    /// Publish in order. Answered by [`Input::Published`].
    Publish(Vec<(Topic, Vec<u8>)>),
    /// Publish what nobody waits for, and find out whether this is still the server to be connected with.
    Beat(Topic, Vec<u8>),
    /// Tell the processes that hear a channel, or handle a name, what has come from another machine.
    Message {
        /// The channel, or the name.
        topic: Topic,
        /// The worker of that machine; 0 is its primary.
        worker: u32,
        /// The message.
        data: Vec<u8>,
    },
    /// Tell them that messages are lost.
    Lost {
        /// The channel, or the name.
        topic: Topic,
        /// How many; 0 if it is not known.
        count: u64,
    },
    /// Tell the handler of the one that leads, if it is on this machine.
    Tell {
        /// The name of the leader.
        leader: Arc<[u8]>,
        /// The name of the handler.
        name: Arc<[u8]>,
        /// The worker of the other machine; 0 is its primary.
        worker: u32,
        /// The message.
        data: Vec<u8>,
    },
    /// Ask processes of this machine. Answered by [`Input::Asked`], and by [`Input::Answered`] for each worker.
    Ask {
        /// The number of the question. Never used twice.
        id: RequestId,
        /// The worker of the other machine; 0 is its primary.
        worker: u32,
        /// The one that leads under this name, if it is on this machine; all workers if there is none.
        leader: Option<Arc<[u8]>>,
        /// The name.
        name: Arc<[u8]>,
        /// The argument.
        data: Vec<u8>,
    },
    /// Nobody waits for the answers any more.
    Unask(RequestId),
    /// Tell a process what has come of its request on another machine.
    Outcome {
        /// The call.
        call: CallId,
        /// The machine.
        machine: MachineId,
        /// Its worker; 0 is its primary.
        worker: u32,
        /// What has come of it.
        status: Status,
        /// The result, or the error.
        data: Vec<u8>,
    },
    /// Nothing more comes of it.
    Ended {
        /// The call.
        call: CallId,
        /// Whether that is all, and if not why.
        end: End,
    },
    /// Why there is no connection. Told before what ends by that.
    Failed(String),
    /// So many bytes of this machine's processes have been published or are lost: there is room for others.
    Room(usize),
}

impl Input {
    /// How many bytes of a process it takes, for which [`Output::Room`] tells of room again.
    #[must_use]
    pub fn cost(&self) -> usize {
        match self {
            Self::Post { data, .. }
            | Self::Tell { data, .. }
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

    /// How many bytes it has for processes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Message { data, .. }
            | Self::Tell { data, .. }
            | Self::Ask { data, .. }
            | Self::Outcome { data, .. } => data.len(),
            _ => 0,
        }
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
