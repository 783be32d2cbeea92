//! The command line and the text of `--help`.
#![allow(clippy::doc_markdown, reason = "these comments are the text of --help, for terminals")]

mod init;
mod look;
mod start;

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::init::{Init, Kind};
pub(crate) use self::look::{Env, Heap, Inspect, Profile, SlotOrPrimary, ToFile};
use self::look::{slot, slot_or_primary};
pub(crate) use self::start::{Log, LogMode, Ready, Start};
use crate::units;

const EXAMPLES: &str = "\
Examples:
  rcluster start -w auto app.js            run app.js with a worker per CPU, in the foreground
  rcluster start --ready explicit --unresponsive-after 5s --max-memory 500M app.js -- --port 8000
  rcluster status                          who is there, and how it goes
  rcluster top                             the same as it changes, with keys to steer it
  rcluster reload                          new workers with the new code, without failing a request
  rcluster scale +1                        one worker more
  rcluster stack 2                         where the JavaScript of slot 2 is just now
  rcluster stop                            drain all workers and end

Coming from pm2:    pm2 ls = rcluster status, pm2 monit = rcluster top, pm2 reload = rcluster reload, pm2 scale app 4 = rcluster scale 4
Coming from puma:   pumactl stats = rcluster status --json, pumactl phased-restart = rcluster reload

Which cluster is meant: the only one that your user runs; otherwise name it by --pid or --control.

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no cluster is running, 4 timed out.";

/// Starts Node programs as supervised clusters, and steers them.
#[derive(Debug, Parser)]
#[command(name = "rcluster", version, about, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program with supervised workers, in the foreground
    #[command(after_help = "Example:
  rcluster start -w 4 --max-memory 500M app.js -- --port 8000")]
    Start(Start),
    /// Show the slots, their workers and how the cluster stands
    #[command(
        visible_alias = "ps",
        aliases = ["ls", "list", "stats", "info"],
        after_help = "Example:
  rcluster status --wait ready --timeout 30s && echo all workers are ready"
    )]
    Status(Status),
    /// Watch the cluster on the terminal, and steer it by keys
    #[command(after_help = "Example:
  rcluster top")]
    Top(Top),
    /// Print each event as it happens, until interrupted
    #[command(after_help = "Example:
  rcluster events --json | grep unresponsive")]
    Events(Events),
    /// Print the metrics, in the format of OpenMetrics
    #[command(after_help = "Example:
  rcluster metrics")]
    Metrics(Metrics),
    /// Replace all workers by new ones, with the code as it is now, without failing a request
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
    /// Replace the worker of one slot: the new one first, then the old one drains
    #[command(after_help = "Example:
  rcluster restart 2")]
    Restart(OfSlot),
    /// Drain the worker of one slot; the slot stays empty until it is restarted or reloaded
    #[command(after_help = "Example:
  rcluster drain 2 --timeout 30s")]
    Drain(OfSlot),
    /// Show where the JavaScript of a worker, or of the primary, is just now
    #[command(
        aliases = ["thread-backtraces", "backtrace"],
        after_help = "Example:
  rcluster stack 2"
    )]
    Stack(Stack),
    /// Print what workers have written to stdout and stderr, as far as it goes through the primary (start --logs)
    #[command(after_help = "Example:
  rcluster logs 2 -f")]
    Logs(Logs),
    /// Write a CPU profile of a worker, or of the primary, for Chrome's developer tools
    #[command(after_help = "Examples:
  rcluster profile 2 10s
  rcluster profile primary 500ms -o start.cpuprofile")]
    Profile(Profile),
    /// Write a snapshot of the heap of a worker, or of the primary, for Chrome's developer tools
    #[command(
        after_help = "The event loop is blocked while V8 takes the snapshot, which needs about as much memory again. \
The file holds all that is in memory, secrets as well.

Example:
  rcluster heap 2 -o slot-2.heapsnapshot"
    )]
    Heap(Heap),
    /// Open the inspector of a worker, or of the primary, and print its address
    #[command(
        after_help = "Everybody on this machine who reaches the port can run code in the process: close it when you \
have finished.

Examples:
  rcluster inspect 2
  rcluster inspect 2 --off"
    )]
    Inspect(Inspect),
    /// Print the names of the environment variables of a worker, or of the primary
    #[command(after_help = "Values are never told.

Example:
  rcluster env 2")]
    Env(Env),
    /// Drain all workers and end the primary, as SIGTERM does
    #[command(after_help = "Example:
  rcluster stop --drain-timeout 10s")]
    Stop(Stop),
    /// Write a unit for systemd, a Dockerfile with a compose file, or manifests for Kubernetes
    #[command(after_help = "Example:
  rcluster init systemd")]
    Init(Init),
    /// Check what stands in the way of a cluster on this machine
    #[command(after_help = "Example:
  npx rcluster doctor")]
    Doctor(Doctor),
    /// Print the script by which a shell completes commands and options
    #[command(after_help = "Examples:
  rcluster completions bash > ~/.local/share/bash-completion/completions/rcluster
  rcluster completions zsh > \"${fpath[1]}/_rcluster\"
  rcluster completions fish > ~/.config/fish/completions/rcluster.fish")]
    Completions {
        /// Which shell
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
    #[arg(long, conflicts_with = "control")]
    pub(crate) pid: Option<u32>,
}

/// How long to wait.
#[derive(Args, Debug, Default)]
pub(crate) struct Patience {
    /// Give up waiting after this time, with exit code 4; what was asked for goes on [default: wait]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Args, Debug)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Print the whole status document as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Wait until every slot that is to have a worker has one that is ready
    #[arg(long, value_name = "ready")]
    pub(crate) wait: Option<WaitFor>,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum WaitFor {
    /// Every slot that is to have a worker has one that is ready
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
    /// Follow; events are always followed
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
    /// How many workers at a time [default: the option reloadConcurrency of the cluster]
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<u32>,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

#[derive(Args, Debug)]
pub(crate) struct Scale {
    /// How many workers, a difference such as +1 or -1, or auto: one per CPU, from now on
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
    pub(crate) slot: Option<u32>,
    #[command(flatten)]
    pub(crate) target: Target,
    /// Go on with the lines to come, until interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many of the last lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) lines: u32,
    /// Print each line as an object of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Go on accepting for this long first [default: the option shutdownDelay of the cluster]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) delay: Option<Duration>,
    /// How long the workers may drain before they are ended [default: the option shutdownTimeout of the cluster]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) drain_timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) patience: Patience,
}

/// Checks the argument of `scale`. The cluster checks whether the number is possible.
fn target_size(text: &str) -> Result<String, String> {
    let is_number = text == "auto" || text.parse::<i32>().is_ok();
    is_number.then(|| text.to_owned()).ok_or_else(|| "a number, +1, -1 or auto".into())
}

#[cfg(test)]
mod tests;
