//! The memory of another process, and of the machine.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::unistd::{SysconfVar, sysconf};

use super::error::{Doing, SysError};

/// The resident memory of one process, read repeatedly from a file that stays open. After the process has
/// been reaped reading fails; it never reads another process that got the same number.
#[derive(Debug)]
pub struct Memory {
    statm: File,
    page: u64,
}

impl Memory {
    /// For a child that has not been reaped, so that its number has not been reused.
    pub fn of(pid: i32) -> Result<Self, SysError> {
        let doing = "opening the memory figures of a process";
        let statm = File::open(format!("/proc/{pid}/statm")).doing(doing)?;
        let page = sysconf(SysconfVar::PAGE_SIZE).doing(doing)?.unwrap_or(4096);
        Ok(Self { statm, page: u64::try_from(page).unwrap_or(4096) })
    }

    /// Resident memory in bytes. `None` if the process has ended.
    #[must_use]
    pub fn resident(&self) -> Option<u64> {
        let mut text = [0; 128];
        let length = self.statm.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..length)?).ok()?;
        let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
        Some(pages.saturating_mul(self.page))
    }
}

/// The memory of the machine in bytes. `None` if it is unknown.
#[must_use]
pub fn of_machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_touched_counts() {
        let memory = Memory::of(std::process::id().cast_signed()).unwrap();
        let before = memory.resident().unwrap();
        let block = vec![1_u8; 64 << 20];
        let after = memory.resident().unwrap();
        assert!(after >= before + (48 << 20), "{before} and then {after}");
        drop(block);
    }

    #[test]
    fn the_machine_has_more_than_this_process() {
        let own = Memory::of(std::process::id().cast_signed()).unwrap().resident().unwrap();
        assert!(of_machine().unwrap() > own);
    }

    #[test]
    fn a_process_that_is_gone_has_none() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let memory = Memory::of(child.id().cast_signed()).unwrap();
        assert!(memory.resident().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(memory.resident(), None);
    }
}
