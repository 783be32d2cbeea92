//! The last lines of each slot, kept separately: a slot that writes much does not displace the lines of
//! another.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::{Line, Source, Stream, beginning};
use crate::ids::{Slot, WorkerId};

/// The largest number of lines kept for one slot.
pub const SLOT_LINES: usize = 500;

/// The largest number of bytes kept for one slot.
pub const SLOT_BYTES: usize = 128 << 10;

/// The largest number of bytes kept of one line.
const LINE_BYTES: usize = 8 << 10;

/// A kept line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The worker that wrote it.
    pub worker: WorkerId,
    /// Its slot; null for a standby.
    pub slot: Option<Slot>,
    /// The stream.
    pub stream: Stream,
    /// When it was read, in ms since the epoch.
    pub time: u64,
    /// The line. Invalid UTF-8 is replaced, and the end of a line that is too long is left out.
    pub text: String,
}

impl Record {
    /// Creates the record of a line that was read at `time`, in ms since the epoch.
    #[must_use]
    pub fn new(Source { worker, slot, stream }: Source, time: u64, line: Line<'_>) -> Self {
        let text = line.text.strip_suffix(b"\r").unwrap_or(line.text);
        let text = String::from_utf8_lossy(beginning(text, LINE_BYTES)).into_owned();
        Self { worker, slot, stream, time, text }
    }
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<(u64, Record)>,
    bytes: usize,
}

/// The kept lines: see the module.
#[derive(Debug, Default)]
pub struct Recent {
    slots: BTreeMap<Option<Slot>, Ring>,
    count: u64,
}

impl Recent {
    /// Adds a line.
    pub fn push(&mut self, record: Record) {
        let ring = self.slots.entry(record.slot).or_default();
        ring.bytes += record.text.len();
        self.count += 1;
        ring.lines.push_back((self.count, record));
        while ring.lines.len() > SLOT_LINES || ring.bytes > SLOT_BYTES {
            let Some((_, oldest)) = ring.lines.pop_front() else { break };
            ring.bytes -= oldest.text.len();
        }
    }

    /// The last lines of one slot or of all, the oldest first.
    #[must_use]
    pub fn last(&self, slot: Option<Slot>, count: usize) -> Vec<&Record> {
        let wanted = self.slots.iter().filter(|(key, _)| slot.is_none() || **key == slot);
        let mut lines: Vec<&(u64, Record)> =
            wanted.flat_map(|(_, ring)| ring.lines.iter().rev().take(count)).collect();
        lines.sort_unstable_by_key(|(number, _)| *number);
        let surplus = lines.len().saturating_sub(count);
        lines.into_iter().skip(surplus).map(|(_, record)| record).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(recent: &mut Recent, slot: u32, text: &str) {
        let source = Source { worker: WorkerId(1), slot: Some(Slot(slot)), stream: Stream::Stdout };
        let line = Line { text: text.as_bytes(), continues: false, continued: false };
        recent.push(Record::new(source, 5, line));
    }

    fn texts(recent: &Recent, slot: Option<u32>, count: usize) -> Vec<&str> {
        recent.last(slot.map(Slot), count).iter().map(|record| record.text.as_str()).collect()
    }

    #[test]
    fn lines_are_returned_in_the_order_in_which_they_were_written() {
        let mut recent = Recent::default();
        for (slot, text) in [(0, "a"), (1, "b"), (0, "c\r"), (1, "d")] {
            push(&mut recent, slot, text);
        }
        assert_eq!(texts(&recent, None, 10), ["a", "b", "c", "d"]);
        assert_eq!(texts(&recent, None, 3), ["b", "c", "d"]);
        assert_eq!(texts(&recent, Some(0), 10), ["a", "c"]);
        assert_eq!(texts(&recent, Some(2), 10), [""; 0]);
        let record = serde_json::to_string(recent.last(Some(Slot(0)), 1)[0]).unwrap();
        assert_eq!(record, r#"{"worker":1,"slot":0,"stream":"stdout","time":5,"text":"c"}"#);
    }

    #[test]
    fn a_slot_that_writes_much_does_not_displace_lines_of_another() {
        let mut recent = Recent::default();
        push(&mut recent, 0, "quiet");
        for number in 0..5000 {
            push(&mut recent, 1, &format!("{number}"));
        }
        assert_eq!(recent.slots[&Some(Slot(1))].lines.len(), SLOT_LINES);
        for _ in 0..100 {
            push(&mut recent, 1, &"x".repeat(20_000));
        }
        assert!(recent.slots[&Some(Slot(1))].bytes <= SLOT_BYTES);
        assert_eq!(texts(&recent, Some(0), 10), ["quiet"]);
    }
}
