//! Changes of one file, whatever its path leads through (inotify).
//!
//! # Design
//! A watch on the file itself is lost when an editor renames another file over it, and reports nothing while
//! the file does not exist. So each directory and each symbolic link on the path is watched as well: every
//! directory for being moved or removed, and for changes of names only if it contains a link, the file itself
//! or the first missing component. That detects a file whose directory is created later, and follows a
//! Kubernetes `ConfigMap`, whose `..data` is a link that is replaced.
//!
//! A file that is being written is reported when it is closed.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::fs::{Metadata, read_link, symlink_metadata};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags as Mask, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use super::descriptor::duplicate;
use super::error::{Doing, SysError};

/// The maximum number of symbolic links in a path, as in the kernel.
const MAX_LINKS: usize = 40;

/// How often the path is resolved again because it has changed while its watches were created.
const TRIES: usize = 16;

/// The maximum number of reads in one call, each with a buffer of 4 KB.
const READS: usize = 16;

const SELF: Mask = Mask::IN_MOVE_SELF.union(Mask::IN_DELETE_SELF);
const NAMES: Mask =
    Mask::IN_CREATE.union(Mask::IN_MOVED_TO).union(Mask::IN_MOVED_FROM).union(Mask::IN_DELETE);
const CONTENT: Mask = Mask::IN_CLOSE_WRITE.union(Mask::IN_ATTRIB);

/// What must be watched at one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    /// The events on names in it, if it is a directory.
    mask: u32,
    names: HashSet<OsString>,
}

impl Wanted {
    fn add(&mut self, mask: Mask, name: Option<&OsString>) {
        self.mask |= mask.bits();
        self.names.extend(name.cloned());
    }
}

type Way = BTreeMap<PathBuf, Wanted>;

/// See the module documentation.
#[derive(Debug)]
pub struct FileWatch {
    inotify: Inotify,
    path: PathBuf,
    watched: HashMap<WatchDescriptor, Place>,
}

#[derive(Debug)]
struct Place {
    path: PathBuf,
    names: HashSet<OsString>,
}

impl FileWatch {
    /// Watches an absolute path, which need not exist.
    pub fn new(path: &Path) -> Result<Self, SysError> {
        let flags = InitFlags::IN_CLOEXEC.union(InitFlags::IN_NONBLOCK);
        let inotify = Inotify::init(flags).doing("watching a file")?;
        let mut watch = Self { inotify, path: path.to_owned(), watched: HashMap::new() };
        watch.follow()?;
        Ok(watch)
    }

    /// A duplicate of the descriptor, readable when there may be changes.
    pub fn watched(&self) -> Result<OwnedFd, SysError> {
        duplicate(&self.inotify.as_fd())
    }

    /// Reads the pending events. Returns true if the file may have changed.
    pub fn changed(&mut self) -> Result<bool, SysError> {
        let (mut changed, mut moved) = (false, false);
        for _ in 0..READS {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                Err(errno) => return Err(errno).doing("watching a file"),
            };
            for event in &events {
                moved |= self.is_on_the_way(event);
                changed |= self.is_change(event);
            }
        }
        if moved {
            self.follow()?;
        }
        Ok(changed)
    }

    /// Whether the path may lead elsewhere now.
    fn is_on_the_way(&self, event: &InotifyEvent) -> bool {
        let gone = SELF | Mask::IN_UNMOUNT | Mask::IN_IGNORED;
        if event.mask.contains(Mask::IN_Q_OVERFLOW) {
            return true;
        }
        let Some(place) = self.watched.get(&event.wd) else { return false };
        match &event.name {
            None => event.mask.intersects(gone),
            Some(name) => event.mask.intersects(NAMES) && place.names.contains(name),
        }
    }

    /// Whether the file may have been replaced, or its content changed.
    fn is_change(&self, event: &InotifyEvent) -> bool {
        if event.mask.contains(Mask::IN_Q_OVERFLOW) {
            return true;
        }
        let Some(place) = self.watched.get(&event.wd) else { return false };
        let Some(name) = &event.name else { return true };
        if !place.names.contains(name) {
            return false;
        }
        // A file that was just created is written next, and then closed.
        let is_begun = |facts: Metadata| facts.is_file() && facts.nlink() == 1;
        !(event.mask.contains(Mask::IN_CREATE) && symlink_metadata(place.path.join(name)).is_ok_and(is_begun))
    }

    /// Watches everything that the path leads through now.
    fn follow(&mut self) -> Result<(), SysError> {
        let mut way = way_to(&self.path);
        for _ in 0..TRIES {
            let mut watched = HashMap::with_capacity(way.len());
            for (path, Wanted { mask, names }) in &way {
                match self.inotify.add_watch(path, Mask::from_bits_truncate(*mask) | Mask::IN_DONT_FOLLOW) {
                    Ok(wd) => {
                        watched.insert(wd, Place { path: path.clone(), names: names.clone() });
                    }
                    // It has been removed meanwhile, or may not be accessed: then the file cannot be read
                    // either.
                    Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => {}
                    Err(errno) => return Err(errno).doing("watching a file"),
                }
            }
            for wd in std::mem::take(&mut self.watched).into_keys() {
                if !watched.contains_key(&wd) {
                    // The watch has ended by itself if its target has been removed.
                    let _ended = self.inotify.rm_watch(wd);
                }
            }
            self.watched = watched;
            let again = way_to(&self.path);
            if again == way {
                break;
            }
            way = again;
        }
        Ok(())
    }
}

