//! The command `rcluster`. It speaks the protocol of the control socket, which docs/control.md describes; docs/cli.md
//! describes the command. `start` becomes the primary, which is Node.

mod args;
mod completions;
mod connection;
mod doctor;
mod examine;
mod find;
mod follow;
mod hints;
mod init;
mod logs;
mod metrics;
mod output;
mod progress;
mod start;
mod status;
mod top;
mod units;
mod wrong_usage;

use std::ffi::OsString;
use std::iter::once;
use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};
use output::Failure;

fn main() -> ExitCode {
    // The file has another name, which nobody types.
    let arguments: Vec<OsString> = once("rcluster".into()).chain(std::env::args_os().skip(1)).collect();
    let arguments = match Arguments::try_parse_from(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => return wrong_usage::report(&error, &arguments),
    };
    let result = match arguments.command {
        Command::Start(options) => start::run(&options),
        Command::Status(options) => status::run(&options),
        Command::Top(options) => top::run(&options),
        Command::Events(options) => follow::events(&options),
        Command::Metrics(options) => metrics::run(&options),
        Command::Reload(options) => follow::reload(&options),
        Command::Scale(options) => follow::scale(&options),
        Command::Restart(options) => follow::restart(&options),
        Command::Drain(options) => follow::drain(&options),
        Command::Stack(options) => follow::stack(&options),
        Command::Logs(options) => logs::run(&options),
        Command::Stop(options) => follow::stop(&options),
        Command::Profile(options) => examine::profile(&options),
        Command::Heap(options) => examine::heap(&options),
        Command::Inspect(options) => examine::inspect(&options),
        Command::Env(options) => examine::env(&options),
        Command::Doctor(options) => doctor::run(&options),
        Command::Completions { shell } => completions::print(shell),
        Command::Init(options) => init::run(&options),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            output::complain(&failure.to_string());
            failure.code()
        }
    }
}

type Outcome = Result<ExitCode, Failure>;
