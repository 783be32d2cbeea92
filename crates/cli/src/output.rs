//! Printing, and the exit code of the process.

use std::fmt::{self, Write as _};
use std::io::{ErrorKind, IsTerminal, Write as _};
use std::process::ExitCode;

/// Why a command has failed. Each kind has an exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The cluster or the system has refused.
    Refused(String),
    /// The command line is invalid.
    Usage(String),
    /// There is no cluster.
    NotRunning(String),
    /// The time limit has passed.
    TimedOut(String),
}

impl Failure {
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::NotRunning(_) => 3,
            Self::TimedOut(_) => 4,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Refused(text) | Self::Usage(text) | Self::NotRunning(text) | Self::TimedOut(text)) = self;
        f.write_str(text)
    }
}

/// Whether lines on this stream can be written over. On a dumb terminal, such as that of an editor, they cannot.
pub(crate) fn is_screen(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("TERM").is_none_or(|name| name != "dumb")
}

/// Prints text for people, see [`shown`].
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_exactly(&shown(text))
}

/// Prints JSON for programs. JSON itself escapes most control characters; the rest is escaped here, because some terminals
/// obey them.
pub(crate) fn print_json(json: &str) -> Result<(), Failure> {
    let mut line = String::with_capacity(json.len());
    for char in json.chars() {
        if char.is_control() {
            // Writing to a string cannot fail.
            let _ = write!(line, "\\u{:04x}", u32::from(char));
        } else {
            line.push(char);
        }
    }
    print_exactly(&line)
}

/// Prints a line. If the reader has closed the pipe, as `head` does, the process exits successfully.
pub(crate) fn print_exactly(line: &str) -> Result<(), Failure> {
    let mut to = std::io::stdout().lock();
    match writeln!(to, "{line}").and_then(|()| to.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::Refused(format!("cannot print: {error}"))),
    }
}

/// The text of an error of the system, without its number.
pub(crate) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error ").next().unwrap_or(&text).to_owned()
}

/// Text from a worker, which may contain anything, as a part of a line.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Replaces control characters, because a part of the text may be from a worker: it must not move the cursor or otherwise
/// control the terminal. Line breaks, tabs and colours are kept.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(length) = colour(rest) {
            shown.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        shown.push(if first.is_control() && !matches!(first, '\t' | '\n') { '\u{fffd}' } else { first });
        rest = &rest[first.len_utf8()..];
    }
    if shown.contains('\u{1b}') {
        shown.push_str("\u{1b}[0m");
    }
    shown
}

/// The length of the colour sequence at the beginning of the text, if there is one.
fn colour(text: &str) -> Option<usize> {
    let codes = text.strip_prefix("\u{1b}[")?;
    let end = codes.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    codes[end..].starts_with('m').then_some(end + 3)
}

/// Prints an error or a status message on stderr.
pub(crate) fn complain(line: &str) {
    // If stderr is closed, the message is lost.
    let _closed = writeln!(std::io::stderr().lock(), "rcluster: {}", shown(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_line_breaks_are_kept_and_other_controls_are_replaced() {
        assert_eq!(shown("a\tb\n\u{fc}"), "a\tb\n\u{fc}");
        assert_eq!(shown("\u{1b}[31;1mred"), "\u{1b}[31;1mred\u{1b}[0m");
        assert_eq!(shown("\u{1b}[2J\r\u{1b}\u{9b}"), "\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(shown("\u{1b}]0;title\u{7}"), "\u{fffd}]0;title\u{fffd}");
    }
}
