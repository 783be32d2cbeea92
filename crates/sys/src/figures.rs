//! The kernel's figures of a process: CPU time, memory and descriptors.

use std::fs;

use nix::unistd::{SysconfVar, sysconf};

use super::memory::Memory;

/// The figures of a process. `None` if it has ended, or may not be inspected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// CPU time of all threads so far, in ms.
    pub cpu_ms: Option<u64>,
    /// Resident memory in bytes.
    pub memory: Option<u64>,
    /// The number of open descriptors.
    pub fds: Option<u32>,
}

impl Figures {
    /// The figures of a process that has not been reaped, so that its number has not been reused.
    #[must_use]
    pub fn of(pid: i32) -> Self {
        Self {
            cpu_ms: cpu_time(pid),
            memory: Memory::of(pid).ok().and_then(|memory| memory.resident()),
            fds: descriptors(pid),
        }
    }
}

/// CPU time of all threads of a process so far, in ms. Still available after its end, until it is reaped.
#[must_use]
pub fn cpu_time(pid: i32) -> Option<u64> {
    cpu_ms(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, ticks())
}

/// Clock ticks per second.
fn ticks() -> u64 {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    ticks.and_then(|ticks| u64::try_from(ticks).ok()).filter(|ticks| *ticks > 0).unwrap_or(100)
}

/// From `/proc/pid/stat`. The program's name, in parentheses, may contain anything.
fn cpu_ms(stat: &str, ticks: u64) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user.saturating_add(system).saturating_mul(1000) / ticks)
}

fn descriptors(pid: i32) -> Option<u32> {
    let folder = format!("/proc/{pid}/fd");
    // Linux 6.2 and newer report the number as the size of the directory.
    let size = fs::metadata(&folder).ok()?.len();
    if size > 0 {
        return u32::try_from(size).ok();
    }
    u32::try_from(fs::read_dir(&folder).ok()?.count()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_figures_until_it_has_ended() {
        let own = Figures::of(std::process::id().cast_signed());
        assert!(own.memory.unwrap() > 0 && own.cpu_ms.is_some());
        let files: Vec<fs::File> = (0..10).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let more = Figures::of(std::process::id().cast_signed()).fds.unwrap();
        assert!(more >= 10 + 3, "{more}");
        drop(files);
        assert_eq!(Figures::of(i32::MAX), Figures::default());
    }

    #[test]
    fn any_name_of_a_program_is_parsed() {
        let stat = "42 (a) R (b) 1) S 1 42 42 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 11 0 1 1 1";
        assert_eq!(cpu_ms(stat, 100), Some(3000));
        assert_eq!(cpu_ms("42 (a", 100), None);
    }
}
