//! The last lines that a worker wrote to stderr, which may show why it has ended.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Line, beginning};

/// The largest number of lines.
pub const TAIL_LINES: usize = 50;

/// The largest number of bytes of one line.
pub const LINE_BYTES: usize = 1024;

/// The largest number of bytes of all lines.
pub const TAIL_BYTES: usize = 16 << 10;

/// The last lines: see the module.
#[derive(Debug, Default)]
pub struct Tail {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Tail {
    /// Adds a line. Only the first piece of a line that is too long counts.
    pub fn push(&mut self, line: Line<'_>) {
        if line.continued {
            return;
        }
        let text = beginning(line.text, LINE_BYTES);
        let mut spare = Vec::new();
        while self.lines.len() >= TAIL_LINES || self.bytes + text.len() > TAIL_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.len();
            spare = oldest;
        }
        self.bytes += text.len();
        spare.clear();
        spare.extend_from_slice(text);
        self.lines.push_back(spare);
    }

    /// The lines, the oldest first, without carriage returns. Invalid UTF-8 is replaced.
    #[must_use]
    pub fn lines(&self) -> Arc<[String]> {
        let text =
            |line: &Vec<u8>| String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
        self.lines.iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(tail: &mut Tail, text: &[u8]) {
        tail.push(Line { text, continues: false, continued: false });
    }

    #[test]
    fn the_last_lines_are_kept() {
        let mut tail = Tail::default();
        for number in 0..120 {
            push(&mut tail, format!("line {number}\r").as_bytes());
        }
        let lines = tail.lines();
        assert_eq!((lines.len(), lines[0].as_str(), lines[49].as_str()), (TAIL_LINES, "line 70", "line 119"));
    }

    #[test]
    fn long_lines_are_shortened_and_leave_room_for_fewer() {
        let mut tail = Tail::default();
        push(&mut tail, "\u{20ac}".repeat(1000).as_bytes());
        assert_eq!(tail.lines()[0].chars().count(), LINE_BYTES / 3);
        for _ in 0..100 {
            push(&mut tail, &[0xff; 5000]);
            assert!(tail.bytes <= TAIL_BYTES);
        }
        assert_eq!(tail.lines().len(), TAIL_BYTES / LINE_BYTES);
        tail.push(Line { text: b"rest", continues: false, continued: true });
        assert!(tail.lines().iter().all(|line| line != "rest"));
    }
}
