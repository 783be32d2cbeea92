//! Changes of files in folders, recursively (inotify).
//!
//! # Design
//! The kernel watches folders one by one, and does not report what happens in a new folder before it is
//! watched. So a new folder is scanned once it is watched, and everything in it counts as changed. A file
//! that is being written is reported when it is closed. Links are not followed: a folder could be watched
//! twice, or endlessly.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{read_dir, symlink_metadata};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags as Mask, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use super::descriptor::duplicate;
use super::error::{Doing, SysError};

/// The maximum number of folders watched: each takes kernel memory.
pub const MAX_FOLDERS: usize = 8192;

/// The maximum number of reads in one call, each with a buffer of 4 KB.
const READS: usize = 64;

const CHANGES: Mask = Mask::IN_CLOSE_WRITE
    .union(Mask::IN_CREATE)
    .union(Mask::IN_MOVED_TO)
    .union(Mask::IN_MOVED_FROM)
    .union(Mask::IN_DELETE)
    .union(Mask::IN_ONLYDIR)
    .union(Mask::IN_DONT_FOLLOW);

/// Selects files and folders by name.
pub type Counts = fn(name: &OsStr, is_folder: bool) -> bool;

/// See the module documentation.
#[derive(Debug)]
pub struct TreeWatch {
    inotify: Inotify,
    counts: Counts,
    folders: HashMap<WatchDescriptor, PathBuf>,
}

impl TreeWatch {
    /// Watches folders. `ENOENT` or `ENOTDIR` if one is missing or not a folder, `ENOSPC` if there are more
    /// than the system allows for this user or than [`MAX_FOLDERS`].
    pub fn new(roots: &[PathBuf], counts: Counts) -> Result<Self, SysError> {
        let flags = InitFlags::IN_CLOEXEC.union(InitFlags::IN_NONBLOCK);
        let inotify = Inotify::init(flags).map_err(failed)?;
        let mut watch = Self { inotify, counts, folders: HashMap::new() };
        for root in roots {
            watch.watch(root).map_err(failed)?;
            watch.descend(root, &mut None)?;
        }
        Ok(watch)
    }

    /// A duplicate of the descriptor, readable when there may be changes.
    pub fn watched(&self) -> Result<OwnedFd, SysError> {
        duplicate(&self.inotify.as_fd())
    }

    /// Reads the pending events. Returns the first file that has changed, if any.
    pub fn changed(&mut self) -> Result<Option<PathBuf>, SysError> {
        let mut first = None;
        for _ in 0..READS {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                Err(errno) => return Err(errno).doing("watching folders"),
            };
            for event in &events {
                self.on_event(event, &mut first)?;
            }
        }
        Ok(first)
    }

    fn on_event(&mut self, event: &InotifyEvent, first: &mut Option<PathBuf>) -> Result<(), SysError> {
        if event.mask.contains(Mask::IN_Q_OVERFLOW) {
            // Events were lost, so all folders are scanned.
            let known: Vec<PathBuf> = self.folders.values().cloned().collect();
            for folder in known {
                self.descend(&folder, first)?;
            }
            return Ok(());
        }
        if event.mask.contains(Mask::IN_IGNORED) {
            self.folders.remove(&event.wd);
            return Ok(());
        }
        let (Some(folder), Some(name)) = (self.folders.get(&event.wd), &event.name) else { return Ok(()) };
        let (path, is_folder) = (folder.join(name), event.mask.contains(Mask::IN_ISDIR));
        if !(self.counts)(name, is_folder) {
            return Ok(());
        }
        if is_folder {
            if event.mask.intersects(Mask::IN_CREATE | Mask::IN_MOVED_TO) {
                self.enter(&path, first)?;
            } else if event.mask.contains(Mask::IN_MOVED_FROM) {
                self.forget(&path);
                first.get_or_insert(path);
            }
            return Ok(());
        }
        // A file that was just created is written next, and then closed; a link is complete at once.
        let is_begun =
            event.mask.contains(Mask::IN_CREATE) && symlink_metadata(&path).is_ok_and(|it| it.is_file());
        if !is_begun {
            first.get_or_insert(path);
        }
        Ok(())
    }

    /// A folder has been created. It may have been removed again.
    fn enter(&mut self, folder: &Path, first: &mut Option<PathBuf>) -> Result<(), SysError> {
        match self.watch(folder) {
            Ok(()) => self.descend(folder, first),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// A folder has been moved away, with its content.
    fn forget(&mut self, folder: &Path) {
        let gone: Vec<WatchDescriptor> =
            self.folders.iter().filter(|(_, path)| path.starts_with(folder)).map(|(wd, _)| *wd).collect();
        for wd in gone {
            self.folders.remove(&wd);
            // The watch has ended by itself if the folder was removed meanwhile.
            let _ended = self.inotify.rm_watch(wd);
        }
    }

    fn watch(&mut self, folder: &Path) -> Result<(), Errno> {
        if self.folders.len() >= MAX_FOLDERS {
            return Err(Errno::ENOSPC);
        }
        let wd = self.inotify.add_watch(folder, CHANGES)?;
        self.folders.insert(wd, folder.to_owned());
        Ok(())
    }

    /// Watches the content of a watched folder; the first file in it is stored in `first`.
    fn descend(&mut self, folder: &Path, first: &mut Option<PathBuf>) -> Result<(), SysError> {
        let mut left = vec![folder.to_owned()];
        while let Some(folder) = left.pop() {
            // It may have been removed, or be unreadable: then it contains no code.
            let Ok(entries) = read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let Ok(kind) = entry.file_type() else { continue };
                if !(self.counts)(&entry.file_name(), kind.is_dir()) {
                    continue;
                }
                let path = entry.path();
                if !kind.is_dir() {
                    first.get_or_insert(path);
                    continue;
                }
                match self.watch(&path) {
                    Ok(()) => left.push(path),
                    Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => {}
                    Err(errno) => return Err(failed(errno)),
                }
            }
        }
        Ok(())
    }
}

