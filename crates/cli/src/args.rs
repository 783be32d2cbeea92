//! The command line and the text of `--help`.
#![allow(clippy::doc_markdown, reason = "these comments are the text of --help, for terminals")]

mod init;
mod look;
mod start;

use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand, ValueEnum};
use rcluster_core::control::supervise::MAX_WORKERS;

pub(crate) use self::init::{Init, Kind};
pub(crate) use self::look::{Env, Heap, Inspect, Profile, SlotOrPrimary, ToFile};
use self::look::{pid, slot, slot_or_primary};
pub(crate) use self::start::{Log, LogMode, Ready, Start};
use crate::units;

const EXAMPLES: &str = "\
Examples:
  rcluster start app.js                    run app.js with a worker per CPU, in the foreground
  rcluster start -w 4 --unresponsive-after 5s --max-memory 500M app.js -- --port 8000
  rcluster status                          show the workers and their state
  rcluster top                             show them live, with keys to control the cluster
  rcluster logs -f                         follow the output of the workers
  rcluster reload                          replace all workers with the current code, without failing a request
  rcluster scale +1                        add a worker
  rcluster stack 2                         print the JavaScript stack of slot 2
  rcluster stop                            drain all workers, then exit

Coming from pm2:
  pm2 start app.js -i max = rcluster start app.js    pm2 ls = rcluster status       pm2 monit = rcluster top
  pm2 reload app = rcluster reload                   pm2 logs = rcluster logs -f    pm2 delete app = rcluster stop
Coming from puma:
  pumactl phased-restart = rcluster reload           pumactl stats = rcluster status --json

Without --pid or --control, a command addresses the only cluster that your user runs.

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no cluster is running, 4 timed out.";

/// Runs Node programs as supervised clusters, and controls them
#[derive(Debug, Parser)]
#[command(name = "rcluster", bin_name = "rcluster", version, disable_version_flag = true, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Print the version
    #[arg(short = 'V', short_alias = 'v', long, action = clap::ArgAction::Version)]
    version: (),
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program with supervised workers, in the foreground
    #[command(after_help = "Example:
  rcluster start -w 4 --max-memory 500M app.js -- --port 8000")]
    Start(Start),
    /// Show the workers and their state
    #[command(
        visible_alias = "ps",
        aliases = ["ls", "list", "stats", "info"],
        after_help = "LOOP is the share of time in which the event loop is busy. While STATE is blocked, LOOP stays as it was.
OPEN is the number of open connections, CLIENTS that of all since the worker's start.

Example:
  rcluster status --wait ready --timeout 30s && echo all workers are ready"
    )]
    Status(Status),
    /// Show the cluster live on the terminal, with keys to control it
    #[command(after_help = "Example:
  rcluster top")]
    Top(Top),
    /// Print events until interrupted
    #[command(after_help = "Example:
  rcluster events --json | grep unresponsive")]
    Events(Events),
    /// Print the metrics in the OpenMetrics format
    #[command(after_help = "Example:
  rcluster metrics")]
    Metrics(Metrics),
    /// Replace all workers with new ones that run the current code, without failing a request
    #[command(
        aliases = ["phased-restart", "rolling-restart"],
        after_help = "Example:
  rcluster reload --concurrency 2 --timeout 2m"
    )]
    Reload(Reload),
    /// Change the number of workers
    #[command(after_help = "Example:
  rcluster scale +1")]
    Scale(Scale),
    /// Replace the worker of one slot; the new one starts before the old one stops
    #[command(after_help = "Example:
  rcluster restart 2")]
    Restart(OfSlot),
    /// Drain the worker of one slot; the slot stays empty until it is restarted or reloaded
    #[command(after_help = "Example:
  rcluster drain 2 --timeout 30s")]
    Drain(OfSlot),
    /// Print the JavaScript stack of a worker or the primary, even while its event loop is blocked
    #[command(
        aliases = ["thread-backtraces", "backtrace"],
        after_help = "Example:
  rcluster stack 2"
    )]
    Stack(Stack),
    /// Print the output of the workers, as far as it goes through the primary (see start --logs)
    #[command(after_help = "Example:
  rcluster logs 2 -f")]
    Logs(Logs),
    /// Write a CPU profile of a worker or the primary, for Chrome DevTools
    #[command(after_help = "Examples:
  rcluster profile 2 10s
  rcluster profile primary 500ms -o start.cpuprofile")]
    Profile(Profile),
    /// Write a heap snapshot of a worker or the primary, for Chrome DevTools
    #[command(
        after_help = "V8 blocks the event loop while it takes the snapshot, and needs about as much memory again as the heap.