/// What must be watched on the path to a file.
fn way_to(path: &Path) -> Way {
    let mut way = Way::new();
    let mut directory = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = parts(path).into();
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            directory.pop();
            continue;
        }
        let at = directory.join(&name);
        let facts = symlink_metadata(&at);
        let last = rest.is_empty();
        match facts {
            Ok(facts) if facts.is_symlink() => {
                way.entry(directory.clone()).or_default().add(SELF | NAMES, Some(&name));
                links += 1;
                let Ok(target) = read_link(&at) else { return way };
                if links > MAX_LINKS {
                    return way;
                }
                if target.is_absolute() {
                    directory = PathBuf::from("/");
                }
                for part in parts(&target).into_iter().rev() {
                    rest.push_front(part);
                }
            }
            Ok(facts) if facts.is_dir() && !last => {
                way.entry(directory.clone()).or_default().add(SELF, None);
                directory = at;
            }
            found => {
                way.entry(directory).or_default().add(SELF | NAMES | CONTENT, Some(&name));
                if found.is_ok() {
                    // It may be written to under another name, for example if it is a bind mount.
                    way.entry(at).or_default().add(SELF | CONTENT, None);
                }
                return way;
            }
        }
    }
    way
}

/// The components of a path, including `..`.
fn parts(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;
    use crate::passing::wait_for_message;

    /// A directory that is removed at the end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("rcluster-watch-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path.canonicalize().unwrap())
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Waits until a change of the file is reported.
    fn told(watch: &mut FileWatch) {
        let fd = watch.watched().unwrap();
        while !watch.changed().unwrap() {
            assert!(wait_for_message(fd.as_fd(), Duration::from_secs(30)).unwrap(), "it is told");
        }
        while watch.changed().unwrap() {}
    }

    #[test]
    fn a_write_in_place_is_reported_when_the_file_is_closed() {
        let directory = Directory::new("in-place");
        let path = directory.at("file");
        fs::write(&path, "one").unwrap();
        let mut watch = FileWatch::new(&path).unwrap();
        assert!(!watch.changed().unwrap());
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(b"tw").unwrap();
        assert!(!watch.changed().unwrap(), "it is not complete");
        file.write_all(b"o").unwrap();
        drop(file);
        told(&mut watch);
        fs::write(directory.at("other"), "x").unwrap();
        assert!(!watch.changed().unwrap(), "others are none of ours");
    }

    #[test]
    fn a_new_file_is_reported_when_it_is_closed_and_a_new_name_at_once() {
        let directory = Directory::new("new");
        let path = directory.at("file");
        let mut watch = FileWatch::new(&path).unwrap();
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(b"on").unwrap();
        assert!(!watch.changed().unwrap());
        drop(file);
        told(&mut watch);
        fs::remove_file(&path).unwrap();
        told(&mut watch);
        fs::write(directory.at("other"), "x").unwrap();
        assert!(!watch.changed().unwrap());
        fs::hard_link(directory.at("other"), &path).unwrap();
        told(&mut watch);
        // Written under its other name.
        fs::write(directory.at("other"), "y").unwrap();
        told(&mut watch);
    }

    #[test]
    fn each_file_that_is_renamed_over_it_is_reported() {
        let directory = Directory::new("rename");
        let path = directory.at("file");
        fs::write(&path, "0").unwrap();
        let mut watch = FileWatch::new(&path).unwrap();
        for i in 1..10 {
            fs::write(directory.at("file~"), format!("{i}")).unwrap();
            fs::rename(directory.at("file~"), &path).unwrap();
            told(&mut watch);
        }
        // As some editors do.
        fs::rename(&path, directory.at("backup")).unwrap();
        fs::write(&path, "again").unwrap();
        told(&mut watch);
        fs::write(&path, "and again").unwrap();
        told(&mut watch);
    }

    #[test]
    fn a_config_map_is_followed() {
        let directory = Directory::new("config-map");
        let version = |number: u32| {
            let (name, link) = (format!("..version-{number}"), directory.at("..data_tmp"));
            fs::create_dir(directory.at(&name)).unwrap();
            fs::write(directory.at(&name).join("file"), format!("{number}")).unwrap();
            symlink(&name, &link).unwrap();
            fs::rename(&link, directory.at("..data")).unwrap();
            if number > 1 {
                fs::remove_dir_all(directory.at(&format!("..version-{}", number - 1))).unwrap();
            }
        };
        version(1);
        symlink("..data/file", directory.at("file")).unwrap();
        let mut watch = FileWatch::new(&directory.at("file")).unwrap();
        for number in 2..10 {
            version(number);
            told(&mut watch);
            assert_eq!(fs::read_to_string(directory.at("file")).unwrap(), format!("{number}"));
        }
    }

    #[test]
    fn created_moved_and_removed_directories_are_tracked() {
        let directory = Directory::new("later");
        let path = directory.at("a/b/../b/file");
        let mut watch = FileWatch::new(&path).unwrap();
        for round in 0..5 {
            fs::create_dir_all(directory.at("a/b")).unwrap();
            fs::write(directory.at("a/b/file"), "x").unwrap();
            told(&mut watch);
            fs::write(directory.at("a/b/file"), "y").unwrap();
            told(&mut watch);
            if round % 2 == 0 {
                fs::rename(directory.at("a"), directory.at(&format!("moved-{round}"))).unwrap();
            } else {
                fs::remove_dir_all(directory.at("a")).unwrap();
            }
            told(&mut watch);
        }
    }

    #[test]
    fn circular_links_do_not_loop_forever() {
        let directory = Directory::new("circle");
        symlink("two", directory.at("one")).unwrap();
        symlink("one", directory.at("two")).unwrap();
        let mut watch = FileWatch::new(&directory.at("one")).unwrap();
        fs::remove_file(directory.at("two")).unwrap();
        fs::write(directory.at("two"), "x").unwrap();
        told(&mut watch);
    }
}
