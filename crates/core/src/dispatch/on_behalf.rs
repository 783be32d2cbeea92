//! Accepting on behalf of workers that accept by themselves but cannot now.

use super::listener::{Door, Listener, Member};
use super::worker::{Standing, Worker};
use super::{Connection, Dispatch, Output, suspend};
use crate::ids::WorkerId;

impl<C: Connection> Dispatch<C> {
    /// The worker does not accept waiting clients. If other workers could, it counts as blocked until its
    /// loop turns.
    pub(super) fn unattended(&mut self, worker: WorkerId, out: &mut Vec<Output<C>>) {
        if let Some(place) = self.place(worker) {
            let worker = &mut self.workers[place];
            if worker.standing == Standing::Turning && worker.shared > 0 {
                suspend(worker, Standing::Blocked, out);
            }
        }
    }

    /// Whether the shell accepts on its behalf because it is blocked. Its counter may end that at any moment.
    pub(super) fn is_accepted_for_while_blocked(&self, worker: &Worker) -> bool {
        let mut members = self.listeners.iter().flat_map(|listener| &listener.members);
        worker.is_suspended() && members.any(|it| it.on_behalf && self.workers[it.place].id == worker.id)
    }

    /// Starts and stops accepting on behalf of workers.
    pub(super) fn update_on_behalf(&mut self, out: &mut Vec<Output<C>>) {
        let Self { workers, listeners, .. } = self;
        for listener in listeners.iter_mut().filter(|listener| listener.is_per_slot()) {
            let Listener { id, members, .. } = listener;
            for member in members {
                let it = &mut workers[member.place];
                let needed = needs_accept_on_behalf(member, it);
                if needed == std::mem::replace(&mut member.on_behalf, needed) {
                    continue;
                }
                let (worker, listener) = (it.id, *id);
                if needed {
                    out.push(Output::AcceptOnBehalf { worker, listener });
                } else {
                    it.accepts_again();
                    out.push(Output::StopAcceptingOnBehalf { worker, listener });
                }
            }
        }
    }
}

/// A worker that gets no connections from the dispatcher should not get any from the kernel either. A worker
/// whose server is closed has reported that separately.
pub(super) fn needs_accept_on_behalf(member: &Member, worker: &Worker) -> bool {
    worker.is_suspended() || member.door == Door::Full
}
