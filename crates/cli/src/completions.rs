//! `rcluster completions`: completion scripts for shells.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::aot::{Bash, Fish, Zsh, generate};

use crate::Outcome;
use crate::args::{Arguments, Shell};
use crate::output;

pub(crate) fn print(shell: Shell) -> Outcome {
    let (mut command, mut script) = (Arguments::command(), Vec::new());
    match shell {
        Shell::Bash => generate(Bash, &mut command, "rcluster", &mut script),
        Shell::Zsh => generate(Zsh, &mut command, "rcluster", &mut script),
        Shell::Fish => generate(Fish, &mut command, "rcluster", &mut script),
    }
    output::print(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
