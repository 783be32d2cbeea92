//! The end of everything.

use std::time::Duration;

use super::member::Stage;
use super::post::Standing;
use super::{Event, Failure, GivingUp, OnGiveUp, Output, Reason, Run, Supervise, Time, Why};
use crate::ids::Request;

/// What is to happen once all are gone.
#[derive(Debug)]
pub(super) struct Ending {
    requests: Vec<Request>,
    /// The exit code of the primary, if it is to exit because we gave up.
    stop: Option<i32>,
}

/// The end has been announced, and has not begun: load balancers are given the time to look elsewhere.
#[derive(Debug)]
pub(super) struct Stopping {
    pub(super) until: Time,
    timeout: Duration,
    requests: Vec<Request>,
}

impl Supervise {
    pub(super) fn shutdown_asked(&mut self, delay: Duration, timeout: Duration, request: Request) {
        if matches!(self.run, Run::Running) && !delay.is_zero() {
            self.announce_end(delay, timeout, request);
            return;
        }
        self.begin_to_end(timeout, None);
        if let Run::Ending(ending) = &mut self.run {
            ending.requests.push(request);
        }
    }

    /// Whether the end has been announced and has not begun.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    fn announce_end(&mut self, delay: Duration, timeout: Duration, request: Request) {
        let until = self.in_time(delay);
        if let Some(stopping) = &mut self.stopping {
            stopping.until = until.min(stopping.until);
            stopping.timeout = timeout.min(stopping.timeout);
            stopping.requests.push(request);
            return;
        }
        self.stopping = Some(Stopping { until, timeout, requests: vec![request] });
        self.tell(Event::Stopping { delay });
        self.abandon_reload();
        self.end_scales(&Err(Failure::ShutDown));
    }

    /// The time between the announcement of the end and its beginning is over.
    pub(super) fn delayed_long_enough(&mut self) {
        let over = self.stopping.as_ref().filter(|stopping| stopping.until <= self.now);
        if let Some(timeout) = over.map(|stopping| stopping.timeout) {
            self.begin_to_end(timeout, None);
        }
    }

    /// Ends if a slot has been given up and that is to be the end, or if no slot will ever serve again because of failures.
    pub(super) fn end_if_hopeless(&mut self) {
        // Why comes before what follows from it.
        if !self.is_all_told() {
            return;
        }
        let gave_up = self.gave_up.take().filter(|_| self.options.on_give_up == OnGiveUp::Exit);
        let Some(why) = gave_up.or_else(|| self.hopeless()) else { return };
        // An end that was asked for is no failure: it only comes earlier.
        let exit_code = self.options.give_up_exit_code;
        let stop = (!self.is_stopping()).then_some(GivingUp { exit_code, why });
        self.begin_to_end(self.options.shutdown_timeout, stop);
    }

    /// The last failure, if there is no slot that serves or will have another worker, and not all of them ended well.
    pub(super) fn hopeless(&self) -> Option<Why> {
        if !matches!(self.run, Run::Running) || !self.is_all_told() {
            return None;
        }
        // One that is about to go serves until then.
        let is_over = |slot| {
            matches!(self.standing(slot), Standing::GivenUp | Standing::Stopped)
                && self.current(slot).is_none()
        };
        if !self.slots().all(is_over) {
            return None;
        }
        self.posts_with_slots().find_map(|(_, post)| post.failure.clone())
    }

    /// Nothing is started any more. Asked for once more, it may only go faster.
    pub(super) fn begin_to_end(&mut self, timeout: Duration, stop: Option<GivingUp>) {
        if !matches!(self.run, Run::Ending(_)) {
            let requests = self.stopping.take().map(|stopping| stopping.requests).unwrap_or_default();
            let exit_code = stop.as_ref().map(|stop| stop.exit_code);
            self.run = Run::Ending(Ending { requests, stop: exit_code });
            self.tell(Event::Shutdown { gave_up: stop, timeout });
            self.abandon_reload();
            self.end_scales(&Err(Failure::ShutDown));
        }
        let at_last = self.in_time(timeout);
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            match &mut member.stage {
                Stage::Starting { .. } if !member.able => self.terminate(index),
                Stage::Starting { .. } | Stage::Ready { .. } => {
                    self.drain_within(index, Reason::Shutdown, timeout);
                }
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
