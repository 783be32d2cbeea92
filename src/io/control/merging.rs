//! Merges the workers' own metrics and writes the text, on a thread of its own: a worker can report so many
//! that this takes a second, and the control thread must never wait that long.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::Builder;

use super::registries::{Answers, report};
use rcluster_core::ids::WorkerId;
use rcluster_core::metrics::Registries;

/// Writes the text of all metrics, given the merged ones of the workers and how many workers' metrics are out of date.
/// Dropped without running if the thread cannot be started or has ended.
pub(super) struct Write(Box<Writing>);

type Writing = dyn FnOnce(&Registries, usize) + Send;

impl Write {
    pub(super) fn new(write: impl FnOnce(&Registries, usize) + Send + 'static) -> Self {
        Self(Box::new(write))
    }
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Write")
    }
}

enum Command {
    Exited(WorkerId),
    Write { answers: Option<Arc<Answers>>, living: BTreeSet<WorkerId>, write: Write },
}

/// The number of exits to remember for a thread that does not run yet.
const EXITS: usize = 64;

/// See the module documentation. The thread ends by itself when this is dropped: the end of the primary does not wait for it.
#[derive(Debug, Default)]
pub(super) struct Merger {
    /// The thread, once a worker has reported metrics.
    thread: Option<Sender<Command>>,
    /// The workers that have exited before. The first reports may be theirs.
    exited: VecDeque<WorkerId>,
}

impl Merger {
    /// A worker has exited: its counters are kept.
    pub(super) fn on_exit(&mut self, worker: WorkerId) {
        if let Some(commands) = &self.thread {
            // Fails if the thread has ended, which the next request reports.
            let _ended = commands.send(Command::Exited(worker));
            return;
        }
        self.exited.push_back(worker);
        if self.exited.len() > EXITS {
            self.exited.pop_front();
        }
    }

    /// Merges the answers of workers (`None` if they could not be queried), of which the `living` have not exited meanwhile, and
    /// writes all metrics.
    pub(super) fn write(&mut self, answers: Option<Arc<Answers>>, living: BTreeSet<WorkerId>, write: Write) {
        let has_reports = answers.as_ref().is_some_and(|it| !it.reports.is_empty());
        if self.thread.is_none() && has_reports {
            let (commands, queue) = channel();
            // If there is no thread, `write` is dropped with the queue, and the next request tries again.
            self.thread = Builder::new()
                .name("rcluster-merge".into())
                .spawn(move || Merging::default().run(&queue))
                .ok()
                .map(|_detached| commands);
            if self.thread.is_none() {
                return;
            }
            for worker in std::mem::take(&mut self.exited) {
                self.on_exit(worker);
            }
        }
        if let Some(commands) = &self.thread {
            // If the thread has ended, `write` is dropped.
            let _ended = commands.send(Command::Write { answers, living, write });
        } else {
            // Most apps keep no such metrics: then there is nothing to merge.
            let missing = answers.map_or(0, |it| it.missing.intersection(&living).count());
            (write.0)(&Registries::default(), missing);
        }
    }
}

#[derive(Default)]
struct Merging {
    registries: Registries,
    /// The answers that were merged last. Requests made at the same time share them.
    merged: Weak<Answers>,
    /// The workers whose answers were malformed.
    malformed: BTreeSet<WorkerId>,
}

impl Merging {
    fn run(&mut self, queue: &Receiver<Command>) {
        while let Ok(command) = queue.recv() {
            match command {
                Command::Exited(worker) => self.registries.on_exit(worker),
                Command::Write { answers, living, write } => {
                    let late = match answers {
                        Some(answers) => self.merge(&answers, &living),
                        None => self.registries.reporting(),
                    };
                    (write.0)(&self.registries, late);
                }
            }
        }
    }

