//! A file that one process owns, and that is always replaced as a whole.
//!
//! All functions may block, so they must only be called on threads that may.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, remove_file, rename};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg, readlinkat};
use nix::libc::{ELOOP, O_NOFOLLOW, O_NONBLOCK, O_PATH};
use nix::unistd::geteuid;
use thiserror::Error;

/// Why a file cannot be used.
#[derive(Debug, Error)]
pub enum SaveError {
    /// Another process uses it, or this process uses it for something else.
    #[error("another process uses {0:?}, or another store")]
    Locked(PathBuf),
    /// It is larger than allowed.
    #[error("{0:?} has more than {1} bytes")]
    TooLong(PathBuf, u64),
    /// It is a symbolic link that belongs to neither this user nor root.
    #[error("{0:?} is a symbolic link of another user, and is not followed")]
    ForeignLink(PathBuf),
    /// A system call failed.
    #[error("{doing} {path:?}: {error}")]
    System {
        /// What was attempted, as the beginning of a sentence.
        doing: &'static str,
        /// The file concerned.
        path: PathBuf,
        /// The error.
        error: std::io::Error,
    },
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> SaveError {
    let path = path.to_owned();
    move |error| SaveError::System { doing, path, error }
}

/// The longest chain of symbolic links that is followed: as long as the kernel's.
const MAX_LINKS: usize = 40;

/// The file is locked for this process while the value lives, at most until the process ends.
#[derive(Debug)]
pub struct SaveFile {
    path: PathBuf,
    temporary: PathBuf,
    _lock: Flock<File>,
}

impl SaveFile {
    /// Locks a file. It need not exist, but its directory must. The lock is on another file next to it,
    /// because the file itself is replaced.
    ///
    /// If the path is a symbolic link, this is about the file that it leads to now: the link stays, and the other files are
    /// next to that one. Links of others are refused: whoever may write to the directory, such as a worker of another user,
    /// could otherwise have any file of this user replaced.
    pub fn lock(path: &Path) -> Result<Self, SaveError> {
        let path = &target_of(path)?;
        let lock_path = beside(path, ".lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(O_NOFOLLOW);
        let file = options.open(&lock_path).map_err(failed("opening", &lock_path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
            nix::errno::Errno::EWOULDBLOCK => SaveError::Locked(path.to_owned()),
            errno => failed("locking", &lock_path)(errno.into()),
        })?;
        Ok(Self { path: path.to_owned(), temporary: beside(path, ".tmp"), _lock: lock })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its content; `None` if there is no file.
    pub fn read(&self, limit: u64) -> Result<Option<Vec<u8>>, SaveError> {
        // Without waiting for a writer, if it is a FIFO.
        let options = O_NONBLOCK | O_NOFOLLOW;
        let file = match OpenOptions::new().read(true).custom_flags(options).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("opening", &self.path)(error)),
        };
        let facts = file.metadata().map_err(failed("reading", &self.path))?;
        if !facts.is_file() {
            return Err(failed("reading", &self.path)(std::io::Error::other("it is not a regular file")));
        }
        if facts.len() > limit {
            return Err(SaveError::TooLong(self.path.clone(), limit));
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(failed("reading", &self.path))?;
        Ok(Some(bytes))
    }

    /// Replaces it atomically: readers see either the old content or all of the new one, even after a power
    /// failure.
    pub fn write(&self, bytes: &[u8]) -> Result<(), SaveError> {
        let written = self.try_write(bytes);
        if written.is_err() {
            // The next attempt creates it again.
            let _there_or_not = remove_file(&self.temporary);
        }
        written
    }

    fn try_write(&self, bytes: &[u8]) -> Result<(), SaveError> {
        let path = &self.temporary;
        match remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("removing", path)(error)),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(path).map_err(failed("making", path))?;
        file.write_all(bytes).map_err(failed("writing", path))?;
        file.sync_all().map_err(failed("writing", path))?;
        rename(path, &self.path).map_err(failed("replacing", &self.path))?;
        let directory = self.path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory_file = File::open(directory).map_err(failed("opening", directory))?;
        directory_file.sync_all().map_err(failed("writing", directory))
    }
}

/// The path that a path leads to by symbolic links, if it is one. There need not be a file.
fn target_of(path: &Path) -> Result<PathBuf, SaveError> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        // The link itself, so that the link that is read is the one that was checked.
        let link = match OpenOptions::new().read(true).custom_flags(O_PATH | O_NOFOLLOW).open(&path) {
            Ok(link) => link,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(path),
            Err(error) => return Err(failed("opening", &path)(error)),
        };
        let facts = link.metadata().map_err(failed("reading", &path))?;
        if !facts.is_symlink() {
            return Ok(path);
        }
        if facts.uid() != 0 && facts.uid() != geteuid().as_raw() {
            return Err(SaveError::ForeignLink(path));
        }
        let target = readlinkat(&link, "").map_err(|errno| failed("reading", &path)(errno.into()))?;
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    Err(failed("opening", &path)(std::io::Error::from_raw_os_error(ELOOP)))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, DirBuilder};
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};

    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("rcluster-save-{name}-{}", std::process::id()));
            DirBuilder::new().create(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn written_content_can_be_read_by_the_owner_only() {
        let directory = Directory::new("write");
        let path = directory.0.join("file");
        let file = SaveFile::lock(&path).unwrap();
        assert_eq!(file.read(10).unwrap(), None);
        // A leftover of a crash.
        fs::write(directory.0.join("file.tmp"), "rest").unwrap();
        for text in [&b"one"[..], b"another", b""] {
            file.write(text).unwrap();
            assert_eq!(file.read(10).unwrap().as_deref(), Some(text));
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!directory.0.join("file.tmp").exists());
        file.write(b"long").unwrap();
        assert!(matches!(file.read(3), Err(SaveError::TooLong(_, 3))));
    }

    #[test]
    fn a_file_has_one_owner_at_a_time() {
        let directory = Directory::new("owner");
        let path = directory.0.join("file");
        let file = SaveFile::lock(&path).unwrap();
        assert!(matches!(SaveFile::lock(&path), Err(SaveError::Locked(_))));
        drop(file);
        assert!(SaveFile::lock(&path).is_ok());
    }

    #[test]
    fn a_failed_write_keeps_the_old_content() {
        let directory = Directory::new("fails");
        let path = directory.0.join("file");
        let file = SaveFile::lock(&path).unwrap();
        file.write(b"first").unwrap();
        // No file can be created under this name.
        DirBuilder::new().create(directory.0.join("file.tmp")).unwrap();
        assert!(matches!(file.write(b"second"), Err(SaveError::System { .. })));
        assert_eq!(file.read(10).unwrap().as_deref(), Some(&b"first"[..]));
        assert!(SaveFile::lock(&directory.0.join("nowhere/file")).is_err());
        fs::remove_dir(directory.0.join("file.tmp")).unwrap();
        DirBuilder::new().create(directory.0.join("folder")).unwrap();
        assert!(SaveFile::lock(&directory.0.join("folder")).unwrap().read(10).is_err());
    }

    #[test]
    fn a_file_is_replaced_where_symbolic_links_lead_and_the_links_stay() {
        let directory = Directory::new("links");
        let at = |name: &str| directory.0.join(name);
        DirBuilder::new().create(at("data")).unwrap();
        symlink("data/file", at("link")).unwrap();
        symlink(at("link"), at("again")).unwrap();
        let file = SaveFile::lock(&at("again")).unwrap();
        assert_eq!((file.path(), file.read(10).unwrap()), (at("data/file").as_path(), None));
        for text in [&b"one"[..], b"two"] {
            file.write(text).unwrap();
            assert_eq!(fs::read(at("data/file")).unwrap(), text);
            assert_eq!(file.read(10).unwrap().as_deref(), Some(text));
        }
        assert!(matches!(SaveFile::lock(&at("data/file")), Err(SaveError::Locked(_))));
        assert!(at("link").is_symlink() && at("again").is_symlink());
        let mut names: Vec<_> =
            fs::read_dir(&directory.0).unwrap().map(|it| it.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["again", "data", "link"]);
        symlink("circle", at("circle")).unwrap();
        assert!(matches!(SaveFile::lock(&at("circle")), Err(SaveError::System { .. })));
    }

    #[test]
    fn a_symbolic_link_of_another_user_is_refused() {
        // Only root can give a link away.
        if !geteuid().is_root() {
            return;
        }
        let directory = Directory::new("foreign");
        let (link, secret) = (directory.0.join("link"), directory.0.join("secret"));
        fs::write(&secret, "secret").unwrap();
        symlink(&secret, &link).unwrap();
        lchown(&link, Some(54321), None).unwrap();
        assert!(matches!(SaveFile::lock(&link), Err(SaveError::ForeignLink(_))));
        // Put there later, it is replaced.
        fs::remove_file(&link).unwrap();
        let file = SaveFile::lock(&link).unwrap();
        symlink(&secret, &link).unwrap();
        assert!(file.read(10).is_err());
        file.write(b"new").unwrap();
        assert_eq!(
            (fs::read(&link).unwrap(), fs::read(&secret).unwrap()),
            (b"new".to_vec(), b"secret".to_vec())
        );
    }

    #[test]
    fn what_is_not_a_regular_file_is_refused_at_once() {
        let directory = Directory::new("fifo");
        let path = directory.0.join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let refused = SaveFile::lock(&path).unwrap().read(10).unwrap_err();
        assert!(refused.to_string().contains("not a regular file"), "{refused}");
    }
}