The file contains everything that is in memory, including secrets.

Example:
  rcluster heap 2 -o slot-2.heapsnapshot"
    )]
    Heap(Heap),
    /// Open the inspector of a worker or the primary, and print its address
    #[command(
        after_help = "Anyone on this machine who can connect to the port can run code in the process, so close it when you are done.

Examples:
  rcluster inspect 2
  rcluster inspect 2 --off"
    )]
    Inspect(Inspect),
    /// Print the names of the environment variables of a worker or the primary
    #[command(after_help = "Values are never printed.

Example:
  rcluster env 2")]
    Env(Env),
    /// Drain all workers, then end the primary, as SIGTERM does
    #[command(after_help = "Example:
  rcluster stop --drain-timeout 10s")]
    Stop(Stop),
    /// Write a unit for systemd, a Dockerfile with a compose file, or manifests for Kubernetes
    #[command(after_help = "Example:
  rcluster init systemd")]
    Init(Init),
    /// Check for problems that affect a cluster on this machine, and suggest fixes
    #[command(after_help = "Example:
  npx rcluster doctor")]
    Doctor(Doctor),
    /// Print the completion script for a shell
    #[command(after_help = "Examples:
  rcluster completions bash > ~/.local/share/bash-completion/completions/rcluster
  rcluster completions zsh > \"${fpath[1]}/_rcluster\"
  rcluster completions fish > ~/.config/fish/completions/rcluster.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// Print the checks as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which cluster is meant.
#[derive(Args, Debug, Default)]
pub(crate) struct Target {
    /// The control socket: a path, or @name
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<String>,
    /// The process id of the primary
    #[arg(long, value_parser = pid, conflicts_with = "control")]
    pub(crate) pid: Option<u32>,
}

/// How long to wait.
#[derive(Args, Debug, Default)]
pub(crate) struct Patience {
    /// Stop waiting after this time, with exit code 4; the operation continues [default: wait]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) timeout: Option<Duration>,
}

impl Patience {
    /// The end of the wait, which begins now.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|limit| Instant::now() + limit)
    }
}

#[derive(Args, Debug)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Print the status document as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Wait until all workers are ready
    #[arg(long, value_name = "ready")]
    pub(crate) wait: Option<WaitFor>,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum WaitFor {
    /// All workers are ready
    Ready,
}

#[derive(Args, Debug)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct Events {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Has no effect: events are always followed
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Print each event as a line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Metrics {
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct Reload {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Number of workers that are replaced at a time [default: the option reloadConcurrency of the cluster]
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<u32>,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

#[derive(Args, Debug)]
pub(crate) struct Scale {
    /// A number of workers, a difference such as +1 or -1, or auto: one per CPU, from now on
    #[arg(value_name = "N|+N|-N|auto", allow_hyphen_values = true, value_parser = target_size)]
    pub(crate) workers: String,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

#[derive(Args, Debug)]
pub(crate) struct OfSlot {
    /// The number of the slot, counted from 0
    #[arg(value_parser = slot)]
    pub(crate) slot: u32,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

#[derive(Args, Debug)]
pub(crate) struct Stack {
    /// The number of the slot, or primary
    #[arg(value_name = "SLOT|primary", value_parser = slot_or_primary)]
    pub(crate) slot: SlotOrPrimary,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Args, Debug)]
pub(crate) struct Logs {
    /// The number of the slot, counted from 0 [default: all]
    #[arg(value_parser = slot)]
    pub(crate) slot: Option<u32>,
    #[command(flatten)]
    pub(crate) target: Target,
    /// Then print new lines, until interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Number of the last lines
    #[arg(short = 'n', long, alias = "tail", value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) lines: u32,
    /// Print each line as a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) target: Target,
    /// How long to keep accepting connections first [default: the option shutdownDelay of the cluster]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) delay: Option<Duration>,
    /// How long the workers may take to drain before they get SIGTERM [default: the option shutdownTimeout of the cluster]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) drain_timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// Checks the argument of `scale`. The cluster checks whether a difference is possible.
fn target_size(text: &str) -> Result<String, String> {
    if text == "0" {
        return Err("expected at least 1; `rcluster stop` ends the cluster".into());
    }
    let is_difference = text.starts_with(['+', '-']);
    if !is_difference && text.parse::<u32>().is_ok_and(|number| number > MAX_WORKERS) {
        return Err(format!("expected at most {MAX_WORKERS}"));
    }
    let is_number = text == "auto" || text.parse::<i32>().is_ok();
    is_number.then(|| text.to_owned()).ok_or_else(|| "expected a number, +1, -1 or auto".into())
}

#[cfg(test)]
mod tests;