    /// Returns the number of workers without a valid answer.
    fn merge(&mut self, answers: &Arc<Answers>, living: &BTreeSet<WorkerId>) -> usize {
        if !self.merged.upgrade().is_some_and(|merged| Arc::ptr_eq(&merged, answers)) {
            self.malformed.clear();
            for (worker, data) in &answers.reports {
                let text = report(data);
                if !living.contains(worker) {
                    self.registries.on_last_report(*worker, &text.unwrap_or_default());
                } else if !text.is_some_and(|text| self.registries.on_report(*worker, &text)) {
                    self.malformed.insert(*worker);
                }
            }
            self.registries.on_merged();
            self.merged = Arc::downgrade(answers);
        }
        answers.missing.union(&self.malformed).filter(|worker| living.contains(worker)).count()
    }
}

#[cfg(test)]
mod tests {
    use rcluster_core::http::Format;

    use super::*;

    const ONE: WorkerId = WorkerId(1);
    const TWO: WorkerId = WorkerId(2);

    fn answers(reports: &[(WorkerId, &[u8])], missing: &[WorkerId]) -> Arc<Answers> {
        let reports = reports.iter().map(|(worker, data)| (*worker, data.to_vec())).collect();
        Arc::new(Answers { reports, missing: missing.iter().copied().collect() })
    }

    /// The text of the workers' metrics, and how many workers are late.
    fn write(merger: &mut Merger, answers: Option<Arc<Answers>>, living: &[WorkerId]) -> (String, usize) {
        let (tell, told) = channel();
        let write = Write::new(move |registries, late| {
            tell.send((registries.text(Format::Prometheus), late)).unwrap();
        });
        merger.write(answers, living.iter().copied().collect(), write);
        told.recv().unwrap()
    }

    fn metric(value: u32) -> Vec<u8> {
        let text = format!(r#"[{{"name":"jobs","type":"counter","values":[{{"value":{value}}}]}}]"#);
        [b"\0", serde_json::to_string(&text).unwrap().as_bytes()].concat()
    }

    #[test]
    fn no_thread_runs_without_metrics() {
        let mut merger = Merger::default();
        assert_eq!(write(&mut merger, None, &[ONE]), (String::new(), 0));
        assert_eq!(write(&mut merger, Some(answers(&[], &[ONE, TWO])), &[ONE]), (String::new(), 1));
        assert!(merger.thread.is_none());
    }

    #[test]
    fn a_report_that_is_merged_after_the_end_of_its_worker_counts() {
        let mut merger = Merger::default();
        // Gathered before the end, and the first ones of all.
        merger.on_exit(TWO);
        let (text, _) =
            write(&mut merger, Some(answers(&[(ONE, &metric(2)), (TWO, &metric(3))], &[])), &[ONE]);
        assert!(text.contains("jobs 5\n"), "{text}");
        // What was being gathered at the end replaces what was known.
        merger.on_exit(ONE);
        for value in [4, 6] {
            let (text, _) = write(&mut merger, Some(answers(&[(ONE, &metric(value))], &[])), &[]);
            assert!(text.contains(&format!("jobs {}\n", 3 + value)), "{text}");
        }
        let (text, _) = write(&mut merger, Some(answers(&[(ONE, &metric(9))], &[])), &[]);
        assert!(text.contains("jobs 9\n"), "nothing can come after that: {text}");
    }

    #[test]
    fn metrics_of_a_worker_that_ends_are_counted_once() {
        let mut merger = Merger::default();
        let both = answers(&[(ONE, &metric(2)), (TWO, &metric(3))], &[]);
        for _ in 0..2 {
            let (text, late) = write(&mut merger, Some(Arc::clone(&both)), &[ONE, TWO]);
            assert!(text.contains("jobs 5\n") && late == 0, "{text}");
        }
        merger.on_exit(TWO);
        for answers in [Some(both), None] {
            let (text, _) = write(&mut merger, answers, &[ONE]);
            assert!(text.contains("jobs 5\n"), "{text}");
        }
        let (text, late) = write(&mut merger, Some(answers(&[(ONE, b"\0\"nonsense\"")], &[TWO])), &[ONE]);
        assert!(text.contains("jobs 5\n") && late == 1, "its last report counts: {text}");
        let (_, late) = write(&mut merger, Some(answers(&[(ONE, b"")], &[])), &[ONE]);
        assert_eq!(late, 1);
    }
}
