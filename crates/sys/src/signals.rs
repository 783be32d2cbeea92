//! Waiting for termination signals on a thread.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::error::{Doing, SysError};

/// SIGHUP, SIGINT and SIGTERM, whose default action is disabled.
#[derive(Debug)]
pub struct EndSignals(SignalFd);

impl EndSignals {
    /// Must be called before the process has other threads: only threads started later block the signals as
    /// well.
    pub fn take() -> Result<Self, SysError> {
        let doing = "waiting for signals";
        let signals: SigSet = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
        signals.thread_block().doing(doing)?;
        SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).doing(doing).map(Self)
    }

    /// Waits for one of them and returns its number.
    pub fn wait(&self) -> Result<u8, SysError> {
        loop {
            match self.0.read_signal() {
                Ok(Some(signal)) => return Ok(u8::try_from(signal.ssi_signo).unwrap_or_default()),
                Ok(None) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).doing("waiting for signals"),
            }
        }
    }
}

impl AsFd for EndSignals {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
