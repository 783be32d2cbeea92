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

/// What precedes the error in the line of a worker that fails to start like the one before it.
const AS_BEFORE: &str = " cannot start, like the one before it: ";

/// The error that the last lines of a worker end with, as Node prints it: the name and the message, which begin a line.
#[must_use]
pub fn last_error(lines: &[String]) -> Option<&str> {
    lines.iter().rev().find_map(|line| {
        let line = line.split_once(AS_BEFORE).map_or(line.as_str(), |(_, error)| error);
        let name = line.split([':', ' ', '[']).next()?;
        let is_error = name.ends_with("Error") && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        is_error.then_some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_begins_a_line_with_its_name() {
        let error = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            last_error(&lines).map(str::to_owned)
        };
        let thrown =
            ["a.js:1", "throw x", "^", "", "Error: bind EADDRINUSE :::80", "    at a.js:1 {", "}", ""];
        assert_eq!(error(&thrown).as_deref(), Some("Error: bind EADDRINUSE :::80"));
        assert_eq!(error(&["TypeError [ERR_X]: no"]).as_deref(), Some("TypeError [ERR_X]: no"));
        assert_eq!(error(&["Error: handled", "MyError", "x"]).as_deref(), Some("MyError"));
        let again = "rcluster: worker 3 (pid 7) cannot start, like the one before it: Error: no, at a.js:1";
        assert_eq!(error(&[again]).as_deref(), Some("Error: no, at a.js:1"));
        for line in ["", "  [cause]: Error: x", "an Error: x", "Errors: 3", "$Error: x"] {
            assert_eq!(error(&[line]), None, "{line}");
        }
    }

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
