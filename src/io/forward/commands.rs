//! What the forwarder's thread is told by others.

use std::sync::mpsc::Sender;

use super::conn::Upstream;
use super::shell::{Front, Shell};
use super::{Command, FrontAddress, Report};
use rcluster_core::forward::Input;
use rcluster_core::ids::WorkerId;
use rcluster_sys::listen::address_text;
use rcluster_sys::stream::Unanswered;

impl Shell {
    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::AddWorker { worker, slot, own } => {
                self.workers.insert(worker, own);
                self.input_all(Input::WorkerAdded { worker, slot });
            }
            Command::WorkerLeaving { worker, done } => {
                self.input_all(Input::WorkerLeaving { worker });
                if self.workers.contains_key(&worker) && self.leaving.insert(worker) {
                    self.reclaim(worker);
                }
                if let Some(done) = done {
                    // Nobody waits any more when the primary's thread is gone.
                    let _ = done.send(());
                }
            }
            Command::WorkerExited(worker) => {
                self.input_all(Input::WorkerExited { worker });
                self.workers.remove(&worker);
                self.leaving.remove(&worker);
            }
            Command::WorkerListens(worker) => {
                for own in self.workers.get_mut(&worker).into_iter().flatten() {
                    own.announced();
                }
            }
            Command::Barrier(act) => act.run(),
            Command::Report(answer) => self.report(&answer),
            Command::Stop => unreachable!("handled by take_commands"),
        }
    }

    /// Gives the clients of a worker that leaves to others, as long as neither side has said anything:
    /// the worker would close them unheard.
    fn reclaim(&mut self, worker: WorkerId) {
        let unheard = self.conns.iter().filter(|(_, conn)| conn.worker == Some(worker) && conn.is_unheard());
        let mut unheard: Vec<_> = unheard.map(|(id, conn)| (*id, conn.index)).collect();
        // In the order in which they came; each goes to the head of those who wait.
        unheard.sort_unstable_by(|a, b| b.cmp(a));
        for (id, index) in unheard {
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.upstream = Upstream::None;
            }
            self.refuse(index, id, Unanswered::Absent);
        }
    }

    fn report(&self, answer: &Sender<Vec<Report>>) {
        let reports = self.fronts.iter().map(|Front { bound, options, brain, .. }| {
            let (address, port) = match (&bound.sockname, &options.address) {
                (Some(at), _) => (address_text(at), Some(at.port())),
                (None, FrontAddress::Path(path)) => (path.clone(), None),
                (None, FrontAddress::Tcp { .. }) => (String::new(), None),
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
