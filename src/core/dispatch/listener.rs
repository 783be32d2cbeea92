//! What the dispatcher knows about one listener: its members, and the connections nobody had room for.

use std::collections::VecDeque;

use super::worker::Worker;
use super::{Board, Time};
use crate::core::ids::{ListenerId, WorkerId};
use crate::core::schedule::{Members, Policy, Schedule};

/// Whether a member takes connections of this listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Open,
    /// It has all it wants (`maxConnections`), until it says that there is room.
    Full,
    /// It answered that it does not listen. As a rule the word that it left is on its way, on another
    /// path; but it may have come back in the meantime, so the answer holds for a while only.
    Resting(Time),
}

#[derive(Debug)]
pub(super) struct Member {
    /// Its place in the table of workers.
    pub(super) slot: usize,
    pub(super) door: Door,
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
    /// By seat, as the schedule arranges them.
    pub(super) members: Vec<Member>,
    pub(super) schedule: Schedule,
    pub(super) queue: VecDeque<C>,
    /// How many at the head of the queue had been handed out before and came back.
    pub(super) comebacks: usize,
    pub(super) paused: bool,
}

impl<C> Listener<C> {
    pub(super) fn new(id: ListenerId, policy: Policy) -> Self {
        Self {
            id,
            members: Vec::new(),
            schedule: Schedule::new(policy),
            queue: VecDeque::new(),
            comebacks: 0,
            paused: true,
        }
    }

    pub(super) fn has(&self, slot: usize) -> bool {
        self.members.iter().any(|member| member.slot == slot)
    }

    pub(super) fn open_members(&self, now: Time) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.is_open(now))
    }

    pub(super) fn member(&mut self, slot: usize) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.slot == slot)
    }

    pub(super) fn join(&mut self, slot: usize) {
        // Who is a member already has closed its server and listens again: whatever it refused before is over.
        if let Some(member) = self.member(slot) {
            member.door = Door::Open;
            return;
        }
        let seat = self.schedule.seat(self.members.len());
        self.members.insert(seat, Member { slot, door: Door::Open });
    }

    /// False if it was no member.
    pub(super) fn leave(&mut self, slot: usize) -> bool {
        let Some(seat) = self.members.iter().position(|member| member.slot == slot) else {
            return false;
        };
        self.members.remove(seat);
        self.schedule.vacate(seat);
        true
    }

    /// The slot of the worker that gets the next connection.
    pub(super) fn choose<B: Board>(
        &mut self,
        workers: &mut [Worker],
        window: u32,
        now: Time,
        board: &B,
    ) -> Option<usize> {
        let seat =
            self.schedule.choose(&mut Seats { members: &self.members, workers, window, now, board })?;
        Some(self.members[seat].slot)
    }

    /// Back into the queue: ahead of those who have not been handed out yet, behind those who came back
    /// earlier, so that all keep their order.
    pub(super) fn comes_back(&mut self, conn: C) {
        self.queue.insert(self.comebacks, conn);
        self.comebacks += 1;
    }

    pub(super) fn next_in_line(&mut self) -> Option<C> {
        self.comebacks = self.comebacks.saturating_sub(1);
        self.queue.pop_front()
    }
}

/// The members as a policy sees them.
struct Seats<'a, B> {
    members: &'a [Member],
    workers: &'a mut [Worker],
    window: u32,
    now: Time,
    board: &'a B,
}

impl<B: Board> Members for Seats<'_, B> {
    fn count(&self) -> usize {
        self.members.len()
    }

    fn worker(&self, seat: usize) -> WorkerId {
        self.workers[self.members[seat].slot].id
    }

    fn is_ready(&mut self, seat: usize) -> bool {
        let member = &self.members[seat];
        member.is_open(self.now) && self.workers[member.slot].is_ready(self.window, self.now, self.board)
    }

    fn in_flight(&mut self, seat: usize) -> u32 {
        let worker = &mut self.workers[self.members[seat].slot];
        worker.read(self.now, self.board);
        worker.in_flight()
    }
}
