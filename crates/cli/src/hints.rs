//! Commands and options of other tools, and their equivalents here.

/// Commands of other tools that do not exist here, and their equivalents.
const COMMANDS: &[(&str, &str)] = &[
    ("monit|monitor|dash|dashboard|plus", "rcluster top"),
    ("describe|desc|show|jlist|prettylist", "rcluster status --json"),
    ("id|pid|workers", "rcluster status"),
    ("gracefulReload|graceful-reload|startOrReload|refork|hot-restart", "rcluster reload"),
    ("kill|halt|quit|shutdown|exit|stopall|stop-all", "rcluster stop"),
    ("delete|del", "rcluster stop, or rcluster drain SLOT for one worker"),
    ("cluster|fork|run|serve|exec|launch", "rcluster start app.js"),
    ("trace|where|bt|threads", "rcluster stack SLOT"),
    ("version", "rcluster --version"),
    ("web", "rcluster start --metrics 9090 app.js, which serves a page"),
    ("sendSignal|signal", "rcluster reload, rcluster restart SLOT, rcluster drain SLOT or rcluster stop"),
];

/// Commands of other tools that need no equivalent, and why.
const NOT_NEEDED: &[(&str, &str)] = &[
    (
        "save|resurrect|dump|startup|unstartup|ping|update",
        "there is no daemon: have systemd, Docker or Kubernetes run `rcluster start`; `rcluster init` writes their files",
    ),
    (
        "flush|reloadLogs|reload-worker-logs",
        "there are no log files: workers write to the stdout and stderr of `rcluster start`",
    ),
    (
        "deploy|install|set|get|conf|config|ecosystem|init-config",
        "options are on the command line of `rcluster start`, or in the file that its --config names",
    ),
];

/// Options of other tools that do not exist here, and what to do instead.
const OPTIONS: &[(&str, &str)] = &[
    ("-v", "use --version"),
    ("--name", "apps have no names here: a cluster is selected by --pid or --control"),
    (
        "--port|-p|-b|--bind|--listen",
        "the program chooses its port: set PORT=3000 before the command, or give the program options after --",
    ),
    ("--kill-timeout", "use --drain-timeout"),
    ("--wait-ready", "use --ready explicit"),
    ("--listen-timeout", "set readyTimeout in the file of --config"),
    ("--no-autorestart", "set restart in the file of --config"),
    ("--node-args|--interpreter-args|--interpreter", "set Node's options in NODE_OPTIONS"),
    (
        "-d|--daemon|--daemonize|--attach|--no-daemon",
        "it always runs in the foreground; `rcluster init` writes files for systemd, Docker and Kubernetes",
    ),
    ("--cron-restart|--cron", "have cron run `rcluster reload`"),
    ("--ignore-watch", "name what is to be watched with --watch-path"),
    (
        "-o|--output|-e|--error|-l|--log-file|--merge-logs|--log-date-format|--time",
        "there are no log files: redirect the output of `rcluster start`, and choose its form with --logs",
    ),
    ("--env|--environment|--update-env", "set variables before the command, or in the file of --env-file"),
    ("--cwd|--dir", "change the directory before the command"),
    ("-C", "use --config"),
];

/// What to do instead of a command of another tool.
pub(crate) fn for_command(name: &str) -> Option<String> {
    let equivalent = find(COMMANDS, name).map(|it| format!("use {it}"));
    equivalent.or_else(|| find(NOT_NEEDED, name).map(str::to_owned))
}

/// What to do instead of an option of another tool.
pub(crate) fn for_option(name: &str) -> Option<&'static str> {
    find(OPTIONS, name)
}

/// What to do about a name, a slot or another word that the command does not expect.
pub(crate) fn for_word(command: &str, word: &str) -> String {
    match command {
        "start" => format!("arguments of the program come after --: rcluster start app.js -- {word}"),
        "stop" => {
            "it stops the whole cluster and takes no name; `rcluster drain SLOT` stops one worker".into()
        }
        "reload" => {
            "it replaces all workers and takes no name; `rcluster restart SLOT` replaces one worker".into()
        }
        "scale" => "it takes only the number of workers: rcluster scale 4".into(),
        "init" | "doctor" | "completions" => format!("see rcluster {command} --help"),
        _ => "apps have no names here: if there are several clusters, select one with --pid or --control"
            .into(),
    }
}

fn find(hints: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    let is_it =
        |(names, _): &&(&str, &'static str)| names.split('|').any(|known| known.eq_ignore_ascii_case(name));
    // Short options are told apart by case.
    let exact = |(names, _): &&(&str, &'static str)| names.split('|').any(|known| known == name);
    let found = hints.iter().find(exact).or_else(|| hints.iter().find(|it| name.len() > 2 && is_it(it)));
    found.map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::args::Arguments;

    #[test]
    fn hints_name_commands_that_exist_for_words_that_do_not() {
        for (names, hint) in COMMANDS {
            let parts =
                hint.split(", or ").flat_map(|part| part.split(" or ")).flat_map(|part| part.split(", "));
            let commands: Vec<&str> = parts.filter(|part| part.starts_with("rcluster ")).collect();
            assert!(!commands.is_empty(), "{hint}");
            for command in commands {
                let command = command.split(" for ").next().unwrap();
                let words = command.split(' ').map(|word| if word == "SLOT" { "0" } else { word });
                let parsed = Arguments::try_parse_from(words);
                assert!(parsed.is_ok() || command.ends_with("--version"), "{command}");
            }
            assert!(names.split('|').all(|name| for_command(name).is_some_and(|text| text.ends_with(hint))));
        }
        let known = |name: &str| {
            let command = Arguments::command();
            command
                .get_subcommands()
                .any(|it| it.get_name() == name || it.get_all_aliases().any(|alias| alias == name))
        };
        for (names, _) in COMMANDS.iter().chain(NOT_NEEDED) {
            assert!(!names.split('|').any(known), "a hint for what is a command: {names}");
        }
        assert_eq!(for_command("explode"), None);
    }

    #[test]
    fn hints_are_for_options_that_start_does_not_have() {
        for name in OPTIONS.iter().flat_map(|(names, _)| names.split('|')) {
            let parsed = Arguments::try_parse_from(["rcluster", "start", "app.js", name]);
            assert_eq!(parsed.unwrap_err().kind(), clap::error::ErrorKind::UnknownArgument, "{name}");
        }
        assert_eq!((for_option("-C").is_some(), for_option("-c")), (true, None));
    }
}
