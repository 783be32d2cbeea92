//! Assigns connections to workers: the state machine of the dispatcher thread.
//!
//! The shell accepts, passes each connection over the chosen worker's channel and closes its copy. A worker
//! does not answer; it counts what it has received on a page that both sides share, so a connection that was
//! sent and not yet counted is *in flight*. The window limits these: it is the flow control. The shell can
//! also read the worker's end of the channel, so connections in flight can be *reclaimed*.
//!
//! - The listener's schedule chooses among the workers that are ready (room in the window, takes connections
//!   of that listener, loop turning). A connection that belongs to a certain worker waits for it for a
//!   limited time, and other connections overtake it.
//! - If no worker is ready, connections wait here in order, up to a limit; beyond it the listener is paused
//!   and clients wait in its backlog. Without any member the listener is paused at once. If the listener's
//!   plan says so, connections beyond the limit, or that have waited too long, are shed instead.
//! - A worker with connections in flight that shows no activity for [`Config::blocked_after`] is *blocked*.
//!   It gets nothing until its loop turns; and as soon as another member of one of its listeners is idle, the
//!   connections in its channel are reclaimed for workers that are ready.
//! - Returned and reclaimed connections are requeued: they go to the head of the queue.
//! - The client of a handed-over connection is not new: it is not counted as one, never shed, and takes no
//!   room in the queue from new clients. [`Dispatch::hand_over_room`] limits how many are handed over at a
//!   time.
//!
//! A connection is moved in and out, and never copied: so it is in one place only, here or with the shell,
//! and cannot be sent twice. Workers are not trusted: counters, returned connections and wake-ups may be
//! false, and harm only their own worker.

mod candidates;
mod counts;
mod invariants;
mod listener;
mod membership;
mod messages;
mod on_behalf;
mod queue;
mod requeue;
#[cfg(test)]
mod tests;
mod worker;

pub use self::candidates::Candidate;
pub use self::counts::{Counts, ListenerStats, Stats, WorkerStats};
use self::listener::{Around, Door, Listener};
pub use self::messages::{Board, Config, Connection, Input, Output, Refusal, Time};
use self::requeue::Requeued;
use self::worker::{Standing, Worker};
use super::ids::{ListenerId, WorkerId};

/// The state machine. It is created once and fed with every input.
#[derive(Debug)]
pub struct Dispatch<C> {
    config: Config,
    workers: Vec<Worker>,
    /// In ascending order of their ids.
    listeners: Vec<Listener<C>>,
    /// Connections in all the queues.
    waiting: usize,
    /// Nothing waits in a queue or in the channel of a blocked worker, and the shell accepts on behalf of no
    /// worker: then only the accepted connection needs to be considered.
    calm: bool,
    deadline: Option<Time>,
    /// The earliest time at which a member that reported that it does not listen may be tried again.
    retry_at: Option<Time>,
    /// The listener whose queue is dispatched first next time.
    first_served: usize,
}

