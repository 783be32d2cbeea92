//! What is printed if the arguments are invalid: the problem, and a correct alternative.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::{hints, output};

/// The extensions of programs that Node runs.
const PROGRAMS: [&str; 6] = ["js", "mjs", "cjs", "ts", "mts", "cts"];

/// Prints what is wrong, or the text of `--help`, and returns the exit code.
pub(crate) fn report(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // A closed terminal does not change the exit code.
        let _closed = error.print();
    } else {
        let command = arguments.get(1).and_then(|it| it.to_str()).filter(|it| !it.starts_with('-'));
        output::complain(&explain(error, command));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// The problem and its solution; the usage on a second line if something is missing.
fn explain(error: &clap::Error, command: Option<&str>) -> String {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    if let (ErrorKind::InvalidSubcommand, Some(name)) = (error.kind(), word(ContextKind::InvalidSubcommand)) {
        let solution = hints::for_command(name)
            .or_else(|| is_program(name).then(|| format!("to run the program, use rcluster start {name}")))
            .unwrap_or_else(|| {
                let suggestion = suggestion(error, ContextKind::SuggestedSubcommand);
                format!("{suggestion}`rcluster --help` lists the commands")
            });
        return format!("there is no command {name}: {solution}");
    }
    let help =
        command.map_or_else(|| "rcluster --help".into(), |command| format!("rcluster {command} --help"));
    let problem = problem(&error.to_string());
    match (error.kind(), word(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(option)) if option.starts_with('-') => {
            let note = match command {
                Some("start") => "; options of the program come after --",
                Some(_) => "",
                None => "; options of a command come after it: rcluster status --pid 4711",
            };
            let solution = hints::for_option(option).map_or_else(
                || {
                    format!(
                        "{}`{help}` lists the options{note}",
                        suggestion(error, ContextKind::SuggestedArg)
                    )
                },
                str::to_owned,
            );
            format!("there is no option {option}: {solution}")
        }
        (ErrorKind::UnknownArgument, Some(argument)) => {
            format!("unexpected {argument}: {}", hints::for_word(command.unwrap_or_default(), argument))
        }
        (ErrorKind::MissingRequiredArgument, _) => {
            let usage = error.get(ContextKind::Usage).map(ToString::to_string).unwrap_or_default();
            format!("{problem}\n{}", usage.trim())
        }
        _ => match suggestion(error, ContextKind::SuggestedValue).trim_end() {
            "" => problem,
            suggestion => format!("{problem}: {suggestion}"),
        },
    }
}

/// The first paragraph of clap's text, as one line.
fn problem(text: &str) -> String {
    let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    let line = lines.collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

/// A question about the most similar word, which is the last one; empty if there is none.
fn suggestion(error: &clap::Error, kind: ContextKind) -> String {
    let word = match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word),
        Some(ContextValue::Strings(words)) => words.last(),
        _ => None,
    };
    word.map(|word| format!("did you mean {word}? ")).unwrap_or_default()
}

fn is_program(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|it| it.to_str());
    extension.is_some_and(|it| PROGRAMS.contains(&it))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Arguments;

    #[test]
    fn each_message_names_the_problem_and_the_correction() {
        let explained = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let command = words.get(1).copied().filter(|word| !word.starts_with('-'));
            explain(&Arguments::try_parse_from(&words).unwrap_err(), command)
        };
        for (line, text) in [
            (
                "rcluster satrt app.js",
                "there is no command satrt: did you mean start? `rcluster --help` lists the commands",
            ),
            ("rcluster kill", "there is no command kill: use rcluster stop"),
            ("rcluster app.js", "there is no command app.js: to run the program, use rcluster start app.js"),
            ("rcluster xyzzy", "there is no command xyzzy: `rcluster --help` lists the commands"),
            (
                "rcluster start --wokers 2 a.js",
                "there is no option --wokers: did you mean --workers? `rcluster start --help` lists the options; options of the program come after --",
            ),
            (
                "rcluster start a.js --zz",
                "there is no option --zz: `rcluster start --help` lists the options; options of the program come after --",
            ),
            (
                "rcluster --control /run/app.sock status",
                "there is no option --control: `rcluster --help` lists the options; options of a command come after it: rcluster status --pid 4711",
            ),
            ("rcluster status -j", "there is no option -j: `rcluster status --help` lists the options"),
            (
                "rcluster start a.js 80",
                "unexpected 80: arguments of the program come after --: rcluster start app.js -- 80",
            ),
            (
                "rcluster start --ready listenin a.js",
                "invalid value 'listenin' for '--ready <WHEN>' [possible values: online, listening, explicit]: did you mean listening?",
            ),
            (
                "rcluster start -w many a.js",
                "invalid value 'many' for '--workers <N|auto>': expected a number from 1 to 1024, or auto",
            ),
            (
                "rcluster start",
                "the following required arguments were not provided: <app.js>\nUsage: rcluster start <app.js> [-- <ARGS>...]",
            ),
        ] {
            assert_eq!(explained(line), text);
        }
        assert!(explained("rcluster stop app").contains("`rcluster drain SLOT`"));
        assert!(explained("rcluster start a.js --kill-timeout 5").ends_with("use --drain-timeout"));
    }
}
