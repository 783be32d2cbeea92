//! The counters of workers that have ended.
//!
//! A worker reports for the last time before it ends, but the report is merged together with those of the others, which may be
//! later than its end. So a worker's counters stay apart for a while, and its last report still counts.

use std::collections::BTreeMap;

use super::Families;
use crate::ids::WorkerId;

/// The number of merges after which no report of an ended worker can come: reports that had been gathered when it ended, and
/// those that were being gathered.
const MERGES: u8 = 2;

/// The largest number of workers whose counters stay apart.
const MOST: usize = 64;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Ended {
    /// Those of all other workers.
    sums: Families,
    /// Those of workers that have ended lately, with the number of merges since.
    lately: BTreeMap<WorkerId, (Families, u8)>,
}

impl Ended {
    /// A worker has ended. `last` is its last report so far.
    pub(super) fn on_exit(&mut self, worker: WorkerId, last: Families) {
        self.lately.entry(worker).or_insert_with(|| (last.kept(), 0));
        while self.lately.len() > MOST {
            let oldest = self.lately.pop_first();
            self.settle(oldest.map(|(_, (counters, _))| counters));
        }
    }

    /// A report that a worker has made before its end.
    pub(super) fn on_report(&mut self, worker: WorkerId, report: Families) {
        if let Some((counters, _)) = self.lately.get_mut(&worker) {
            *counters = report.kept();
        }
    }

    /// Reports have been merged.
    pub(super) fn on_merged(&mut self) {
        let mut over = Vec::new();
        self.lately.retain(|_, (counters, merges)| {
            *merges += 1;
            let stays = *merges < MERGES;
            if !stays {
                over.push(std::mem::take(counters));
            }
            stays
        });
        self.settle(over);
    }

    fn settle(&mut self, over: impl IntoIterator<Item = Families>) {
        over.into_iter().for_each(|counters| self.sums.append(&counters));
    }

    /// The counters of all of them.
    pub(super) fn sums(&self) -> Families {
        let mut all = self.sums.clone();
        self.lately.values().for_each(|(counters, _)| all.append(counters));
        all
    }
}
