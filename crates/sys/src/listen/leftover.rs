//! The file of a Unix socket that no process has open any more, as one leaves behind that was killed.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::socket::{AddressFamily, SockType, UnixAddr, connect};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::new_socket;
use super::path::is_own_socket;
use crate::error::{Doing, SysError};

/// What happens to a leftover file at the path to bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// It stays, and binding fails with `EADDRINUSE`, as everywhere in Node.
    Keep,
    /// It is removed.
    Remove,
}

/// How many files have been moved aside, for names that are unique in this process.
static MOVED: AtomicU32 = AtomicU32::new(0);

/// Removes the file if it is a socket of our user on which no process listens. Returns whether its name is free.
pub(super) fn remove(directory: &OwnedFd, name: &OsStr) -> Result<bool, SysError> {
    if is_leftover(directory, name) { remove_found(directory, name) } else { Ok(false) }
}

/// Removes a file that was found to be leftover, unless another process has put its own there meanwhile.
///
/// # Design
/// Two processes may find the same file at the same time, and the first one to remove it binds its own there. So the
/// file is renamed, and looked at again where nobody replaces it.
fn remove_found(directory: &OwnedFd, name: &OsStr) -> Result<bool, SysError> {
    let aside = aside(name);
    let moved = renameat(directory, name, directory, aside.as_os_str());
    if moved == Err(Errno::ENOENT) {
        // The other process has removed it.
        return Ok(true);
    }
    let doing = "removing a socket that was left behind";
    moved.doing(doing)?;
    let remove = || unlinkat(directory, aside.as_os_str(), UnlinkatFlags::NoRemoveDir).doing(doing);
    if is_leftover(directory, &aside) {
        return remove().map(|()| true);
    }
    // Unlike a rename, this replaces nothing.
    let back = linkat(directory, aside.as_os_str(), directory, name, AtFlags::empty());
    back.doing("putting a socket back that is in use")?;
    remove().map(|()| false)
}

fn aside(name: &OsStr) -> OsString {
    let mut aside = name.to_owned();
    aside.push(format!(".{}.{}", std::process::id(), MOVED.fetch_add(1, Ordering::Relaxed)));
    aside
}

/// Whether a file is a socket of our user on which no process listens. A socket that is bound and does not listen
/// yet looks the same.
fn is_leftover(directory: &OwnedFd, name: &OsStr) -> bool {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let Ok(file) = openat(directory, name, flags, Mode::empty()) else { return false };
    fstat(&file).is_ok_and(|it| is_own_socket(&it)) && probe(&file) == Err(Errno::ECONNREFUSED)
}

/// Connects to exactly this file, wherever its path leads by now. Does not wait.
fn probe(file: &impl AsFd) -> nix::Result<()> {
    let socket = new_socket(AddressFamily::Unix, SockType::Stream)?;
    let link = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    connect(socket.as_raw_fd(), &UnixAddr::new(link.as_str())?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;

    use nix::fcntl::open;

    use super::*;

    struct Folder(PathBuf, OwnedFd);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("rcluster-leftover-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            let directory = open(&path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
            Self(path, directory)
        }

        fn remove(&self, name: &str) -> bool {
            remove(&self.1, OsStr::new(name)).unwrap()
        }

        fn count(&self) -> usize {
            fs::read_dir(&self.0).unwrap().count()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn only_a_socket_that_nobody_listens_on_is_removed() {
        let folder = Folder::new("kinds");
        drop(UnixListener::bind(folder.0.join("left")).unwrap());
        assert!(folder.remove("left"));
        let _listener = UnixListener::bind(folder.0.join("in use")).unwrap();
        fs::write(folder.0.join("file"), "precious").unwrap();
        std::os::unix::fs::symlink("in use", folder.0.join("link")).unwrap();
        for name in ["in use", "file", "link", "absent"] {
            assert!(!folder.remove(name), "{name}");
        }
        assert_eq!(folder.count(), 3);
    }

    /// What happens between another process's look at a leftover socket and its removal.
    #[test]
    fn a_socket_that_has_replaced_a_leftover_one_stays() {
        let folder = Folder::new("replaced");
        let path = folder.0.join("a.sock");
        let name = OsStr::new("a.sock");
        let listener = UnixListener::bind(&path).unwrap();
        assert!(!remove_found(&folder.1, name).unwrap());
        UnixStream::connect(&path).expect("its clients reach it");
        assert_eq!(folder.count(), 1, "nothing else is left there");
        drop(listener);
        assert!(remove_found(&folder.1, name).unwrap());
        assert_eq!(folder.count(), 0);
        assert!(remove_found(&folder.1, name).unwrap(), "another process has removed it");
    }
}
