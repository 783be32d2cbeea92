//! What a process was started with, as the kernel remembers it, and what it has inherited.

use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use super::schedule::behind_name;
use super::spawn::Spawn;

/// See the module documentation.
#[derive(Debug)]
pub struct ProcessStart {
    program: PathBuf,
    args: Vec<CString>,
    env: HashSet<CString>,
    cwd: PathBuf,
    inherited: Vec<String>,
}

impl ProcessStart {
    /// Reads it from `/proc`. A process of another user cannot be read.
    pub fn of(pid: Pid) -> io::Result<Self> {
        let place = PathBuf::from(format!("/proc/{pid}"));
        Ok(Self {
            inherited: inherited(&place)?,
            program: fs::read_link(place.join("exe"))?,
            args: strings(&fs::read(place.join("cmdline"))?),
            env: strings(&fs::read(place.join("environ"))?).into_iter().collect(),
            cwd: fs::read_link(place.join("cwd"))?,
        })
    }

    /// False for a moment after the start of every process.
    #[cfg(test)]
    pub(super) fn has_environment(&self) -> bool {
        !self.env.is_empty()
    }

    /// The variables of `spawn` that the process lacks. `None` if it differs in anything else, but for the variable `besides`,
    /// from what this process would start now.
    #[must_use]
    pub fn missing<'a>(&self, spawn: &'a Spawn<'_>, besides: &str) -> Option<Vec<&'a CString>> {
        let is_program = is_same(&self.program, &spawn.file);
        let is_directory = match &spawn.cwd {
            Some(cwd) => is_same(&self.cwd, cwd),
            None => std::env::current_dir().is_ok_and(|cwd| cwd == self.cwd),
        };
        let inherits = inherited(Path::new("/proc/self")).is_ok_and(|own| own == self.inherited);
        if !is_program || !is_directory || !inherits || self.args != spawn.args {
            return None;
        }
        let wanted: HashSet<&CString> = spawn.env.iter().collect();
        let prefix = format!("{besides}=");
        let has_more = self.env.iter().any(|variable| {
            !wanted.contains(variable) && !variable.to_bytes().starts_with(prefix.as_bytes())
        });
        if has_more {
            return None;
        }
        Some(spawn.env.iter().filter(|variable| !self.env.contains(*variable)).collect())
    }
}

/// The lines of `/proc/[pid]/status` with what a child inherits and nothing overrides.
const INHERITED: [&str; 8] =
    ["Umask:", "Uid:", "Gid:", "Groups:", "CapEff:", "NoNewPrivs:", "Seccomp:", "Cpus_allowed:"];
/// The fields of `/proc/[pid]/stat` after the name, counted from 0: nice, real-time priority, scheduling policy.
const SCHEDULING: [usize; 3] = [16, 37, 38];

/// What the process at this place in `/proc` has inherited, or its main thread has changed since.
fn inherited(place: &Path) -> io::Result<Vec<String>> {
    let status = fs::read_to_string(place.join("status"))?;
    let lines = status.lines().filter(|line| INHERITED.iter().any(|name| line.starts_with(name)));
    let mut found: Vec<String> = lines.map(Into::into).collect();
    let stat = fs::read(place.join("stat"))?;
    let fields = String::from_utf8_lossy(behind_name(&stat).unwrap_or_default());
    let fields: Vec<_> = fields.split_ascii_whitespace().collect();
    found.extend(SCHEDULING.iter().filter_map(|at| fields.get(*at)).map(ToString::to_string));
    for file in ["cgroup", "limits", "oom_score_adj"] {
        found.push(fs::read_to_string(place.join(file))?);
    }
    Ok(found)
}

/// Whether a name leads to this path, which has no links.
fn is_same(path: &Path, name: &CStr) -> bool {
    Path::new(OsStr::from_bytes(name.to_bytes())).canonicalize().is_ok_and(|real| real == path)
}

/// Splits strings that each end with a NUL byte.
fn strings(bytes: &[u8]) -> Vec<CString> {
    let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    text.split(|byte| *byte == 0).filter_map(|part| CString::new(part).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_with_a_nul_byte_and_may_be_empty() {
        assert!(strings(b"").is_empty());
        assert_eq!(strings(b"\0"), [CString::default()]);
        assert_eq!(strings(b"node\0\0app.js\0"), [c"node".to_owned(), CString::default(), c"app.js".into()]);
    }

    #[test]
    fn a_process_is_described_as_it_was_started() {
        let own = ProcessStart::of(nix::unistd::getpid()).unwrap();
        assert_eq!(own.program, std::env::current_exe().unwrap());
        assert_eq!(own.args.len(), std::env::args_os().len());
        assert_eq!(own.cwd, std::env::current_dir().unwrap());
        let spawn = Spawn {
            file: CString::new(own.program.as_os_str().as_bytes()).unwrap(),
            args: own.args.clone(),
            env: own.env.iter().cloned().chain([c"RCLUSTER_MORE=1".into()]).collect(),
            ..Spawn::default()
        };
        assert_eq!(own.missing(&spawn, "NONE").unwrap(), [c"RCLUSTER_MORE=1"]);
        let other = Spawn { args: vec![], ..spawn };
        assert_eq!(own.missing(&other, "NONE"), None);
    }
}
