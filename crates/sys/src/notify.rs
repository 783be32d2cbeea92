//! Notifications to the service manager: systemd's protocol, `sd_notify(3)`.

use std::ffi::OsStr;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use nix::time::{ClockId, clock_gettime};

use super::error::{Doing, SysError};

/// The connection to the service manager that started this process.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    manager: SocketAddr,
    /// The manager's address again, for messages with a descriptor.
    address: UnixAddr,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Sends to the socket with this name: an absolute path, or an abstract name with a leading `@`.
    pub fn to(name: &OsStr, watchdog: Option<Duration>) -> Result<Self, SysError> {
        let doing = "reading the name of a service manager's socket";
        let (manager, address) = match name.as_bytes() {
            [b'@', abstract_name @ ..] if !abstract_name.is_empty() => (
                SocketAddr::from_abstract_name(abstract_name).doing(doing)?,
                UnixAddr::new_abstract(abstract_name).doing(doing)?,
            ),
            [b'/', ..] => (SocketAddr::from_pathname(name).doing(doing)?, UnixAddr::new(name).doing(doing)?),
            _ => return Err(Errno::EINVAL).doing(doing),
        };
        let socket = UnixDatagram::unbound().doing("making a socket to notify the service manager")?;
        // A manager that does not read must not block the cluster.
        socket.set_nonblocking(true).doing("making a socket to notify the service manager")?;
        Ok(Self { socket, manager, address, watchdog })
    }

    /// Sends assignments such as `READY=1`, one per line.
    pub fn send(&self, state: &str) -> Result<(), SysError> {
        self.socket.send_to_addr(state.as_bytes(), &self.manager).doing("notifying the service manager")?;
        Ok(())
    }

    /// Sends assignments and a descriptor. The manager gets a duplicate.
    pub fn send_with(&self, state: &str, fd: impl AsFd) -> Result<(), SysError> {
        let numbers = [fd.as_fd().as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&numbers)];
        let text = [IoSlice::new(state.as_bytes())];
        let flags = MsgFlags::MSG_NOSIGNAL;
        sendmsg(self.socket.as_raw_fd(), &text, &rights, flags, Some(&self.address))
            .doing("passing a descriptor to the service manager")?;
        Ok(())
    }

    /// The period of the manager's watchdog: without a message in that time, it considers the service dead.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }
}

/// The timestamp that `RELOADING=1` must include, in microseconds.
pub fn monotonic_usec() -> Result<i64, SysError> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).doing("reading the clock")?;
    Ok(now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_receives_notifications() {
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
    fn a_name_without_a_socket_is_an_error() {
        let long = "/".repeat(108);
        for name in ["", "@", "relative/path", "vsock:2:1234", "/a\0b", &long] {
            assert!(Notifier::to(OsStr::new(name), None).is_err(), "{name}");
        }
    }
}
