//! What the dispatcher knows about one listener: its members, and the connections for which no member had
//! room.

use super::counts::Counts;
use super::queue::Queue;
use super::worker::Worker;
use super::{Board, Connection, Time};
use crate::ids::{ListenerId, Slot, WorkerId};
use crate::schedule::{FULL_WEIGHT, Home, Members, Plan, Policy, Schedule};

/// Whether a member takes connections of this listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Open,
    /// It has reached `maxConnections`, until it reports room.
    Full,
    /// It reported that it does not listen. Usually its departure is already reported on another path; but it
    /// may have listened again meanwhile, so the report is valid only for a while.
    Resting(Time),
}

#[derive(Debug)]
pub(super) struct Member {
    /// Its index in the table of workers.
    pub(super) place: usize,
    pub(super) door: Door,
    /// The shell accepts from the socket of its slot.
    pub(super) on_behalf: bool,
    joined: Time,
}

impl Member {
    pub(super) fn is_open(&self, now: Time) -> bool {
        match self.door {
            Door::Open => true,
            Door::Full => false,
            Door::Resting(until) => until <= now,
        }
    }

    pub(super) fn rests_until(&self, now: Time) -> Option<Time> {
        match self.door {
            Door::Resting(until) if until > now => Some(until),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Listener<C> {
    pub(super) id: ListenerId,
    /// By seat, in the order of the schedule.
    pub(super) members: Vec<Member>,
    pub(super) schedule: Schedule,
    pub(super) plan: Plan,
    pub(super) queue: Queue<C>,
    pub(super) paused: bool,
    pub(super) counts: Counts,
    /// When the slow start of its last member ends.
    warm_at: Time,
}

impl<C: Connection> Listener<C> {
    pub(super) fn new(id: ListenerId, plan: Plan) -> Self {
        Self {
            id,
            members: Vec::new(),
            schedule: Schedule::new(plan.policy),
            plan,
            queue: Queue::new(),
            paused: true,
            counts: Counts::default(),
            warm_at: Time::ZERO,
        }
    }

    /// Whether its workers accept by themselves, each from the socket of its slot.
    pub(super) fn is_per_slot(&self) -> bool {
        self.plan.policy == Policy::Kernel
    }

    /// The queue length at which the listener is paused. A listener that sheds is not paused for that.
    pub(super) fn limit(&self) -> usize {
        if self.plan.overload.sheds() { usize::MAX } else { self.plan.overload.queue.max(1) }
    }

    /// When a waiting connection next needs attention, if nothing else happens.
    pub(super) fn next_due(&self, now: Time) -> Option<Time> {
        if self.queue.is_empty() {
            return None;
        }
        let patience = self.plan.policy.has_homes().then_some(self.plan.patience);
        let limits = patience.into_iter().chain(self.plan.overload.deadline);
        limits.filter_map(|limit| self.queue.next_due(limit, now)).min()
    }

    /// The place, in the queue, of a connection to shed: a new client's. A handed-over connection has been
    /// served before, and does not count towards the limit.
    pub(super) fn too_many(&self, now: Time) -> Option<usize> {
        let overload = &self.plan.overload;
        // Without a member, nothing is overloaded.
        if !overload.sheds() || self.members.is_empty() {
            return None;
        }
        let overdue = overload.deadline.and_then(|deadline| self.queue.overdue(deadline, now));
        let full = self.queue.clients() > overload.queue;
        overdue.or_else(|| self.queue.last_client().filter(|_| full))
    }

    pub(super) fn has(&self, place: usize) -> bool {
        self.members.iter().any(|member| member.place == place)
    }

    pub(super) fn open_members(&self, now: Time) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.is_open(now))
    }

    pub(super) fn member(&mut self, place: usize) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.place == place)
    }

    pub(super) fn join(&mut self, place: usize, now: Time) {
        // A member that joins again has closed its server and listens again: earlier refusals do not count.
        if let Some(member) = self.member(place) {
            member.door = Door::Open;
            return;
        }
        let seat = self.schedule.seat(self.members.len());
        self.members.insert(seat, Member { place, door: Door::Open, on_behalf: false, joined: now });
        self.warm_at = now.saturating_add(self.plan.slow_start);
    }

    /// Removes a member. False if it was not one.
    pub(super) fn leave(&mut self, place: usize) -> bool {
        let Some(seat) = self.members.iter().position(|member| member.place == place) else {
            return false;
        };
        self.members.remove(seat);
        self.schedule.vacate(seat);
        true
    }

    /// Chooses the worker for a connection that has waited since `since`: its index in the table. None if the
    /// connection has to wait.
    pub(super) fn choose<B: Board>(
        &mut self,
        home: Option<Home>,
        since: Time,
        around: &mut Around<'_, B>,
    ) -> Option<usize> {
        // Connections stop waiting for their own worker before the queue is so long that the listener would
        // be paused: a blocked worker must not delay the clients of others.
        let crowded = self.queue.clients() > self.plan.overload.queue / 2;
        let patient = !crowded && around.now < since.saturating_add(self.plan.patience);
        let mut seats = Seats {
            members: &self.members,
            slow_start: self.plan.slow_start,
            warming: around.now < self.warm_at,
            around,
        };
        let seat = self.schedule.choose(&mut seats, home, patient)?;
        Some(self.members[seat].place)
    }
}

/// What a choice depends on besides the listener.
pub(super) struct Around<'a, B> {
    pub(super) workers: &'a mut [Worker],
    pub(super) window: u32,
    pub(super) now: Time,
    pub(super) board: &'a B,
}

/// The members as a policy sees them.
struct Seats<'a, 'b, B> {
    members: &'a [Member],
    slow_start: Time,
    warming: bool,
    around: &'a mut Around<'b, B>,
}

impl<B> Seats<'_, '_, B> {
    fn at(&self, seat: usize) -> &Worker {
        &self.around.workers[self.members[seat].place]
    }
}

impl<B: Board> Members for Seats<'_, '_, B> {
    fn count(&self) -> usize {
        self.members.len()
    }

    fn worker(&self, seat: usize) -> WorkerId {
        self.at(seat).id
    }

    fn slot(&self, seat: usize) -> Slot {
        // A member has a slot: a leaving worker is not a member.
        self.at(seat).slot.unwrap_or(Slot(u32::MAX))
    }

    fn is_ready(&mut self, seat: usize) -> bool {
        let member = &self.members[seat];
        let Around { workers, window, now, board } = self.around;
        member.is_open(*now) && workers[member.place].is_ready(*window, *now, *board)
    }

    fn load(&mut self, seat: usize) -> u32 {
        let Around { workers, now, board, .. } = self.around;
        let worker = &mut workers[self.members[seat].place];
        worker.read(*now, *board);
        worker.in_flight().saturating_add(board.open(worker.id))
    }

    fn utilisation(&mut self, seat: usize) -> u32 {
        let Around { workers, now, board, .. } = self.around;
        workers[self.members[seat].place].utilisation(*now, *board)
    }

    fn any_warming(&self) -> bool {
        self.warming
    }

    fn weight(&self, seat: usize) -> u32 {
        if !self.warming {
            return FULL_WEIGHT;
        }
        let age = self.around.now.saturating_sub(self.members[seat].joined).as_millis();
        let share = age * u128::from(FULL_WEIGHT) / self.slow_start.as_millis().max(1);
        u32::try_from(share).unwrap_or(FULL_WEIGHT).clamp(FULL_WEIGHT / 10, FULL_WEIGHT)
    }
}
