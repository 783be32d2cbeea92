//! The progress of a long command: on a terminal one line that is overwritten, otherwise a line for each
//! step.

use std::io::{Write, stderr};
use std::time::{Duration, Instant};

use crate::output::{complain, is_screen};
use crate::units;

/// Events that report a problem: they stay on the terminal.
const TROUBLE: &[&str] = &["restart", "backoff", "gave-up", "unresponsive", "drain-timeout", "stopped"];

/// The maximum length of the overwritten line. A longer one would wrap, and its beginning would stay.
const WIDTH: usize = 79;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Progress {
    /// `None` without a terminal.
    line: Option<Line>,
}

/// The content of the line.
#[derive(Debug)]
struct Line {
    command: &'static str,
    since: Instant,
    started: u32,
    ready: u32,
    ended: u32,
    is_shown: bool,
}

impl Progress {
    pub(crate) fn new(command: &'static str) -> Self {
        let line = Line { command, since: Instant::now(), started: 0, ready: 0, ended: 0, is_shown: false };
        Self { line: is_screen(&stderr()).then_some(line) }
    }

    /// Shows the next step; `described` is its text on a line of its own.
    pub(crate) fn on_event(&mut self, name: &str, described: &str) {
        let Some(line) = &mut self.line else { return complain(described) };
        line.count(name);
        if TROUBLE.contains(&name) {
            line.clear();
            complain(described);
        }
        let text = line.text(line.since.elapsed(), described);
        line.is_shown = true;
        // If stderr is closed, the output is lost.
        let _closed = write!(stderr().lock(), "\r\x1b[K{text}");
    }

    /// Ends the display. The counts stay on the terminal.
    pub(crate) fn finish(mut self) {
        if let Some(line) = &mut self.line {
            line.clear();
            complain(&line.counts(line.since.elapsed()));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(line) = &mut self.line {
            line.clear();
        }
    }
}

impl Line {
    fn count(&mut self, name: &str) {
        match name {
            "spawn" => self.started += 1,
            "ready" => self.ready += 1,
            "exit" => self.ended += 1,
            _ => {}
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            // If stderr is closed, the output is lost.
            let _closed = write!(stderr().lock(), "\r\x1b[K");
        }
    }

    fn text(&self, elapsed: Duration, described: &str) -> String {
        let text = format!("{}; {described}", self.counts(elapsed));
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WIDTH).collect()
    }

    fn counts(&self, elapsed: Duration) -> String {
        let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let Self { command, started, ready, ended, .. } = self;
        format!("{command} {}: {started} started, {ready} ready, {ended} ended", units::about(ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_counts_and_never_wraps() {
        let mut line = Line {
            command: "reload",
            since: Instant::now(),
            started: 0,
            ready: 0,
            ended: 0,
            is_shown: false,
        };
        for name in ["reload", "spawn", "spawn", "ready", "retire", "exit"] {
            line.count(name);
        }
        let second = Duration::from_secs(1);
        assert_eq!(line.counts(second), "reload 1s: 2 started, 1 ready, 1 ended");
        let text = line.text(second, &format!("unresponsive\n{}", "x".repeat(200)));
        assert!(text.starts_with("reload 1s: 2 started, 1 ready, 1 ended; unresponsive x"));
        assert_eq!((text.chars().count(), text.contains('\n')), (WIDTH, false));
    }
}
