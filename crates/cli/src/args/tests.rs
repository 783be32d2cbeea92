use clap::CommandFactory;

use super::*;

#[test]
fn the_definition_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn each_command_has_an_example_that_can_be_parsed() {
    for command in Arguments::command().get_subcommands() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<&str> = help.lines().filter(|line| line.starts_with("  ")).collect();
        assert!(!examples.is_empty(), "{} has no example", command.get_name());
        for example in examples {
            let example = example.trim().trim_start_matches("npx ");
            let words = example.split([' ']).take_while(|word| !["&&", "|", ">"].contains(word));
            let parsed = Arguments::try_parse_from(words);
            assert!(parsed.is_ok(), "{example}: {:?}", parsed.err());
        }
    }
}

#[test]
fn differences_and_the_arguments_of_the_app_are_not_parsed_as_options() {
    let parse = |words: &[&str]| Arguments::try_parse_from(words);
    let Command::Scale(scale) = parse(&["rcluster", "scale", "-1"]).unwrap().command else { panic!() };
    assert_eq!(scale.workers, "-1");
    let words = ["rcluster", "start", "-w", "2", "app.js", "--", "-w", "--help"];
    let Command::Start(start) = parse(&words).unwrap().command else { panic!() };
    assert_eq!((start.workers.as_deref(), start.args), (Some("2"), vec!["-w".to_owned(), "--help".into()]));
    assert!(parse(&["rcluster", "scale", "1024"]).is_ok() && parse(&["rcluster", "scale", "+5000"]).is_ok());
    for version in ["-V", "-v", "--version"] {
        let printed = parse(&["rcluster", version]).unwrap_err();
        assert_eq!(printed.kind(), clap::error::ErrorKind::DisplayVersion, "{version}");
    }
    for wrong in [
        &["rcluster"][..],
        &["rcluster", "start"],
        &["rcluster", "start", "-w", "0", "a.js"],
        &["rcluster", "restart", "x"],
        &["rcluster", "restart", "all"],
        &["rcluster", "stack", "all"],
        &["rcluster", "scale", "app"],
        &["rcluster", "scale", "1025"],
        &["rcluster", "status", "--pid", "1", "--control", "x"],
    ] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}
