//! More slots, or fewer.

use super::member::Place;
use super::options::MAX_WORKERS;
use super::post::{Post, Standing};
use super::{Cause, Failure, Output, Reason, Supervise, Why};
use crate::ids::{Request, Slot};

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

impl Scales {
    /// Somebody asks for so many slots. Returns those who are overtaken by that, and what they are told.
    fn ask(&mut self, workers: u32, request: Request) -> (Vec<Request>, Failure) {
        let failure = Failure::Superseded { wanted: self.workers, now: workers };
        let overtaken = if self.workers == workers { Vec::new() } else { self.end() };
        if self.requests.is_empty() {
            *self = Self { workers, from: workers, waits: true, requests: Vec::new() };
        }
        self.requests.push(request);
        (overtaken, failure)
    }

    /// How many slots there are to be from now on, where there were `before`. None if there is nothing to change.
    fn begin(&mut self, before: u32) -> Option<u32> {
        if !std::mem::take(&mut self.waits) {
            return None;
        }
        self.from = before;
        Some(self.workers)
    }

    /// Whether somebody waits for the slots to be as they are to be.
    fn is_under_way(&self) -> bool {
        !self.waits && !self.requests.is_empty()
    }

    /// Whether a slot is a new one.
    fn is_new(&self, slot: Slot) -> bool {
        !self.waits && slot.0 >= self.from
    }

    /// All is done, or comes to nothing. Returns those who are to be told.
    fn end(&mut self) -> Vec<Request> {
        self.waits = false;
        std::mem::take(&mut self.requests)
    }
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
        let (overtaken, failure) = self.scales.ask(workers, request);
        for request in overtaken {
            self.say(Output::Done { request, result: Err(failure.clone()) });
        }
    }

    pub(super) fn apply_scales(&mut self) {
        if self.reload.is_some() {
            return;
        }
        let Some(workers) = self.scales.begin(self.wanted) else { return };
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
        if !self.scales.is_under_way() {
            return;
        }
        let all_up = self.slots().filter(|slot| self.scales.is_new(*slot)).all(|slot| self.has_ready(slot));
        let all_gone =
            !self.members.iter().any(|member| member.place.slot().is_some_and(|slot| slot.0 >= self.wanted));
        if all_up && all_gone {
            self.end_scales(&Ok(()));
        }
    }

    /// A slot has met with a failure. If it is a new one, that is the answer.
    pub(super) fn scale_meets(&mut self, slot: Slot, why: &Why) {
        if self.scales.is_new(slot) {
            self.end_scales(&Err(Failure::NotReady { slot, why: why.clone() }));
        }
    }

    pub(super) fn end_scales(&mut self, result: &Result<(), Failure>) {
        for request in self.scales.end() {
            self.say(Output::Done { request, result: result.clone() });
        }
    }

    pub(super) fn forget_empty_slots(&mut self) {
        let last = self.members.iter().filter_map(|member| member.place.slot()).map(|slot| slot.0 + 1).max();
        self.posts.truncate(self.wanted.max(last.unwrap_or(0)) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Request = Request(1);
    const TWO: Request = Request(2);

    #[test]
    fn whoever_asks_for_the_same_is_answered_together_and_another_number_overtakes() {
        let mut scales = Scales::default();
        assert_eq!(scales.ask(3, ONE).0, []);
        assert_eq!(scales.ask(3, TWO).0, []);
        let (overtaken, failure) = scales.ask(4, Request(3));
        assert_eq!(overtaken, [ONE, TWO]);
        assert_eq!(failure, Failure::Superseded { wanted: 3, now: 4 });
        assert_eq!(scales.begin(1), Some(4), "the last word counts");
        assert_eq!(scales.end(), [Request(3)]);
    }

    #[test]
    fn only_the_slots_that_are_added_are_new_and_only_once_they_are_there() {
        let mut scales = Scales::default();
        assert_eq!(scales.begin(2), None, "nobody has asked");
        scales.ask(3, ONE);
        assert!(!scales.is_under_way() && !scales.is_new(Slot(2)));
        assert_eq!(scales.begin(2), Some(3));
        assert!(scales.is_under_way() && scales.is_new(Slot(2)) && !scales.is_new(Slot(1)));
        assert_eq!(scales.begin(3), None, "it has begun");
        assert_eq!(scales.end(), [ONE]);
        assert!(!scales.is_under_way());
    }
}
