//! How much memory another process has.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::unistd::{SysconfVar, sysconf};

use super::error::{Doing, SysError};

/// The resident memory of one process, read again and again from a file that stays open. When the process is
/// gone reading fails; it never reads another process that got its number.
#[derive(Debug)]
pub struct Memory {
    statm: File,
    page: u64,
}

impl Memory {
    /// Of a child that has not been reaped, so that the number is still its own.
    pub fn of(pid: i32) -> Result<Self, SysError> {
        let doing = "opening the memory figures of a process";
        let statm = File::open(format!("/proc/{pid}/statm")).doing(doing)?;
        let page = sysconf(SysconfVar::PAGE_SIZE).doing(doing)?.unwrap_or(4096);
        Ok(Self { statm, page: u64::try_from(page).unwrap_or(4096) })
    }

    /// Resident bytes. None when the process is gone.
    #[must_use]
    pub fn resident(&self) -> Option<u64> {
        let mut text = [0; 128];
        let length = self.statm.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..length)?).ok()?;
        let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
        Some(pages.saturating_mul(self.page))
    }
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
