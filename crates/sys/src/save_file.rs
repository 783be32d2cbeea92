//! A file that one process owns, and that is always replaced as a whole.
//!
//! All functions may block, so they must only be called on threads that may.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, remove_file, rename};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
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
    pub fn lock(path: &Path) -> Result<Self, SaveError> {
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
        let file = match OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(&self.path) {
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

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, DirBuilder};
    use std::os::unix::fs::PermissionsExt;

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
    fn what_is_not_a_regular_file_is_refused_at_once() {
        let directory = Directory::new("fifo");
        let path = directory.0.join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let refused = SaveFile::lock(&path).unwrap().read(10).unwrap_err();
        assert!(refused.to_string().contains("not a regular file"), "{refused}");
    }
}
