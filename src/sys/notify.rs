//! What a service tells the service manager: systemd's notification protocol, `sd_notify(3)`.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

use super::error::{Doing, SysError};

/// The way to the service manager that started this process.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    manager: SocketAddr,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment describes it; `None` if nobody wants to be notified.
    pub fn from_environment() -> Result<Option<Self>, SysError> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
        Self::to(&name, watchdog()).map(Some)
    }

    /// To the socket of this name, which is an absolute path, or abstract with an `@` in front.
    pub fn to(name: &OsStr, watchdog: Option<Duration>) -> Result<Self, SysError> {
        let doing = "reading the name of a service manager's socket";
        let manager = match name.as_bytes() {
            [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name).doing(doing)?,
            [b'/', ..] => SocketAddr::from_pathname(name).doing(doing)?,
            _ => return Err(Errno::EINVAL).doing(doing),
        };
        let socket = UnixDatagram::unbound().doing("making a socket to notify the service manager")?;
        // A manager that does not read must not hold up the cluster.
        socket.set_nonblocking(true).doing("making a socket to notify the service manager")?;
        Ok(Self { socket, manager, watchdog })
    }

    /// Sends assignments such as `READY=1`, a line each.
    pub fn send(&self, state: &str) -> Result<(), SysError> {
        self.socket.send_to_addr(state.as_bytes(), &self.manager).doing("notifying the service manager")?;
        Ok(())
    }

    /// How often the manager wants to hear from us lest it takes us for dead.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }
}

fn watchdog() -> Option<Duration> {
    // The variables are inherited, and mean the process that is named.
    let named = std::env::var("WATCHDOG_PID").ok().and_then(|pid| pid.parse::<u32>().ok());
    if named.is_some_and(|pid| pid != std::process::id()) {
        return None;
    }
    let period: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (period > 0).then(|| Duration::from_micros(period))
}

/// The time that `RELOADING=1` has to come with, in microseconds.
pub fn monotonic_usec() -> Result<i64, SysError> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).doing("reading the clock")?;
    Ok(now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_it() {
        let name = format!("rcluster-notify-{}", std::process::id());
        let manager =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        let notifier = Notifier::to(OsStr::new(&format!("@{name}")), None).unwrap();
        notifier.send("READY=1\nSTATUS=well").unwrap();
        let mut text = [0; 64];
        let length = manager.recv(&mut text).unwrap();
        assert_eq!(&text[..length], b"READY=1\nSTATUS=well");
        drop(manager);
        assert!(notifier.send("STOPPING=1").is_err(), "nobody is there");
    }

    #[test]
    fn a_name_that_is_no_socket_is_an_error() {
        assert!(Notifier::to(OsStr::new("relative/path"), None).is_err());
    }
}
