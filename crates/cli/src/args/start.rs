//! The command that runs a program.
#![allow(clippy::doc_markdown, reason = "these comments are the text of --help, for terminals")]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::units;
use rcluster_core::http::Address;

#[derive(Args, Debug)]
pub(crate) struct Start {
    /// How many workers; auto: one per CPU that this process may use, also when that changes [default: auto]
    #[arg(short, short_alias = 'i', long, value_name = "N|auto", value_parser = workers)]
    pub(crate) workers: Option<String>,
    /// How many booted workers wait to take over
    #[arg(long, value_name = "N")]
    pub(crate) standby: Option<u32>,
    /// Where the control socket is: a path, @name, or off [default: $RUNTIME_DIRECTORY/rcluster.sock,
    /// $XDG_RUNTIME_DIR/rcluster/PID.sock, or @rcluster/UID/PID]
    #[arg(long, value_name = "PATH|off")]
    pub(crate) control: Option<String>,
    /// Serve metrics, probes and the status over HTTP: a port (of 127.0.0.1), ADDRESS:PORT or unix:PATH
    #[arg(long, value_name = "ADDR", value_parser = metrics)]
    pub(crate) metrics: Option<String>,
    /// How many workers have to be ready for /readyz to succeed [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) min_ready: Option<u32>,
    /// When a worker counts as ready
    #[arg(long, value_name = "WHEN")]
    pub(crate) ready: Option<Ready>,
    /// Replace a worker whose event loop is blocked for longer
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) unresponsive_after: Option<Duration>,
    /// Replace a worker that uses more memory: a size, or the part of all memory that the workers may have together
    #[arg(long, value_name = "SIZE|PERCENT", value_parser = units::memory)]
    pub(crate) max_memory: Option<serde_json::Value>,
    /// How long a worker may drain before it is ended
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) drain_timeout: Option<Duration>,
    /// Go on accepting for this long after SIGTERM, before the workers drain
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) shutdown_delay: Option<Duration>,
    /// What is written to stderr about workers [default: warn]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<Log>,
    /// How workers write to stdout and stderr [default: auto]
    #[arg(long, value_name = "MODE")]
    pub(crate) logs: Option<LogMode>,
    /// A file with options of supervise(): .js, .mjs, .cjs or .json. Options given here come first
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A file with environment variables for the workers, read anew by each one that starts
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
    /// Reload when the code changes: the program's folder, and the file of --env-file
    #[arg(long)]
    pub(crate) watch: bool,
    /// Reload when anything in this file or folder changes, instead of the program's folder; may be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) watch_path: Vec<PathBuf>,
    /// The program that each worker runs
    #[arg(value_name = "app.js")]
    pub(crate) app: PathBuf,
    /// Arguments for the program
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Ready {
    /// Its process is up
    Online,
    /// Its first server listens
    Listening,
    /// It calls cluster.worker.ready()
    Explicit,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Log {
    /// Write nothing
    Off,
    /// Failures and what follows from them
    Warn,
    /// Every event
    Info,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogMode {
    /// stdout by themselves, stderr as with raw unless it is a terminal
    Auto,
    /// Both by themselves
    Inherit,
    /// Whole lines, unchanged
    Raw,
    /// With the slot in front; JSON gets fields instead
    Prefix,
    /// Each line as an object of JSON
    Json,
}

fn workers(text: &str) -> Result<String, String> {
    match text {
        // The term of pm2.
        "auto" | "max" => Ok("auto".into()),
        _ if text.parse::<u32>().is_ok_and(|count| (1..=1024).contains(&count)) => Ok(text.to_owned()),
        _ => Err("a number from 1 to 1024, or auto".into()),
    }
}

fn metrics(text: &str) -> Result<String, String> {
    if text == "off" || Address::parse(text).is_some() {
        Ok(text.to_owned())
    } else {
        Err("a port, ADDRESS:PORT such as 0.0.0.0:9090 or [::]:9090, unix:PATH, or off".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_a_possible_number_or_one_per_cpu() {
        for (text, expected) in [("1", "1"), ("1024", "1024"), ("auto", "auto"), ("max", "auto")] {
            assert_eq!(workers(text).as_deref(), Ok(expected));
        }
        for text in ["0", "1025", "-1", "two", ""] {
            assert!(workers(text).is_err(), "{text}");
        }
    }

    #[test]
    fn metrics_are_served_at_an_address_or_not_at_all() {
        for text in ["off", "9090", "0.0.0.0:9090", "[::]:9090", "unix:/run/metrics"] {
            assert_eq!(metrics(text).as_deref(), Ok(text));
        }
        for text in ["on", "65536", "example.org:9090", "unix:", ""] {
            assert!(metrics(text).is_err(), "{text}");
        }
    }
}
