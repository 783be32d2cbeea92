use std::env::{self, VarError};
use std::ops::Range;

const VARIABLE: &str = "RCLUSTER_SEED";

/// The seeds of a simulation: those that `RCLUSTER_SEED` names, one (`7`) or a range (`1000..3000`), otherwise
/// the first `count`.
///
/// # Panics
///
/// If the variable contains anything else.
#[must_use]
pub fn seeds(count: u64) -> Seeds {
    let text = match env::var(VARIABLE) {
        Ok(text) => text,
        Err(VarError::NotPresent) => return Seeds { range: 0..count, are_given: false },
        Err(VarError::NotUnicode(text)) => text.to_string_lossy().into_owned(),
    };
    let Some(range) = parse(&text) else {
        panic!("{VARIABLE} is {text:?}, but must be a seed such as 7 or a range of seeds such as 1000..3000");
    };
    Seeds { range, are_given: true }
}

fn parse(text: &str) -> Option<Range<u64>> {
    let range = if let Some((first, end)) = text.split_once("..") {
        first.parse().ok()?..end.parse().ok()?
    } else {
        let seed: u64 = text.parse().ok()?;
        seed..seed.checked_add(1)?
    };
    (!range.is_empty()).then_some(range)
}

/// The seeds that a simulation runs: see [`seeds`].
#[derive(Debug)]
pub struct Seeds {
    range: Range<u64>,
    are_given: bool,
}

impl Seeds {
    /// Whether they come from the environment. Then they may be few, so what must have happened in all runs
    /// together need not have happened.
    #[must_use]
    pub fn are_given(&self) -> bool {
        self.are_given
    }

    /// One after the other. Each lives as long as the run for which it stands.
    pub fn each(&self) -> impl Iterator<Item = Seed> + use<> {
        let is_replay = self.are_given && self.range.end - self.range.start == 1;
        self.range.clone().map(move |number| Seed { number, is_replay })
    }
}

/// A seed, which is named if the run for which it stands panics.
#[derive(Debug)]
pub struct Seed {
    /// What determines the run.
    pub number: u64,
    is_replay: bool,
}

impl Seed {
    /// Whether this run alone was requested, so that all of it may be printed.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.is_replay
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the simulation failed; {VARIABLE}={} replays it", self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs the test below with these seeds. Returns whether it passed, and what it wrote.
    fn simulation(seeds: Option<&str>) -> (bool, String) {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "seed::tests::a_simulation", "--ignored", "--nocapture"]);
        command.env_remove(VARIABLE).envs(seeds.map(|seeds| (VARIABLE, seeds)));
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    #[test]
    #[ignore = "a program of the other tests"]
    fn a_simulation() {
        let seeds = seeds(3);
        let mut ran = Vec::new();
        for seed in seeds.each() {
            ran.push(seed.number);
            assert!(seed.number != 1234, "an unlucky number");
            println!("replay: {}", seed.is_replay());
        }
        println!("ran {ran:?}, given: {}", seeds.are_given());
    }

    #[test]
    fn the_environment_chooses_the_seeds() {
        for (given, expected) in [
            (None, ["ran [0, 1, 2], given: false", "replay: false"]),
            (Some("7"), ["ran [7], given: true", "replay: true"]),
            (Some("1000..1002"), ["ran [1000, 1001], given: true", "replay: false"]),
        ] {
            let (passed, text) = simulation(given);
            assert!(passed && expected.iter().all(|part| text.contains(part)), "{given:?}: {text}");
        }
    }

    #[test]
    fn a_seed_that_fails_is_named() {
        let (passed, text) = simulation(Some("1230..1240"));
        assert!(!passed && text.contains("RCLUSTER_SEED=1234 replays it"), "{text}");
        assert_eq!(text.matches(VARIABLE).count(), 1, "no other one is: {text}");
    }

    #[test]
    fn anything_else_is_refused() {
        for wrong in ["", "seven", "-1", "7..", "..7", "7..7", "9..7", "1..=3", "1..2..3", "1 ..3"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
        let (passed, text) = simulation(Some("1..x"));
        assert!(
            !passed && text.contains(r#"RCLUSTER_SEED is "1..x", but must be a seed such as 7"#),
            "{text}"
        );
    }
}
