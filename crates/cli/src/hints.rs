//! Commands of other tools, and their equivalents here.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::output;

/// Commands of other tools that do not exist here, and their equivalents.
const HINTS: &[(&str, &str)] = &[
    ("monit|monitor|dash|dashboard|plus", "rcluster top"),
    ("describe|desc|show|jlist|prettylist", "rcluster status --json"),
    ("gracefulReload|graceful-reload|startOrReload|refork|hot-restart", "rcluster reload"),
    ("kill|delete|del|halt|quit|shutdown|exit", "rcluster stop"),
    ("stopall|stop-all", "rcluster stop"),
    ("cluster|fork|run|serve|exec|launch", "rcluster start app.js"),
    ("trace|where|bt|threads", "rcluster stack SLOT"),
    ("sendSignal|signal", "rcluster reload, rcluster restart SLOT, rcluster drain SLOT or rcluster stop"),
];

/// Commands of other tools that need no equivalent, and why.
const NOT_NEEDED: &[(&str, &str)] = &[
    (
        "save|resurrect|dump|startup|unstartup|ping|update",
        "there is no daemon that would have to be started or saved: have systemd, Docker or Kubernetes run `rcluster start`",
    ),
    (
        "flush|reloadLogs|reload-worker-logs",
        "rcluster writes no log files: workers write to the stdout and stderr of the primary",
    ),
    (
        "deploy|install|set|get|conf|config|ecosystem|init-config",
        "options are on the command line of `rcluster start`, or in the file that its --config names",
    ),
];

/// Prints the error in the arguments, or the text of `--help`, and exits.
pub(crate) fn end(error: &clap::Error) -> ! {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    if error.kind() == ErrorKind::InvalidSubcommand
        && let Some(hint) = word(ContextKind::InvalidSubcommand).and_then(hint)
    {
        output::complain(&hint);
        std::process::exit(error.exit_code());
    }
    // A closed terminal does not change the exit code.
    let _closed = error.print();
    if error.kind() == ErrorKind::UnknownArgument
        && word(ContextKind::InvalidArg).is_some_and(|argument| !argument.starts_with('-'))
    {
        output::complain(
            "apps have no names here: a cluster is named by --pid or --control, if there are several",
        );
    }
    std::process::exit(error.exit_code());
}

/// The hint for a command of another tool.
fn hint(command: &str) -> Option<String> {
    let find = |hints: &'static [(&str, &str)]| {
        let known =
            |(names, _): &&(&str, &str)| names.split('|').any(|name| name.eq_ignore_ascii_case(command));
        hints.iter().find(known).map(|(_, hint)| *hint)
    };
    let meant = find(HINTS).map(|hint| format!("there is no command {command}: use {hint}"));
    meant.or_else(|| find(NOT_NEEDED).map(|hint| format!("there is no command {command}: {hint}")))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::args::Arguments;

    #[test]
    fn hints_name_commands_that_exist_for_words_that_do_not() {
        for (names, hint) in HINTS {
            let commands =
                hint.split(", or ").flat_map(|part| part.split(" or ")).flat_map(|part| part.split(", "));
            for command in commands {
                let words = command.split(' ').map(|word| if word == "SLOT" { "0" } else { word });
                assert!(Arguments::try_parse_from(words).is_ok(), "{command}");
            }
            assert!(names.split('|').all(|name| super::hint(name).is_some_and(|text| text.ends_with(hint))));
        }
        let known = |name: &str| {
            let command = Arguments::command();
            command
                .get_subcommands()
                .any(|it| it.get_name() == name || it.get_all_aliases().any(|alias| alias == name))
        };
        for (names, _) in HINTS.iter().chain(NOT_NEEDED) {
            assert!(!names.split('|').any(known), "a hint for what is a command: {names}");
        }
        assert_eq!(super::hint("explode"), None);
    }
}
