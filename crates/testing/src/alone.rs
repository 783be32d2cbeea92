use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::unistd::geteuid;

/// Set in the process in which a test runs alone.
const VARIABLE: &str = "RCLUSTER_ALONE";

/// True in a process in which the test of this name runs alone. Elsewhere starts that process, waits for it, and is false:
/// then the test has run.
///
/// `test` is the path of the test function within its crate.
///
/// # Panics
/// If the test fails there, or there is none of this name.
#[must_use]
pub fn alone(test: &str) -> bool {
    run(test, Command::new("/proc/self/exe"))
}

/// The same with a limit of its own on the number of descriptors.
///
/// # Panics
/// As [`alone`].
#[must_use]
pub fn alone_with_limit(test: &str, descriptors: u32) -> bool {
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={descriptors}:{descriptors}"));
    command.arg(std::env::current_exe().expect("a program has a path"));
    run(test, command)
}

/// The same for a user of its own, where this process may do that.
///
/// # Panics
/// As [`alone`].
#[must_use]
pub fn alone_as_user(test: &str, user: u32) -> bool {
    let mut command = Command::new("/proc/self/exe");
    if geteuid().is_root() {
        command.uid(user).gid(user);
    }
    run(test, command)
}

fn run(test: &str, mut command: Command) -> bool {
    if std::env::var_os(VARIABLE).is_some() {
        return true;
    }
    command.args(["--exact", test, "--test-threads=1"]).env(VARIABLE, "1");
    let output = command.output().expect("a test can be run once more");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{test}, alone:\n{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}
