//! More slots, or fewer.

use super::member::Place;
use super::options::MAX_WORKERS;
use super::post::{Post, Standing};
use super::{Cause, Failure, Output, Reason, Supervise, Why};
use crate::core::ids::{Request, Slot};

/// What has been asked for and not been answered. All of it is for one number of workers: who asks for
/// another one overtakes the others.
#[derive(Debug, Default)]
pub(super) struct Scales {
    requests: Vec<Request>,
    workers: u32,
    /// The slots from here on are new, and have to get ready.
    from: u32,
    /// A reload is running; the slots stay as they are for so long.
    waits: bool,
}

impl Supervise {
    pub(super) fn scale_asked(&mut self, workers: u32, request: Request) {
        let refusal = match self.refusal() {
            None if !(1..=MAX_WORKERS).contains(&workers) => Some(Failure::OutOfRange { workers }),
            refusal => refusal,
        };
        if let Some(failure) = refusal {
            self.say(Output::Done { request, result: Err(failure) });
            return;
        }
        if self.scales.workers != workers {
            let failure = Failure::Superseded { wanted: self.scales.workers, now: workers };
            self.end_scales(&Err(failure));
        }
        if self.scales.requests.is_empty() {
            self.scales = Scales { workers, from: workers, waits: true, requests: Vec::new() };
        }
        self.scales.requests.push(request);
    }

    pub(super) fn apply_scales(&mut self) {
        if !self.scales.waits || self.reload.is_some() {
            return;
        }
        self.scales.waits = false;
        self.scales.from = self.wanted;
        let workers = self.scales.workers;
        for slot in (workers..self.wanted).map(Slot) {
            self.posts[slot.0 as usize].standing = Standing::Stopped;
            for place in [Place::Successor(slot), Place::Current(slot)] {
                if let Some(index) = self.at(place) {
                    self.send_off(index, Reason::Scale);
                }
            }
        }
        for slot in self.wanted..workers {
            let due = Standing::Due { at: self.now, cause: Cause::Scale };
            let post = Post::new(due, &self.options);
            // It may be there still, because its last worker drains.
            match self.posts.get_mut(slot as usize) {
                Some(old) => *old = post,
                None => self.posts.push(post),
            }
        }
        self.wanted = workers;
    }

    pub(super) fn answer_scales(&mut self) {
        if self.scales.waits || self.scales.requests.is_empty() {
            return;
        }
        let all_up = (self.scales.from..self.wanted).all(|slot| self.has_ready(Slot(slot)));
        let all_gone =
            !self.members.iter().any(|member| member.place.slot().is_some_and(|slot| slot.0 >= self.wanted));
        if all_up && all_gone {
            self.end_scales(&Ok(()));
        }
    }

    /// A slot has met with a failure. If it is a new one, that is the answer.
    pub(super) fn scale_meets(&mut self, slot: Slot, why: &Why) {
        if !self.scales.waits && slot.0 >= self.scales.from {
            self.end_scales(&Err(Failure::NotReady { slot, why: why.clone() }));
        }
    }

    pub(super) fn end_scales(&mut self, result: &Result<(), Failure>) {
        for request in std::mem::take(&mut self.scales.requests) {
            self.say(Output::Done { request, result: result.clone() });
        }
        self.scales.waits = false;
    }

    pub(super) fn forget_empty_slots(&mut self) {
        let last = self.members.iter().filter_map(|member| member.place.slot()).map(|slot| slot.0 + 1).max();
        self.posts.truncate(self.wanted.max(last.unwrap_or(0)) as usize);
    }
}