impl<C: Connection> Dispatch<C> {
    /// Creates a dispatcher without workers or listeners.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config: Config { window: config.window.max(1), ..config },
            workers: Vec::new(),
            listeners: Vec::new(),
            waiting: 0,
            calm: true,
            deadline: None,
            retry_at: None,
            first_served: 0,
        }
    }

    /// When to give [`Input::Tick`] if no other input comes earlier. `None` if no timer is set.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// The number of connections that wait here for a worker.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The statistics.
    pub fn stats(&self, board: &impl Board) -> Stats {
        let listeners = self.listeners.iter().map(|listener| ListenerStats {
            listener: listener.id,
            waiting: listener.queue.len(),
            workers: listener.members.len(),
            counts: listener.counts,
        });
        let workers = self.workers.iter().map(|worker| WorkerStats {
            worker: worker.id,
            slot: worker.slot,
            in_flight: worker.in_flight_now(board),
            open: board.open(worker.id),
            blocked: worker.is_suspended(),
            counts: worker.counts,
        });
        Stats { listeners: listeners.collect(), workers: workers.collect() }
    }

    /// Processes an input.
    ///
    /// The outputs are appended to `out`. Carry them all out, in order, before the next input, including the
    /// inputs that result from them: each call assumes that all earlier outputs have taken effect, so a pause
    /// carried out after a later resume would last forever.
    pub fn handle(&mut self, now: Time, input: Input<C>, board: &impl Board, out: &mut Vec<Output<C>>) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.find_blocked(now, board, out);
        }
        match input {
            Input::Accepted { listener, conn } => match self.position(listener) {
                None => out.push(Output::Close { conn }),
                Some(index) => {
                    // The client of a handed-over connection was counted when it was accepted.
                    let clients = u64::from(!conn.is_kept());
                    self.listeners[index].counts.accepted += clients;
                    self.listeners[index].counts.handed_over += 1 - clients;
                    match self.pass_on(index, conn, now, board, out) {
                        None => return,
                        Some(conn) => {
                            self.listeners[index].counts.queued += clients;
                            self.listeners[index].queue.push(conn, now);
                            self.waiting += 1;
                        }
                    }
                }
            },
            Input::WorkerAdded { worker, slot } => self.add_worker(worker, slot, now, board),
            Input::ListenerAdded { listener, plan } => self.add_listener(listener, plan),
            Input::ListenerRemoved { listener } => self.remove_listener(listener, out),
            Input::Joined { worker, listener } => self.join(worker, listener, now),
            Input::Left { worker, listener } => self.leave(worker, listener, now, board, out),
            Input::WorkerLeaving { worker } => self.leave_all(worker, out),
            Input::WorkerExited { worker, conns } => self.remove_worker(worker, conns, now, out),
            Input::Returned { worker, listener, conn, why } => {
                self.on_returned(worker, (listener, conn), why, now, out);
            }
            Input::Room { worker, listener } => self.set_door(worker, listener, Door::Open),
            Input::Full { worker, listener } => self.set_door(worker, listener, Door::Full),
            Input::Unattended { worker } => self.unattended(worker, out),
            Input::Woke { worker } => {
                if let Some(place) = self.place(worker) {
                    self.workers[place].read(now, board);
                    self.workers[place].woke(now);
                }
            }
            Input::Reclaimed { worker, conns, all } => {
                if let Some(place) = self.place(worker) {
                    let again_at = (!all).then(|| now.saturating_add(self.config.reclaim_again_after));
                    self.workers[place].reclaimed(conns.len(), again_at);
                }
                self.requeue(conns, Requeued::Reclaimed, now, out);
            }
            Input::Unsent { worker, conns } => self.on_unsent(worker, conns, now, out),
            Input::Tick => {}
        }
        self.after_input(now, board, out);
    }

    /// The hot path: if nothing else waits, the connection is sent at once. Returns it if it has to wait.
    fn pass_on(
        &mut self,
        index: usize,
        conn: C,
        now: Time,
        board: &impl Board,
        out: &mut Vec<Output<C>>,
    ) -> Option<C> {
        if !self.calm {
            return Some(conn);
        }
        let window = self.config.window;
        let listener = &mut self.listeners[index];
        let mut around = Around { workers: &mut self.workers, window, now, board };
        let Some(place) = listener.choose(conn.home(), now, &mut around) else {
            return Some(conn);
        };
        listener.counts.passed += 1;
        let worker = &mut self.workers[place];
        worker.sent(window, now);
        out.push(Output::Send { worker: worker.id, listener: listener.id, conn });
        // Need not be exact: this is the earliest possible time, and checking too early costs little.
        let due = now.saturating_add(self.config.blocked_after);
        if worker.shared > 0 && self.deadline.is_none_or(|deadline| deadline > due) {
            self.deadline = Some(due);
        }
        None
    }

    /// What follows from every input, in this order: old connections before new ones, and listeners are
    /// resumed only when the queues are final.
    fn after_input(&mut self, now: Time, board: &impl Board, out: &mut Vec<Output<C>>) {
        self.relieve(now, board, out);
        self.dispatch_queue(now, board, out);
        self.shed(now, out);
        self.regulate(out);
        self.update_on_behalf(out);
        self.calm = self.is_calm();
        self.deadline = self.earliest_deadline(now);
    }

    fn is_calm(&self) -> bool {
        self.waiting == 0
            && !self.workers.iter().any(|worker| {
                worker.is_blocked_with_connections() || self.is_accepted_for_while_blocked(worker)
            })
    }

    /// Reclaims the connections of blocked workers if an idle worker could take them, and those that could not be
    /// reclaimed before.
    fn relieve(&mut self, now: Time, board: &impl Board, out: &mut Vec<Output<C>>) {
        for place in 0..self.workers.len() {
            let worker = &mut self.workers[place];
            if worker.rests_from_reclaiming(now) {
                continue;
            }
            let is_again = worker.reclaim_again_at.take().is_some();
            if !is_again && !worker.is_blocked_with_connections() {
                continue;
            }
            worker.read(now, board);
            let has_rest = is_again && worker.in_flight() > 0;
            if has_rest || worker.is_blocked_with_connections() && self.has_idle_helper(place, now, board) {
                self.reclaim(place, out);
            }
        }
    }

    fn has_idle_helper(&mut self, place: usize, now: Time, board: &impl Board) -> bool {
        let Self { workers, listeners, .. } = self;
        listeners.iter().any(|listener| {
            listener.has(place)
                && listener.open_members(now).any(|member| workers[member.place].is_idle(now, board))
        })
    }

    /// Sends waiting connections while workers are ready; requests a wake-up from the others.
    fn dispatch_queue(&mut self, now: Time, board: &impl Board, out: &mut Vec<Output<C>>) {
        if self.waiting == 0 {
            return;
        }
        let window = self.config.window;
        let count = self.listeners.len();
        let mut served = None;
        for index in (0..count).map(|step| (self.first_served + step) % count) {
            let listener = &mut self.listeners[index];
            // Skips connections that wait for their own worker.
            let mut left = 0;
            let mut passed_by = false;
            loop {
                let Some((conn, since)) = listener.queue.get(left) else {
                    // A worker that had no room for the skipped ones may have had some since.
                    if std::mem::take(&mut passed_by) {
                        left = 0;
                        continue;
                    }
                    break;
                };
                let home = conn.home();
                let mut around = Around { workers: &mut self.workers, window, now, board };
                match listener.choose(home, since, &mut around) {
                    Some(place) => {
                        let Some(conn) = listener.queue.take(left) else { break };
                        passed_by |= left > 0;
                        self.waiting -= 1;
                        listener.counts.passed += 1;
                        self.workers[place].sent(window, now);
                        out.push(Output::Send {
                            worker: self.workers[place].id,
                            listener: listener.id,
                            conn,
                        });
                        served.get_or_insert(index);
                    }
                    None if home.is_some() && listener.plan.policy.has_homes() => left += 1,
                    None => break,
                }
            }
            if !listener.queue.is_empty() {
                for member in listener.open_members(now) {
                    let worker = &mut self.workers[member.place];
                    if worker.is_at_window(window) {
                        ask_for_wake(worker, out);
                    }
                }
            }
        }
        // The listener that was served first comes last next time; otherwise a busy listener could use all
        // the room.
        if let Some(index) = served {
            self.first_served = index + 1;
        }
    }

    /// Sheds connections where the plan says so.
    fn shed(&mut self, now: Time, out: &mut Vec<Output<C>>) {
        for listener in &mut self.listeners {
            while let Some(conn) = listener.too_many(now).and_then(|index| listener.queue.take(index)) {
                self.waiting -= 1;
                listener.counts.shed += 1;
                out.push(Output::Shed { listener: listener.id, conn });
            }
        }
    }

    /// Pauses and resumes listeners, to keep the queues within their limits.
    fn regulate(&mut self, out: &mut Vec<Output<C>>) {
        for listener in &mut self.listeners {
            let limit = listener.limit();
            let Listener { id, members, queue, paused, .. } = listener;
            if !*paused && (members.is_empty() || queue.clients() >= limit) {
                *paused = true;
                out.push(Output::Pause { listener: *id });
            } else if *paused && !members.is_empty() && queue.clients() <= limit / 2 {
                *paused = false;
                out.push(Output::Resume { listener: *id });
            }
        }
    }

    fn earliest_deadline(&mut self, now: Time) -> Option<Time> {
        let blocked =
            self.workers.iter().filter_map(|worker| worker.deadline(self.config.blocked_after)).min();
        if self.retry_at.is_some_and(|retry_at| retry_at <= now) {
            let members = self.listeners.iter().flat_map(|listener| &listener.members);
            self.retry_at = members.filter_map(|member| member.rests_until(now)).min();
        }
        // The retry time matters only while something waits.
        let retry_at = self.retry_at.filter(|_| !self.calm);
        let queues = self.listeners.iter().filter_map(|listener| listener.next_due(now)).min();
        let rests = self.workers.iter().filter_map(|worker| worker.reclaim_again_at).min();
        blocked.into_iter().chain(retry_at).chain(queues).chain(rests).min()
    }

    fn find_blocked(&mut self, now: Time, board: &impl Board, out: &mut Vec<Output<C>>) {
        for worker in &mut self.workers {
            worker.read(now, board);
            if worker.deadline(self.config.blocked_after).is_some_and(|deadline| deadline <= now) {
                suspend(worker, Standing::Blocked, out);
            }
        }
        // Makes the next input compute the deadline again.
        self.calm = false;
    }

    /// Reclaims what is in the worker's channel. Its probe is discarded too, so a worker whose wake-up is
    /// awaited needs another one.
    fn reclaim(&mut self, place: usize, out: &mut Vec<Output<C>>) {
        let worker = &mut self.workers[place];
        worker.reclaiming = true;
        out.push(Output::Reclaim { worker: worker.id });
        if worker.is_suspended() {
            out.push(Output::Probe { worker: worker.id });
        }
    }

    fn place(&self, worker: WorkerId) -> Option<usize> {
        self.workers.iter().position(|other| other.id == worker)
    }

    fn position(&self, listener: ListenerId) -> Option<usize> {
        self.listeners.binary_search_by_key(&listener, |listener| listener.id).ok()
    }
}

/// The worker gets nothing until it reports a turn of its loop. It will turn, because there is at least a
/// probe to receive.
fn suspend<C>(worker: &mut Worker, standing: Standing, out: &mut Vec<Output<C>>) {
    worker.standing = standing;
    ask_for_wake(worker, out);
    out.push(Output::Probe { worker: worker.id });
}

fn ask_for_wake<C>(worker: &mut Worker, out: &mut Vec<Output<C>>) {
    if !worker.wake_asked {
        worker.wake_asked = true;
        out.push(Output::WantWake { worker: worker.id });
    }
}
