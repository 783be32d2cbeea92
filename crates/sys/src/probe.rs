//! Tests which of the features that rcluster needs this system provides. Leaves nothing behind.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use nix::sys::inotify::{InitFlags, Inotify};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access};

use super::error::{Doing, SysError};
use super::passing::{Received, Sent, message_pair, receive, send};

/// A feature that the kernel may have.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    /// Its name in the manuals.
    pub name: &'static str,
    /// The first version of Linux with it.
    pub since: &'static str,
    /// Whether nothing works without it.
    pub is_needed: bool,
    /// The consequence of its absence.
    pub without: &'static str,
    probe: fn() -> Result<(), SysError>,
}

/// All features that a kernel, or a sandbox around this process, may refuse.
pub const FEATURES: &[Feature] = &[
    Feature {
        name: "pidfd",
        since: "5.4",
        is_needed: true,
        without: "workers cannot be waited for",
        probe: pidfd,
    },
    Feature {
        name: "memfd with seals",
        since: "3.17",
        is_needed: true,
        without: "no memory can be shared with workers",
        probe: sealed_memory,
    },
    Feature {
        name: "epoll",
        since: "2.6.27",
        is_needed: true,
        without: "nothing can be accepted",
        probe: epoll,
    },
    Feature {
        name: "SCM_RIGHTS",
        since: "2.2",
        is_needed: true,
        without: "connections cannot be passed to workers",
        probe: passing,
    },
    Feature {
        name: "SO_REUSEPORT",
        since: "3.9",
        is_needed: false,
        without: "the policy \"kernel\" cannot be used",
        probe: reuse_port,
    },
    Feature {
        name: "close_range",
        since: "5.11",
        is_needed: false,
        without: "a start of a worker closes descriptors one by one",
        probe: close_range,
    },
    Feature {
        name: "inotify",
        since: "2.6.27",
        is_needed: false,
        without: "--watch sees no changes; raise fs.inotify.max_user_instances if it is exhausted",
        probe: inotify,
    },
];

impl Feature {
    /// Tries to use it.
    pub fn probe(&self) -> Result<(), SysError> {
        (self.probe)()
    }
}

fn pidfd() -> Result<(), SysError> {
    let doing = "opening a pidfd";
    // SAFETY: the call uses two numbers, and creates a descriptor without another owner.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0) };
    let number = Errno::result(fd).doing(doing)?;
    let number = i32::try_from(number).map_err(|_| Errno::EINVAL).doing(doing)?;
    // SAFETY: it was just created, and is owned from here on.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
    Ok(())
}

fn sealed_memory() -> Result<(), SysError> {
    let doing = "making sealed memory";
    let fd = nix::sys::memfd::memfd_create(
        c"rcluster-probe",
        nix::sys::memfd::MFdFlags::MFD_CLOEXEC | nix::sys::memfd::MFdFlags::MFD_ALLOW_SEALING,
    )
    .doing(doing)?;
    let seals = nix::fcntl::SealFlag::F_SEAL_SHRINK | nix::fcntl::SealFlag::F_SEAL_GROW;
    nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_ADD_SEALS(seals)).doing(doing)?;
    Ok(())
}

fn epoll() -> Result<(), SysError> {
    Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).doing("making an epoll set").map(drop)
}

fn passing() -> Result<(), SysError> {
    let doing = "passing a descriptor";
    let (from, to) = message_pair()?;
    let (one, _other) = message_pair()?;
    match send(from.as_fd(), b"x", &[one])? {
        Sent::Done => {}
        // Another process of this user does not receive its messages.
        Sent::TooManyOnTheirWay => return Err(Errno::ETOOMANYREFS).doing(doing),
        Sent::Full => return Err(Errno::EAGAIN).doing(doing),
    }
    let mut fds = Vec::new();
    match receive(to.as_fd(), &mut [0; 1], &mut fds)? {
        Received::Message { .. } if fds.len() == 1 => Ok(()),
        _ => Err(Errno::EMFILE).doing(doing),
    }
}

fn reuse_port() -> Result<(), SysError> {
    let doing = "sharing a port";
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).doing(doing)?;
    setsockopt(&fd, sockopt::ReusePort, &true).doing(doing)
}

fn close_range() -> Result<(), SysError> {
    // A range of numbers higher than any open descriptor.
    let (first, last) = (u32::MAX - 1, u32::MAX);
    // SAFETY: the call uses numbers that are not open descriptors, and changes nothing else.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
    Errno::result(done).doing("marking a range of descriptors").map(drop)
}

fn inotify() -> Result<(), SysError> {
    Inotify::init(InitFlags::IN_CLOEXEC).doing("watching files").map(drop)
}

/// The soft and hard limit of open descriptors. Node raises the soft limit to the hard one.
#[must_use]
pub fn open_files() -> (u64, u64) {
    // It cannot fail for a resource that exists.
    getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((u64::MAX, u64::MAX))
}

/// Whether this process may create files in a directory.
#[must_use]
pub fn can_write_to(directory: &Path) -> bool {
    let may = access(directory, AccessFlags::W_OK | AccessFlags::X_OK).is_ok();
    may && statvfs(directory).is_ok_and(|facts| !facts.flags().contains(FsFlags::ST_RDONLY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_system_has_all_features_and_no_descriptor_is_left_open() {
        for feature in FEATURES {
            assert_eq!(feature.probe(), Ok(()), "{}", feature.name);
        }
        let (soft, hard) = open_files();
        assert!(soft <= hard && soft > 2);
    }

    #[test]
    fn a_directory_that_is_missing_cannot_be_written_to() {
        assert!(can_write_to(&std::env::temp_dir()));
        assert!(!can_write_to(Path::new("/proc/self")) && !can_write_to(Path::new("/nowhere")));
    }
}
