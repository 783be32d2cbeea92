//! What the forwarder's thread is told by others.

use std::sync::mpsc::Sender;

use super::conn::Upstream;
use super::shell::{Desk, Shell};
use super::{Command, Place, Report};
use rcluster_core::forward::Input;
use rcluster_core::ids::WorkerId;
use rcluster_sys::listen::address_text;
use rcluster_sys::stream::Unanswered;

impl Shell {
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::AddWorker { worker, slot, own } => {
                self.workers.insert(worker, own);
                self.tell_all(Input::WorkerAdded { worker, slot });
            }
            Command::WorkerLeaving { worker, done } => {
                self.tell_all(Input::WorkerLeaving { worker });
                if self.workers.contains_key(&worker) && self.leaving.insert(worker) {
                    self.take_back(worker);
                }
                if let Some(done) = done {
                    // Nobody waits any more when the primary's thread is gone.
                    let _ = done.send(());
                }
            }
            Command::WorkerGone(worker) => {
                self.tell_all(Input::WorkerGone { worker });
                self.workers.remove(&worker);
                self.leaving.remove(&worker);
            }
            Command::WorkerListens(worker) => {
                for own in self.workers.get_mut(&worker).into_iter().flatten() {
                    own.announced();
                }
            }
            Command::Then(act) => act.call(),
            Command::Report(answer) => self.report(&answer),
            Command::Stop => unreachable!("handled by take_commands"),
        }
    }

    /// Gives the clients of a worker that leaves to others, as long as neither side has said anything:
    /// the worker would close them unheard.
    fn take_back(&mut self, worker: WorkerId) {
        let unheard = self.conns.iter().filter(|(_, conn)| conn.worker == Some(worker) && conn.is_unheard());
        let mut unheard: Vec<_> = unheard.map(|(id, conn)| (*id, conn.front)).collect();
        // In the order in which they came; each goes to the head of those who wait.
        unheard.sort_unstable_by(|a, b| b.cmp(a));
        for (id, front) in unheard {
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.upstream = Upstream::None;
            }
            self.refuse(front, id, Unanswered::Absent);
        }
    }

    fn report(&self, answer: &Sender<Vec<Report>>) {
        let reports = self.desks.iter().map(|Desk { front, brain, .. }| {
            let (address, port) = match (&front.bound.sockname, &front.spec.place) {
                (Some(at), _) => (address_text(at), Some(at.port())),
                (None, Place::Path(path)) => (path.clone(), None),
                (None, Place::Tcp { .. }) => (String::new(), None),
            };
            Report {
                address,
                port,
                counters: brain.counters(),
                connections: brain.connections(),
                waiting: brain.waiting(),
                workers: brain.loads().collect(),
            }
        });
        // Nobody waits any more when the primary's thread is gone.
        let _ = answer.send(reports.collect());
    }
}
