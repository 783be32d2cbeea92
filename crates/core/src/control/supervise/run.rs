//! The state of the whole cluster: not started, running, shutdown announced, ending.

use std::time::Duration;

use super::{Failure, Time};
use crate::ids::Request;

#[derive(Debug)]
enum State {
    Idle,
    Running,
    /// It keeps running until then, so that load balancers have time to stop using it.
    Announced {
        until: Time,
        timeout: Duration,
        requests: Vec<Request>,
    },
    Ending {
        requests: Vec<Request>,
        /// The exit code of the primary, if it exits because supervision gave up.
        exit_code: Option<i32>,
    },
}

/// The state: see the module.
#[derive(Debug)]
pub(super) struct Run(State);

impl Run {
    pub(super) fn new() -> Self {
        Self(State::Idle)
    }

    /// Starts the cluster. False if it was started before.
    pub(super) fn start(&mut self) -> bool {
        let is_idle = matches!(self.0, State::Idle);
        if is_idle {
            self.0 = State::Running;
        }
        is_idle
    }

    /// Whether workers are kept up. Also true once the shutdown is announced.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.0, State::Running | State::Announced { .. })
    }

    pub(super) fn is_announced(&self) -> bool {
        matches!(self.0, State::Announced { .. })
    }

    pub(super) fn is_ending(&self) -> bool {
        matches!(self.0, State::Ending { .. })
    }

    /// Why requests are refused now, if they are.
    pub(super) fn refusal(&self) -> Option<Failure> {
        match self.0 {
            State::Idle => Some(Failure::NotStarted),
            State::Running => None,
            State::Announced { .. } | State::Ending { .. } => Some(Failure::ShutDown),
        }
    }

    /// When the announced shutdown begins.
    pub(super) fn deadline(&self) -> Option<Time> {
        match self.0 {
            State::Announced { until, .. } => Some(until),
            _ => None,
        }
    }

    /// How long the drains may take, if the announced shutdown begins now.
    pub(super) fn due(&self, now: Time) -> Option<Duration> {
        match self.0 {
            State::Announced { until, timeout, .. } if until <= now => Some(timeout),
            _ => None,
        }
    }

    /// Announces the shutdown. If it is already announced, it can only get earlier, and the result is false.
    pub(super) fn announce(&mut self, begins: Time, limit: Duration, request: Request) -> bool {
        if let State::Announced { until, timeout, requests } = &mut self.0 {
            *until = begins.min(*until);
            *timeout = limit.min(*timeout);
            requests.push(request);
            return false;
        }
        self.0 = State::Announced { until: begins, timeout: limit, requests: vec![request] };
        true
    }

    /// Begins the shutdown: nothing is started any more. False if it had begun before.
    pub(super) fn end(&mut self, exit_code: Option<i32>) -> bool {
        let requests = match &mut self.0 {
            State::Ending { .. } => return false,
            State::Announced { requests, .. } => std::mem::take(requests),
            State::Idle | State::Running => Vec::new(),
        };
        self.0 = State::Ending { requests, exit_code };
        true
    }

    /// Adds a request that is answered once everything has ended.
    pub(super) fn add_request(&mut self, request: Request) {
        if let State::Ending { requests, .. } = &mut self.0 {
            requests.push(request);
        }
    }

    /// All workers have exited. Returns the requests to answer, and the exit code of the primary if it must
    /// exit.
    pub(super) fn finish(&mut self) -> (Vec<Request>, Option<i32>) {
        match &mut self.0 {
            State::Ending { requests, exit_code } => (std::mem::take(requests), exit_code.take()),
            _ => (Vec::new(), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_announced_end_only_gets_earlier_and_its_requests_are_answered_at_the_end() {
        let mut run = Run::new();
        assert_eq!(run.refusal(), Some(Failure::NotStarted));
        assert!(run.start() && !run.start());
        assert_eq!(run.refusal(), None);
        assert!(run.announce(at(20), at(9), Request(1)));
        assert!(!run.announce(at(30), at(5), Request(2)));
        assert_eq!((run.deadline(), run.due(at(19)), run.due(at(20))), (Some(at(20)), None, Some(at(5))));
        assert!(run.is_running() && run.refusal() == Some(Failure::ShutDown));
        assert!(run.end(None) && !run.end(Some(70)), "the first reason counts");
        run.add_request(Request(3));
        assert!(!run.is_running() && run.deadline().is_none());
        assert_eq!(run.finish(), (vec![Request(1), Request(2), Request(3)], None));
        assert_eq!(run.finish(), (vec![], None), "each is answered once");
    }
}
