//! The end of everything.

use std::time::Duration;

use super::member::Stage;
use super::{Event, Failure, Output, Reason, Run, Supervise};
use crate::core::ids::Request;

/// What is to happen once all are gone.
#[derive(Debug)]
pub(super) struct Ending {
    requests: Vec<Request>,
    /// The exit code of the primary, if it is to exit because we gave up.
    stop: Option<i32>,
}

impl Supervise {
    pub(super) fn shutdown_asked(&mut self, timeout: Duration, request: Request) {
        self.begin_to_end(timeout, None);
        if let Run::Ending(ending) = &mut self.run {
            ending.requests.push(request);
        }
    }

    /// Nothing is started any more. Asked for once more, it may only go faster.
    pub(super) fn begin_to_end(&mut self, timeout: Duration, stop: Option<i32>) {
        if !matches!(self.run, Run::Ending(_)) {
            self.run = Run::Ending(Ending { requests: Vec::new(), stop });
            self.tell(Event::Shutdown { gave_up: stop.is_some(), timeout });
            self.abandon_reload();
            self.end_scales(&Err(Failure::ShutDown));
        }
        let at_last = self.in_time(timeout);
        for index in 0..self.members.len() {
            match &mut self.members[index].stage {
                Stage::Starting { .. } => self.terminate(index),
                Stage::Ready { .. } => self.drain_within(index, Reason::Shutdown, timeout),
                Stage::Draining { until } => *until = at_last.min(*until),
                _ => {}
            }
        }
    }

    pub(super) fn force(&mut self) {
        self.begin_to_end(Duration::ZERO, None);
        for index in 0..self.members.len() {
            match self.members[index].stage {
                Stage::Killed => {}
                Stage::Capturing { .. } => self.kill_hung(index, None),
                _ => self.kill(index),
            }
        }
    }

    pub(super) fn answer_shutdown(&mut self) {
        let Run::Ending(ending) = &mut self.run else { return };
        if !self.members.is_empty() {
            return;
        }
        let (requests, stop) = (std::mem::take(&mut ending.requests), ending.stop.take());
        for request in requests {
            self.say(Output::Done { request, result: Ok(()) });
        }
        if let Some(code) = stop {
            self.say(Output::StopPrimary { code });
        }
    }
}