/// The error of a folder that cannot be watched. "No space left on device" would not say which space.
fn failed(errno: Errno) -> SysError {
    let doing = match errno {
        Errno::ENOSPC => {
            "watching a folder: there are more than 8192, or than fs.inotify.max_user_watches allows"
        }
        Errno::EMFILE => "watching folders: too many, see fs.inotify.max_user_instances",
        _ => "watching a folder",
    };
    SysError { doing, errno }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::passing::wait_for_message;

    /// A folder that is removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("rcluster-tree-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("lib/deep")).unwrap();
            fs::create_dir_all(path.join("ignored/deep")).unwrap();
            Self(path)
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn watch(&self) -> TreeWatch {
            let counts: Counts = |name, is_folder| {
                if is_folder {
                    name != "ignored"
                } else {
                    Path::new(name).extension().is_some_and(|it| it == "js")
                }
            };
            TreeWatch::new(std::slice::from_ref(&self.0), counts).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Waits for the next change.
    fn told(watch: &mut TreeWatch) -> PathBuf {
        let fd = watch.watched().unwrap();
        loop {
            if let Some(path) = watch.changed().unwrap() {
                while watch.changed().unwrap().is_some() {}
                return path;
            }
            assert!(wait_for_message(fd.as_fd(), Duration::from_secs(30)).unwrap(), "it is told");
        }
    }

    #[test]
    fn files_in_all_folders_are_reported_when_they_are_complete() {
        let folder = Folder::new("files");
        let mut watch = folder.watch();
        fs::write(folder.at("lib/deep/a.js"), "x").unwrap();
        assert_eq!(told(&mut watch), folder.at("lib/deep/a.js"));
        fs::rename(folder.at("lib/deep/a.js"), folder.at("b.js")).unwrap();
        told(&mut watch);
        fs::remove_file(folder.at("b.js")).unwrap();
        assert_eq!(told(&mut watch), folder.at("b.js"));
        let file = fs::File::create(folder.at("c.js")).unwrap();
        assert_eq!(watch.changed().unwrap(), None, "it is being written");
        drop(file);
        assert_eq!(told(&mut watch), folder.at("c.js"));
    }

    #[test]
    fn excluded_files_are_not_reported() {
        let folder = Folder::new("ignored");
        let mut watch = folder.watch();
        assert_eq!(watch.folders.len(), 3);
        for name in ["ignored/a.js", "ignored/deep/b.js", "a.log", "lib/deep/b.tmp"] {
            fs::write(folder.at(name), "x").unwrap();
        }
        assert_eq!(watch.changed().unwrap(), None);
    }

    #[test]
    fn new_moved_and_removed_folders_are_tracked() {
        let folder = Folder::new("folders");
        let mut watch = folder.watch();
        fs::create_dir_all(folder.at("new/er/est")).unwrap();
        fs::write(folder.at("new/er/est/a.js"), "x").unwrap();
        assert_eq!(told(&mut watch), folder.at("new/er/est/a.js"), "also if it was there before the watch");
        fs::write(folder.at("new/er/est/a.js"), "y").unwrap();
        told(&mut watch);
        fs::rename(folder.at("new"), folder.at("other")).unwrap();
        told(&mut watch);
        fs::write(folder.at("other/er/est/a.js"), "z").unwrap();
        assert_eq!(told(&mut watch), folder.at("other/er/est/a.js"));
        fs::remove_dir_all(folder.at("other")).unwrap();
        told(&mut watch);
        assert_eq!(watch.folders.len(), 3);
        assert!(TreeWatch::new(&[folder.at("missing")], |_, _| true).is_err());
    }
}
