//! One front and its brain.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::token::Token;
use super::tools::Tools;
use super::{BoundFront, FrontAddress, FrontOptions, Report};
use rcluster_core::forward::{Activity, Forward, Input, Output};
use rcluster_core::schedule::Policy;
use rcluster_sys::error::SysError;
use rcluster_sys::headroom::room_for_clients;
use rcluster_sys::listen::{Bound, accept, address_text, has_client};
use rcluster_sys::stream;

pub(super) struct Front {
    /// The socket until the last call.
    bound: Option<Bound>,
    /// The actual address; `None` for a path.
    sockname: Option<SocketAddr>,
    options: FrontOptions,
    brain: Forward,
    /// Whether clients must be accepted, as the brain decides, and whether the poller watches for them.
    accepting: bool,
    watched: bool,
    /// Inputs that the brain has not handled yet, and whether it is handling one now.
    inputs: VecDeque<Input>,
    telling: bool,
}

impl Front {
    pub(super) fn new(BoundFront { bound, options }: BoundFront) -> Self {
        stream::no_delay(&bound.fd);
        let brain = Forward::new(options.config, options.policy);
        Self {
            sockname: bound.sockname,
            bound: Some(bound),
            options,
            brain,
            accepting: false,
            watched: false,
            inputs: VecDeque::new(),
            telling: false,
        }
    }

    pub(super) fn options(&self) -> &FrontOptions {
        &self.options
    }

    pub(super) fn is_sticky(&self) -> bool {
        self.options.policy == Policy::Sticky
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.brain.next_deadline()
    }

    /// Whether a client waits for a worker, or for its connection to one.
    pub(super) fn has_unconnected(&self) -> bool {
        self.brain.has_unconnected()
    }

    /// The number of clients that wait for a worker.
    pub(super) fn waiting(&self) -> usize {
        self.brain.waiting()
    }

    /// Queues an input for the brain. Returns false if the brain is handling inputs already, and will handle
    /// this one as well.
    pub(super) fn begin(&mut self, input: Input) -> bool {
        self.inputs.push_back(input);
        !std::mem::replace(&mut self.telling, true)
    }

    /// Gives the brain the next input. Returns false if there is none, which ends the handling.
    pub(super) fn next(
        &mut self,
        now: Duration,
        activity: &impl Activity,
        outputs: &mut Vec<Output>,
    ) -> bool {
        let input = self.inputs.pop_front();
        match input {
            Some(input) => self.brain.handle(now, input, activity, outputs),
            None => self.telling = false,
        }
        input.is_some()
    }

    pub(super) fn set_accepting(&mut self, accepting: bool) {
        self.accepting = accepting;
    }

    /// Whether a client may wait. For the first one of an event, the poller has reported it.
    pub(super) fn may_accept(&self, is_first: bool) -> bool {
        self.accepting && (is_first || self.has_client())
    }

    /// Whether a client waits in the backlog.
    pub(super) fn has_client(&self) -> bool {
        self.bound.as_ref().is_some_and(|bound| has_client(&bound.fd))
    }

    /// Accepts a client, if that leaves `missing` descriptors.
    pub(super) fn accept(&self, missing: usize) -> Result<Option<OwnedFd>, SysError> {
        let Some(bound) = &self.bound else { return Ok(None) };
        room_for_clients(missing).and_then(|()| accept(&bound.fd))
    }

    /// Closes the socket: clients that have not been accepted are reset, later ones refused.
    pub(super) fn close(&mut self, tools: &mut Tools) -> Result<(), SysError> {
        if let Some(bound) = self.bound.take()
            && std::mem::take(&mut self.watched)
        {
            tools.poller().remove(&bound.fd)?;
        }
        Ok(())
    }

    /// Starts or stops watching the socket, as the brain wants. Returns false if watching failed, which is
    /// warned of.
    pub(super) fn watch(&mut self, index: usize, tools: &mut Tools) -> Result<bool, SysError> {
        let Some(bound) = &self.bound else { return Ok(true) };
        if self.accepting == self.watched {
            return Ok(true);
        }
        if self.watched {
            // Needs no resources. If it fails, the thread would be woken forever.
            tools.poller().remove(&bound.fd)?;
            self.watched = false;
            return Ok(true);
        }
        match tools.poller().add(&bound.fd, Token::Front(index).pack()) {
            Ok(()) => self.watched = true,
            Err(error) => tools.warn(error),
        }
        Ok(self.watched)
    }

    pub(super) fn report(&self) -> Report {
        let (address, port) = match (&self.sockname, &self.options.address) {
            (Some(at), _) => (address_text(at), Some(at.port())),
            (None, FrontAddress::Path(path)) => (path.clone(), None),
            (None, FrontAddress::Tcp { .. }) => (String::new(), None),
        };
        Report {
            address,
            port,
            counters: self.brain.counters(),
            connections: self.brain.connections(),
            waiting: self.brain.waiting(),
            workers: self.brain.loads().collect(),
        }
    }

    /// The socket and its address.
    #[cfg(test)]
    pub(super) fn bound(&self) -> &Bound {
        self.bound.as_ref().unwrap()
    }
}
