//! A client of the control socket that follows lines. If it is too slow, lines are dropped, and it is told
//! how many.

use serde::Serialize;
use tokio::sync::mpsc;

use rcluster_core::ids::Slot;
use rcluster_core::logs::Record;

/// The maximum number of bytes pending here for a client, not counting the batches already sent to its queue.
const MOST: usize = 256 << 10;

/// Which lines are followed, and where they are sent.
#[derive(Debug)]
pub struct Follow {
    /// The lines of this slot; `None` for all.
    pub(in crate::io) slot: Option<Slot>,
    /// The client's id of its request, as JSON.
    pub(in crate::io) id: String,
    /// Receives protocol lines, several at a time, without the last line break.
    pub(in crate::io) to: mpsc::Sender<String>,
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Follower {
    follow: Follow,
    pending: String,
    /// The number of lines dropped after those pending.
    lost: u64,
}

#[derive(Serialize)]
struct Lines {
    lines: u64,
}

impl Follower {
    pub(super) fn new(follow: Follow) -> Self {
        Self { follow, pending: String::new(), lost: 0 }
    }

    pub(super) fn wants(&self, record: &Record) -> bool {
        self.follow.slot.is_none() || self.follow.slot == record.slot
    }

    /// Adds a line.
    pub(super) fn push(&mut self, record: &Record) {
        if self.lost > 0 || self.pending.len() > MOST {
            self.lost += 1;
        } else {
            self.event("log", record);
        }
    }

    /// Whether something waits to be sent.
    pub(super) fn is_waiting(&self) -> bool {
        !self.pending.is_empty() || self.lost > 0
    }

    /// Sends what waits, if the client has taken the previous batch. Returns false if it is gone.
    pub(super) fn send(&mut self) -> bool {
        if self.follow.to.is_closed() {
            return false;
        }
        if !self.is_waiting() || self.follow.to.capacity() == 0 {
            return true;
        }
        if self.lost > 0 {
            let lines = std::mem::take(&mut self.lost);
            self.event("lost", &Lines { lines });
        }
        // There is room, as just checked, and there is no other sender.
        self.follow.to.try_send(std::mem::take(&mut self.pending)).is_ok()
    }

    fn event(&mut self, name: &str, facts: &impl Serialize) {
        // Cannot fail: it contains no maps with keys other than strings.
        let facts = serde_json::to_string(facts).unwrap_or_default();
        if !self.pending.is_empty() {
            self.pending.push('\n');
        }
        let parts = ["{\"id\":", &self.follow.id, ",\"event\":\"", name, "\",\"facts\":", &facts, "}"];
        self.pending.extend(parts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcluster_core::ids::WorkerId;
    use rcluster_core::logs::{Line, Source, Stream};

    fn record(slot: u32, text: &str) -> Record {
        let source = Source { worker: WorkerId(1), slot: Some(Slot(slot)), stream: Stream::Stdout };
        Record::new(source, 5, Line { text: text.as_bytes(), continues: false, continued: false })
    }

    const BATCHES: usize = 2;

    #[test]
    fn a_client_that_is_too_slow_misses_lines_and_learns_how_many() {
        let (to, mut from) = mpsc::channel(BATCHES);
        let mut follower = Follower::new(Follow { slot: None, id: "7".into(), to });
        let long = "x".repeat(8_000);
        let mut count = 0;
        while follower.lost < 5 {
            follower.push(&record(0, &long));
            count += 1;
        }
        assert!(follower.send());
        let batch = from.try_recv().unwrap();
        let lines: Vec<serde_json::Value> =
            batch.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), count - 5 + 1);
        assert_eq!(lines[0]["facts"]["text"], long);
        let last = lines.last().unwrap();
        assert_eq!(
            (&last["id"], &last["event"], &last["facts"]["lines"]),
            (&7.into(), &"lost".into(), &5.into())
        );
        assert!(!follower.is_waiting() && follower.send());
        for _ in 0..=BATCHES {
            follower.push(&record(0, "x"));
            assert!(follower.send());
        }
        assert!(follower.is_waiting(), "it has not taken the others");
        drop(from);
        assert!(!follower.send());
    }

    #[test]
    fn it_gets_the_lines_of_its_slot() {
        let (to, _from) = mpsc::channel(BATCHES);
        let follower = Follower::new(Follow { slot: Some(Slot(1)), id: "null".into(), to });
        assert!(follower.wants(&record(1, "x")) && !follower.wants(&record(0, "x")));
    }
}
