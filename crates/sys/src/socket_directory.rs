//! A directory for the Unix sockets of workers.
//!
//! Nothing that a worker can change is accessed by its path: its directory and the files in it are opened
//! without following links, and are used through those descriptors.

mod lock;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, geteuid, unlinkat};

use super::error::{Doing, SysError};
use super::headroom::Unpolled;
use super::stream::{Endpoint, Unanswered};

/// The maximum length of a Unix socket's path, without the NUL at the end.
const LONGEST_UNIX_PATH: usize = 107;

/// The room reserved after the path of a [`SocketDirectory`] for a directory and a socket: two numbers and a
/// few letters.
const LONGEST_NAMES: usize = 26;

/// The user and group of a process, if they differ from those of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user id.
    pub uid: Option<u32>,
    /// The group id.
    pub gid: Option<u32>,
}

impl Owner {
    /// Whether a socket of this user may be the owner's. Root and this process's own user could do anything
    /// to the owner, so they are accepted.
    #[must_use]
    pub fn may_be(self, uid: u32) -> bool {
        uid == 0 || uid == geteuid().as_raw() || Some(uid) == self.uid
    }

    /// Whether the owner is not this process's user.
    fn is_another(self) -> bool {
        self.uid.is_some_and(|uid| uid != geteuid().as_raw())
    }
}

/// A directory of this process for the directories of workers. Removed on drop, with its content.
#[derive(Debug)]
pub struct SocketDirectory {
    path: PathBuf,
    fd: Arc<OwnedFd>,
    /// Tells other processes that it is in use. None where the file system has no locks.
    _lock: Option<Flock<OwnedFd>>,
    /// Where it may be, in this order.
    places: Vec<PathBuf>,
}

