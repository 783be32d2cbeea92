//! The file of a bound Unix socket, which is removed at the end.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};

use nix::fcntl::AtFlags;
use nix::libc;
use nix::sys::stat::{FileStat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// A socket's file. Removed on drop, because it would prevent the next socket from binding there.
///
/// Only the file that was created here is removed. If another service has taken over the path since, like a
/// restarted one that removes the old file first, its file stays. To tell them apart, this must be dropped
/// before the socket is closed: until then the system does not reuse the inode.
///
/// It is also removed when this process ends by exit(3) with this value in place.
#[derive(Debug)]
pub struct BoundPath(Arc<File>);

#[derive(Debug)]
struct File {
    /// The directory itself, because its path may lead elsewhere by the time it is used again.
    directory: OwnedFd,
    name: OsString,
    device: u64,
    inode: u64,
}

/// The files of all sockets that are open. A native thread that owns one does not end before the process does.
static FILES: Mutex<Vec<Weak<File>>> = Mutex::new(Vec::new());

fn files() -> MutexGuard<'static, Vec<Weak<File>>> {
    // Nothing panics while it is locked.
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the files of the sockets that are still open when this process ends by exit(3): nothing drops what native
/// threads own then. The file of a socket that nobody has open any more would keep others from its path.
fn remove_files_at_exit() {
    extern "C" fn remove() {
        for file in files().iter().filter_map(Weak::upgrade) {
            file.remove();
        }
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the function belongs to a library that stays loaded, or runs it when it is unloaded, and does not
        // unwind. If there is no memory for it, the files stay.
        let _ = unsafe { libc::atexit(remove) };
    });
}

impl BoundPath {
    /// `file` is what the name in the directory leads to now.
    pub(super) fn new(directory: OwnedFd, name: OsString, file: &FileStat) -> Self {
        remove_files_at_exit();
        let file = Arc::new(File { directory, name, device: file.st_dev, inode: file.st_ino });
        let mut files = files();
        files.retain(|file| file.strong_count() > 0);
        files.push(Arc::downgrade(&file));
        Self(file)
    }

    /// Whether the file is still there, and no other one in its place.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.0.is_in_place()
    }

    /// A handle for others who need to know whether the file is still there.
    #[must_use]
    pub fn observe(&self) -> ObservedPath {
        ObservedPath(Arc::downgrade(&self.0))
    }
}

/// A socket's file that somebody else owns.
#[derive(Clone, Debug)]
pub struct ObservedPath(Weak<File>);

impl ObservedPath {
    /// Whether the file was removed, or another one is in its place, while its socket is open.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.0.upgrade().is_some_and(|file| !file.is_in_place())
    }
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        self.0.remove();
    }
}

impl File {
    fn is_in_place(&self) -> bool {
        let found = fstatat(&self.directory, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| (found.st_dev, found.st_ino) == (self.device, self.inode))
    }

    fn remove(&self) {
        if self.is_in_place() {
            // An error cannot be reported any more, and the socket itself closes in any case.
            let _ = unlinkat(&self.directory, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}
