//! The invariants between any two inputs. The simulation checks them after each step.

use super::listener::Door;
use super::on_behalf::needs_accept_on_behalf;
use super::worker::Standing;
use super::{Connection, Dispatch, Time};

impl<C: Connection> Dispatch<C> {
    /// Checks the invariants.
    ///
    /// # Errors
    /// The broken invariant, in words.
    pub fn check_invariants(&self, now: Time) -> Result<(), String> {
        self.check_tables()?;
        self.check_queues()?;
        self.check_nobody_is_forgotten(now)
    }

    fn check_tables(&self) -> Result<(), String> {
        let ascending = self.listeners.windows(2).all(|pair| pair[0].id < pair[1].id);
        ensure(ascending, || "the listeners are out of order".into())?;
        for (place, worker) in self.workers.iter().enumerate() {
            let id = worker.id;
            let twice = self.workers[..place].iter().any(|other| other.id == id);
            ensure(!twice, || format!("{id} is there twice"))?;
            ensure(worker.in_flight() <= self.config.window, || format!("{id} has more than its window"))?;
            let seats = self.listeners.iter().map(|listener| {
                let seats = listener.members.iter().filter(|member| member.place == place).count();
                (seats, listener.members.len() > 1)
            });
            let (mut shared, mut member) = (0, false);
            for (seats, has_company) in seats {
                ensure(seats <= 1, || format!("{id} has two seats"))?;
                shared += u32::from(seats == 1 && has_company);
                member |= seats == 1;
            }
            ensure(worker.shared == shared, || format!("{id} shares {shared}, not {}", worker.shared))?;
            let left = worker.standing == Standing::Leaving;
            ensure(!(left && member), || format!("{id} is leaving and still a member"))?;
            ensure(left == worker.slot.is_none(), || {
                format!("{id} leaves with its slot, or serves without")
            })?;
        }
        let mut members = self.listeners.iter().flat_map(|listener| &listener.members);
        ensure(members.all(|member| member.place < self.workers.len()), || "a member does not exist".into())
    }

    fn check_queues(&self) -> Result<(), String> {
        let waiting: usize = self.listeners.iter().map(|listener| listener.queue.len()).sum();
        ensure(waiting == self.waiting, || format!("{waiting} wait, not {}", self.waiting))?;
        ensure(self.calm == self.is_calm(), || "calm is wrong".into())?;
        for listener in &self.listeners {
            let (id, length, limit) = (listener.id, listener.queue.len(), listener.limit());
            ensure(listener.queue.requeued() <= length, || format!("{id}: more came back than wait"))?;
            let counts = &listener.counts;
            let (came, went) = (
                counts.accepted + counts.reclaimed + counts.returned + counts.handed_over,
                counts.passed + counts.shed + length as u64,
            );
            ensure(came == went, || format!("{id}: {came} came and {went} are accounted for"))?;
            for member in &listener.members {
                let worker = &self.workers[member.place];
                let needed = listener.is_per_slot() && needs_accept_on_behalf(member, worker);
                ensure(member.on_behalf == needed, || format!("who accepts for {} at {id}?", worker.id))?;
            }
            let kept =
                (0..length).filter_map(|index| listener.queue.get(index)).filter(|(conn, _)| conn.is_kept());
            ensure(kept.count() == listener.queue.kept(), || {
                format!("{id}: the handed-over ones are miscounted")
            })?;
            let clients = listener.queue.clients();
            let must_pause = listener.members.is_empty() || clients >= limit;
            ensure(!must_pause || listener.paused, || format!("{id} should be paused"))?;
            let may_run = !listener.members.is_empty() && clients <= limit / 2;
            ensure(!may_run || !listener.paused, || format!("{id} should not be paused"))?;
        }
        Ok(())
    }

    /// Each waiting connection has something that will end its wait: a requested wake-up, a deadline, or an
    /// input that must come (room, a member, an answer to a reclaim).
    fn check_nobody_is_forgotten(&self, now: Time) -> Result<(), String> {
        for worker in &self.workers {
            let id = worker.id;
            ensure(!worker.is_suspended() || worker.wake_asked, || {
                format!("{id} is waited for without its knowledge")
            })?;
            let due = worker.deadline(self.config.blocked_after);
            let watched = due.is_none_or(|due| self.deadline.is_some_and(|deadline| deadline <= due));
            ensure(watched, || format!("nobody will look whether {id} is blocked"))?;
            let watched =
                worker.reclaim_again_at.is_none_or(|at| self.deadline.is_some_and(|deadline| deadline <= at));
            ensure(watched, || format!("nobody will reclaim the rest from {id}"))?;
        }
        for listener in self.listeners.iter().filter(|listener| !listener.queue.is_empty()) {
            let due = listener.next_due(now);
            ensure(due.is_none_or(|due| self.deadline.is_some_and(|deadline| deadline <= due)), || {
                format!("nobody will look at the queue of {}", listener.id)
            })?;
            // A connection may wait for its own worker, until its patience ends, although others are ready.
            if listener.plan.policy.has_homes() && due.is_some() {
                continue;
            }
            for member in &listener.members {
                let worker = &self.workers[member.place];
                let served = match member.door {
                    Door::Full => true,
                    // After the rest, it counts as open; before that, there is a deadline.
                    Door::Resting(until) => {
                        worker.wake_asked || self.deadline.is_some_and(|deadline| deadline <= until)
                    }
                    Door::Open => worker.wake_asked,
                };
                ensure(served, || format!("{} could serve {} and is not asked", worker.id, listener.id))?;
            }
        }
        Ok(())
    }
}

fn ensure(holds: bool, rule: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(rule()) }
}
