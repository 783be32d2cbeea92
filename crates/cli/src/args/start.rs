//! The command that runs a program.
#![allow(clippy::doc_markdown, reason = "these comments are the text of --help, for terminals")]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::units;
use rcluster_core::http::Address;

#[derive(Args, Debug)]
pub(crate) struct Start {
    /// Number of workers; auto: one per CPU, adjusted when that number changes [default: auto]
    #[arg(short, short_alias = 'i', long, alias = "instances", value_name = "N|auto", value_parser = workers)]
    pub(crate) workers: Option<String>,
    /// Number of standbys: started workers that wait to take over
    #[arg(long, value_name = "N")]
    pub(crate) standby: Option<u32>,
    /// Address of the control socket: a path, @name, or off [default: $RUNTIME_DIRECTORY/rcluster.sock,
    /// $XDG_RUNTIME_DIR/rcluster/PID.sock, or @rcluster/UID/PID]
    #[arg(long, value_name = "PATH|off")]
    pub(crate) control: Option<String>,
    /// Serve metrics, probes and a status page at this address: a port on 127.0.0.1, ADDRESS:PORT or unix:PATH
    #[arg(long, value_name = "ADDR", value_parser = metrics)]
    pub(crate) metrics: Option<String>,
    /// Number of workers that must be ready for /readyz and /startupz to succeed [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) min_ready: Option<u32>,
    /// When a worker counts as ready [default: listening]
    #[arg(long, value_name = "WHEN")]
    pub(crate) ready: Option<Ready>,
    /// Replace a worker whose event loop has been blocked for this long [default: off]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) unresponsive_after: Option<Duration>,
    /// Replace a worker that uses more memory than this: a size, or a share of all memory, divided among the workers [default: off]
    #[arg(long, alias = "max-memory-restart", value_name = "SIZE|PERCENT", value_parser = units::memory)]
    pub(crate) max_memory: Option<serde_json::Value>,
    /// How long a worker may take to drain before it gets SIGTERM [default: 8s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) drain_timeout: Option<Duration>,
    /// How long to keep accepting connections after SIGTERM or `rcluster stop` [default: 0]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) shutdown_delay: Option<Duration>,
    /// What to log about workers, on stderr [default: warn]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<Log>,
    /// How the workers' stdout and stderr are handled [default: auto]
    #[arg(long, value_name = "MODE")]
    pub(crate) logs: Option<LogMode>,
    /// A file that exports an object with options of supervise(): .js, .mjs, .cjs or .json. Options on the command line take precedence
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A file with environment variables for the workers. Each worker reads it when it starts
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
    /// Reload when code in the program's directory, or the --env-file file, changes
    #[arg(long)]
    pub(crate) watch: bool,
    /// Reload when this file, or anything in this directory, changes, instead of the program's directory; may be repeated
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
    /// Failures and their consequences
    Warn,
    /// Every event
    Info,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogMode {
    /// stdout like inherit; stderr like raw, or like inherit if it is a terminal
    Auto,
    /// Workers write directly to the stdout and stderr of the primary
    Inherit,
    /// Through the primary, as whole lines
    Raw,
    /// The same, with the slot in front of each line; lines of JSON get fields instead
    Prefix,
    /// Each line as a JSON object
    Json,
}

fn workers(text: &str) -> Result<String, String> {
    match text {
        // The term of pm2.
        "auto" | "max" => Ok("auto".into()),
        _ if text.parse::<u32>().is_ok_and(|count| (1..=1024).contains(&count)) => Ok(text.to_owned()),
        _ => Err("expected a number from 1 to 1024, or auto".into()),
    }
}

fn metrics(text: &str) -> Result<String, String> {
    if text == "off" || Address::parse(text).is_some() {
        Ok(text.to_owned())
    } else {
        Err("expected a port, ADDRESS:PORT such as 0.0.0.0:9090 or [::]:9090, unix:PATH, or off".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_workers_is_checked_or_auto() {
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
