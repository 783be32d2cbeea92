//! Printing, and the exit code of the process.

use std::fmt;
use std::io::{ErrorKind, Write as _};
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

/// Prints a line. If the reader has closed the pipe, as `head` does, the process exits successfully.
pub(crate) fn print(line: &str) -> Result<(), Failure> {
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

/// Text from a worker, which may contain anything, without control characters.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Prints an error or a status message on stderr.
pub(crate) fn complain(line: &str) {
    // If stderr is closed, the message is lost.
    let _closed = writeln!(std::io::stderr().lock(), "rcluster: {line}");
}
