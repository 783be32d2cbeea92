//! Which directories are in use: each process locks its own. The lock ends with the process, however that ends.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, open};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::geteuid;

use super::{directory, leads_to};
use crate::descriptor::duplicate;

/// How the names of directories begin.
pub(super) const PREFIX: &str = "rcluster-own-";

/// How many new directories may be taken for abandoned ones, and removed, by processes that start at the same time.
const ATTEMPTS: usize = 8;

/// Creates a directory and locks it. Until it is locked, another process may take it for an abandoned one.
pub(super) fn make_locked(template: &Path) -> Result<(PathBuf, OwnedFd, Option<Flock<OwnedFd>>), Errno> {
    for _ in 0..ATTEMPTS {
        let path = nix::unistd::mkdtemp(template)?;
        let fd = match open(&path, directory(), Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => continue,
            Err(errno) => return Err(errno),
        };
        let lock = match Flock::lock(
            duplicate(&fd).map_err(|error| error.errno)?,
            FlockArg::LockExclusiveNonblock,
        ) {
            Ok(lock) => Some(lock),
            Err((_, Errno::EWOULDBLOCK)) => continue,
            // The file system has no locks, so nobody removes it.
            Err(_) => None,
        };
        if leads_to(&path, &fd) {
            return Ok((path, fd, lock));
        }
    }
    Err(Errno::EAGAIN)
}

/// Removes the directories in `place` whose processes have ended without removing them.
pub(super) fn remove_abandoned(place: &Path) {
    // This is a courtesy: what cannot be listed, opened, locked or removed stays.
    let Ok(entries) = std::fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let _ = remove_if_abandoned(&entry.path());
        }
    }
}

fn remove_if_abandoned(path: &Path) -> std::io::Result<()> {
    let fd = open(path, directory(), Mode::empty())?;
    if fstat(&fd)?.st_uid != geteuid().as_raw() {
        return Ok(());
    }
    let lock = Flock::lock(fd, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
    if leads_to(path, &lock) {
        // Links in it are not followed.
        std::fs::remove_dir_all(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::SocketDirectory;
    use super::*;

    #[test]
    fn what_killed_processes_have_left_is_removed() {
        let place = nix::unistd::mkdtemp(&std::env::temp_dir().join("rcluster-test-XXXXXX")).unwrap();
        let used = SocketDirectory::in_one_of(vec![place.clone()]).unwrap();
        let abandoned = place.join(format!("{PREFIX}abcdef"));
        std::fs::create_dir_all(abandoned.join("1")).unwrap();
        std::fs::write(abandoned.join("1/s"), "").unwrap();
        let linked = place.join(format!("{PREFIX}link"));
        let others = place.join("others");
        std::fs::create_dir(&others).unwrap();
        symlink(&others, &linked).unwrap();
        remove_abandoned(&place);
        assert!(!abandoned.exists());
        assert!(used.is_in_place(), "it is locked");
        assert!(others.exists() && linked.is_symlink(), "links are not followed");
        let path = used.path().to_owned();
        std::mem::drop(used);
        assert!(!path.exists());
        std::fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn directories_of_processes_that_start_at_the_same_time_do_not_disappear() {
        let place = nix::unistd::mkdtemp(&std::env::temp_dir().join("rcluster-test-XXXXXX")).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let made = SocketDirectory::in_one_of(vec![place.clone()]).unwrap();
                        remove_abandoned(&place);
                        assert!(made.is_in_place());
                    }
                });
            }
        });
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);
        std::fs::remove_dir(&place).unwrap();
    }
}