impl SocketDirectory {
    /// Creates one in the directory for temporary files or, if that path is too long for a socket's name or
    /// is not writable, in `$XDG_RUNTIME_DIR`, `/dev/shm` or `/tmp`. The error is that of the first attempt.
    ///
    /// Removes those that killed processes of the same user have left there.
    ///
    /// Must be called by the thread of JavaScript, which alone changes the environment.
    pub fn new() -> Result<Self, SysError> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let places = [Some(std::env::temp_dir()), runtime, Some("/dev/shm".into()), Some("/tmp".into())];
        let made = Self::in_one_of(places.into_iter().flatten().collect())?;
        if let Some(place) = made.path.parent() {
            lock::remove_abandoned(place);
        }
        Ok(made)
    }

    /// Creates another one in one of the same places.
    pub fn another(&self) -> Result<Self, SysError> {
        Self::in_one_of(self.places.clone())
    }

    fn in_one_of(places: Vec<PathBuf>) -> Result<Self, SysError> {
        let mut first = None;
        for place in &places {
            let template = place.join(format!("{}XXXXXX", lock::PREFIX));
            let length = template.as_os_str().len() + 1 + LONGEST_NAMES;
            let made = if length > LONGEST_UNIX_PATH {
                Err(Errno::ENAMETOOLONG)
            } else {
                lock::make_locked(&template)
            };
            match made {
                Ok((path, fd, lock)) => return Ok(Self { path, fd: Arc::new(fd), _lock: lock, places }),
                Err(errno) => first = first.or(Some(errno)),
            }
        }
        Err(first.unwrap_or(Errno::ENOENT)).doing("making a directory for the workers' sockets")
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its path still leads to it. Programs that clean up temporary files may have removed it.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        leads_to(&self.path, &self.fd)
    }

    /// Creates a directory in it that only its owner and root can enter.
    pub fn make(&self, name: &str, owner: Owner) -> Result<WorkerDirectory, SysError> {
        let doing = "making a directory for a worker's sockets";
        mkdirat(&self.fd, name, Mode::S_IRWXU).doing(doing)?;
        let fd = openat(&self.fd, name, directory(), Mode::empty()).doing(doing)?;
        let made = WorkerDirectory {
            path: self.path.join(name),
            fd,
            parent: Arc::clone(&self.fd),
            name: name.to_owned(),
            owner,
        };
        if owner != Owner::default() {
            fchown(&made.fd, owner.uid.map(Uid::from_raw), owner.gid.map(Gid::from_raw)).doing(doing)?;
        }
        if owner.is_another() {
            // Other users can pass through but not list it.
            let passable = Mode::S_IRWXU | Mode::S_IXGRP | Mode::S_IXOTH;
            fchmod(&self.fd, passable).doing(doing)?;
        }
        Ok(made)
    }

    /// Removes it, if it is still in place.
    pub fn remove(&self) {
        if self.is_in_place() {
            // Links in it are not followed. An error cannot be reported any more.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

impl Drop for SocketDirectory {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The directory of one worker, in which the worker may do anything. Removed on drop, if it is empty by then.
#[derive(Debug)]
pub struct WorkerDirectory {
    path: PathBuf,
    fd: OwnedFd,
    parent: Arc<OwnedFd>,
    name: String,
    owner: Owner,
}

impl WorkerDirectory {
    /// The path of a file in it, for the worker.
    #[must_use]
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The file of a socket that the worker has created. `ENOENT` if there is none, `ELOOP` for a link,
    /// `ENOTSOCK` for any other file, `EPERM` for another user's socket.
    fn socket(&self, name: &str) -> Result<Unpolled, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = Unpolled::from(openat(&self.fd, name, flags, Mode::empty())?);
        let found = fstat(&file)?;
        let kind = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT;
        if kind == SFlag::S_IFLNK {
            return Err(Errno::ELOOP);
        }
        if kind != SFlag::S_IFSOCK {
            return Err(Errno::ENOTSOCK);
        }
        // In a directory of our own user, no other user can have created it.
        if self.owner.is_another() && Some(found.st_uid) != self.owner.uid {
            return Err(Errno::EPERM);
        }
        Ok(file)
    }

    /// The endpoint of a socket that the worker has created.
    pub fn endpoint(&self, name: &str) -> Result<Endpoint, Unanswered> {
        self.socket(name).map(Endpoint::File).map_err(Unanswered::from)
    }

    /// Removes a file from it, if there is one.
    pub fn remove(&self, name: &str) {
        // The worker may have removed it, or may have put something else there.
        let _ = unlinkat(self.fd.as_fd(), name, UnlinkatFlags::NoRemoveDir);
    }
}

impl Drop for WorkerDirectory {
    fn drop(&mut self) {
        // What the worker has left in it is removed with the parent directory.
        let _ = unlinkat(self.parent.as_fd(), self.name.as_str(), UnlinkatFlags::RemoveDir);
    }
}

/// Whether a path leads to this open directory.
fn leads_to(path: &Path, fd: &OwnedFd) -> bool {
    let there = fstatat(AT_FDCWD, path, AtFlags::AT_SYMLINK_NOFOLLOW);
    matches!((there, fstat(fd)), (Ok(there), Ok(open)) if is_same(&there, &open))
}

fn directory() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

fn is_same(one: &FileStat, other: &FileStat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::stream::{Connecting, begin};

    /// The user `nobody`.
    const OTHER: Owner = Owner { uid: Some(65_534), gid: Some(65_534) };

    #[test]
    fn an_unsuitable_place_for_sockets_is_skipped() {
        let long = PathBuf::from("/tmp").join("d".repeat(80));
        let missing = PathBuf::from("/nowhere/at/all");
        let made = SocketDirectory::in_one_of(vec![long.clone(), missing.clone(), "/tmp".into()]).unwrap();
        assert_eq!(made.path().parent(), Some(Path::new("/tmp")));
        for (places, errno) in
            [([long.clone(), missing.clone()], Errno::ENAMETOOLONG), ([missing, long], Errno::ENOENT)]
        {
            assert_eq!(SocketDirectory::in_one_of(places.to_vec()).unwrap_err().errno, errno);
        }
    }

    #[test]
    fn only_sockets_are_connected_to_and_no_link_is_followed() {
        let all = SocketDirectory::new().unwrap();
        let own = all.make("1", Owner::default()).unwrap();
        let elsewhere = all.make("2", Owner::default()).unwrap();
        let _other = UnixListener::bind(elsewhere.path_of("s")).unwrap();
        assert_eq!(own.socket("s").unwrap_err(), Errno::ENOENT);
        symlink(elsewhere.path_of("s"), own.path_of("s")).unwrap();
        assert_eq!(own.socket("s").unwrap_err(), Errno::ELOOP);
        own.remove("s");
        std::fs::write(own.path_of("s"), "").unwrap();
        assert_eq!(own.socket("s").unwrap_err(), Errno::ENOTSOCK);
        own.remove("s");
        let listener = UnixListener::bind(own.path_of("s")).unwrap();
        let endpoint = own.endpoint("s").unwrap();
        // The file that was opened counts, even if its name is removed.
        own.remove("s");
        assert!(matches!(begin(&endpoint), Ok(Connecting::Done(_))));
        drop(listener);
        assert_eq!(begin(&endpoint).unwrap_err(), Unanswered::Absent);
    }

    #[test]
    fn a_removed_directory_is_detected_and_its_replacement_is_left_alone() {
        let all = SocketDirectory::new().unwrap();
        assert!(all.is_in_place());
        let path = all.path().to_owned();
        drop(all.make("1", Owner::default()).unwrap());
        std::fs::remove_dir(&path).unwrap();
        assert!(!all.is_in_place());
        assert_eq!(all.make("2", Owner::default()).unwrap_err().errno, Errno::ENOENT);
        std::fs::create_dir(&path).unwrap();
        assert!(!all.is_in_place());
        drop(all);
        std::fs::remove_dir(&path).unwrap();
    }

    #[test]
    fn a_worker_of_another_user_has_a_directory_of_its_own() {
        if !geteuid().is_root() {
            return;
        }
        let all = SocketDirectory::new().unwrap();
        let mode = || std::fs::metadata(all.path()).unwrap().permissions().mode() & 0o777;
        let ours = all.make("1", Owner::default()).unwrap();
        assert_eq!(mode(), 0o700);
        let theirs = all.make("2", OTHER).unwrap();
        assert_eq!(mode(), 0o711);
        let found = std::fs::metadata(theirs.path_of("")).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (65_534, 65_534, 0o700));
        // Another user's socket that the worker has hard-linked there is not accepted.
        let _listener = UnixListener::bind(ours.path_of("s")).unwrap();
        std::fs::hard_link(ours.path_of("s"), theirs.path_of("s")).unwrap();
        assert_eq!(theirs.socket("s").unwrap_err(), Errno::EPERM);
    }

    #[test]
    fn nothing_is_left_behind() {
        let all = SocketDirectory::new().unwrap();
        let path = all.path().to_owned();
        let own = all.make("1", Owner::default()).unwrap();
        std::fs::write(own.path_of("left"), "").unwrap();
        drop(own);
        assert!(path.join("1/left").exists(), "a worker's own files are not looked for");
        drop(all);
        assert!(!path.exists());
    }

    #[test]
    fn the_allowed_owners() {
        let us = geteuid().as_raw();
        assert!(Owner::default().may_be(0) && Owner::default().may_be(us));
        assert!(!Owner::default().may_be(54_321));
        assert!(Owner { uid: Some(54_321), gid: None }.may_be(54_321));
    }
}
