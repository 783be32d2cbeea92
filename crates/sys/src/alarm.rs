//! A timer as a descriptor, for what watches descriptors.

use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::error::{Doing, SysError};

/// A descriptor that becomes readable once, after this time.
pub fn alarm(after: Duration) -> Result<OwnedFd, SysError> {
    let doing = "setting a timer";
    let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).doing(doing)?;
    let once = Expiration::OneShot(TimeSpec::from_duration(after));
    timer.set(once, TimerSetTimeFlags::empty()).doing(doing)?;
    Ok(timer.into())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    #[test]
    fn it_becomes_readable() {
        let timer = alarm(Duration::from_millis(1)).unwrap();
        let mut polled = [PollFd::new(timer.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut polled, PollTimeout::from(30_000_u16)).unwrap(), 1);
        let never = alarm(Duration::from_secs(3600)).unwrap();
        let mut polled = [PollFd::new(never.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut polled, PollTimeout::ZERO).unwrap(), 0);
    }
}
