//! The files of this package that a worker loads, kept for the day when they are gone.
//!
//! A release is deployed beside the one that runs, and the old one is removed; a package is updated in place. A worker
//! that is started after that loads what the primary was started from all the same, from a copy in a temporary folder:
//! the two halves of rcluster always are of one version. As long as nothing has changed there is no copy.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::libc;

use super::error::{Doing, SysError};
use super::headroom;

/// More than this package has, so that a wrong folder is not read for ever.
const MOST_FILES: usize = 200;
const MOST_BYTES: u64 = 4 << 20;

/// Where a copy may be, in this order, behind the folder for temporary files.
const PLACES: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// What tells a file from another one at the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let data = fs::metadata(path)?;
        Ok(Self {
            device: data.dev(),
            inode: data.ino(),
            length: data.len(),
            changed: (data.mtime(), data.mtime_nsec()),
        })
    }
}

/// See the module.
#[derive(Debug)]
pub struct Package {
    /// By their paths below the folder of the package.
    files: Vec<(PathBuf, Vec<u8>)>,
    /// The file that a worker loads first, below the folder.
    first: PathBuf,
    /// The native part. A folder for temporary files may not allow to execute anything, so it is not copied.
    addon: File,
    /// What shows whether the package is still the same.
    watched: Vec<(PathBuf, Identity)>,
    copy: Mutex<Option<PathBuf>>,
}

impl Package {
    /// Reads the files `names` and those in `folders`, which are all paths below `root`. `first` is among them.
    pub fn keep(
        root: &Path,
        names: &[&str],
        folders: &[&str],
        first: &str,
        addon: &Path,
    ) -> Result<Self, SysError> {
        let doing = "reading the files that workers load";
        let mut list: Vec<_> = names.iter().map(PathBuf::from).collect();
        for folder in folders {
            collect(root, Path::new(folder), &mut list).doing(doing)?;
        }
        let mut files = Vec::with_capacity(list.len());
        let mut bytes = 0;
        for name in list {
            let content = fs::read(root.join(&name)).doing(doing)?;
            bytes += content.len() as u64;
            if bytes > MOST_BYTES || files.len() == MOST_FILES {
                return Err(Errno::EFBIG).doing(doing);
            }
            files.push((name, content));
        }
        let watched = names.iter().copied().chain([first]).map(|name| root.join(name));
        let watched = watched.chain([addon.to_owned()]).map(|path| {
            let identity = Identity::of(&path)?;
            Ok((path, identity))
        });
        let watched = watched.collect::<io::Result<_>>().doing(doing)?;
        let addon = File::open(addon).doing(doing)?;
        Ok(Self { files, first: first.into(), addon, watched, copy: Mutex::new(None) })
    }

    /// Whether the files still are where they were read, and the same.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.watched.iter().all(|(path, identity)| Identity::of(path).is_ok_and(|now| now == *identity))
    }

    /// The native part.
    #[must_use]
    pub fn addon(&self) -> BorrowedFd<'_> {
        self.addon.as_fd()
    }

    /// The path of the first file in a copy, which is made now if there is none, or if somebody has tidied up.
    pub fn copy(&self) -> Result<PathBuf, SysError> {
        let mut copy = self.locked();
        if let Some(folder) = copy.as_ref()
            && self.is_complete(folder)
        {
            return Ok(folder.join(&self.first));
        }
        if let Some(folder) = copy.take() {
            remove(&folder);
        }
        let folder = self.write()?;
        remove_at_exit(&folder);
        let first = folder.join(&self.first);
        *copy = Some(folder);
        Ok(first)
    }

    fn locked(&self) -> MutexGuard<'_, Option<PathBuf>> {
        // Nothing is left half done by a panic: the folder is entered when it is complete.
        self.copy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_complete(&self, folder: &Path) -> bool {
        self.files.iter().all(|(name, content)| {
            fs::metadata(folder.join(name)).is_ok_and(|data| data.len() == content.len() as u64)
        })
    }

    /// Writes a copy to the first place that takes it.
    fn write(&self) -> Result<PathBuf, SysError> {
        let doing = "copying the files that workers load to a temporary folder";
        let mut failure = io::Error::from(Errno::ENOENT);
        // A write beyond the limit would end the process by a signal.
        let largest = self.files.iter().map(|(_, content)| content.len()).max().unwrap_or(0);
        if largest > headroom::largest_file() {
            return Err(Errno::EFBIG).doing(doing);
        }
        let places = [std::env::temp_dir()].into_iter().chain(PLACES.map(PathBuf::from));
        for place in places {
            let folder = match nix::unistd::mkdtemp(&place.join("rcluster-XXXXXX")) {
                Ok(folder) => folder,
                Err(errno) => {
                    failure = errno.into();
                    continue;
                }
            };
            match self.write_to(&folder) {
                Ok(()) => return Ok(folder),
                Err(error) => failure = error,
            }
            remove(&folder);
        }
        Err(failure).doing(doing)
    }

    fn write_to(&self, folder: &Path) -> io::Result<()> {
        // Workers may run as another user, and nothing in it is a secret.
        let readable = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
        readable(folder, 0o755)?;
        for (name, content) in &self.files {
            let mut path = folder.to_owned();
            for part in name.parent().into_iter().flat_map(Path::components) {
                path.push(part);
                match fs::create_dir(&path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => readable(&path, 0o755)?,
                }
            }
            let path = folder.join(name);
            fs::write(&path, content)?;
            readable(&path, 0o644)?;
        }
        Ok(())
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        if let Some(folder) = self.locked().take() {
            remove(&folder);
        }
    }
}

fn collect(root: &Path, folder: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let name = folder.join(entry.file_name());
        if into.len() > MOST_FILES {
            return Err(Errno::EFBIG.into());
        }
        if entry.file_type()?.is_dir() {
            collect(root, &name, into)?;
        } else {
            into.push(name);
        }
    }
    Ok(())
}

fn remove(folder: &Path) {
    // Whoever has removed it before us has done what we want; and what cannot be removed is left to whoever tidies up
    // the temporary files.
    let _ = fs::remove_dir_all(folder);
}

/// The copies that are removed when this process exits.
static LEFT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// `process.exit()` drops nothing, but runs what is registered here.
fn remove_at_exit(folder: &Path) {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    if left.is_empty() {
        // SAFETY: the function has no arguments, takes no part in unwinding, and is never unloaded: Node does not unload
        // native parts of the main thread.
        let refused = unsafe { libc::atexit(remove_all) };
        if refused != 0 {
            // Then the copy stays behind, as it does when a signal ends the process.
            return;
        }
    }
    left.push(folder.to_owned());
}

extern "C" fn remove_all() {
    let Ok(mut left) = LEFT.try_lock() else { return };
    for folder in left.drain(..) {
        remove(&folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            Self(nix::unistd::mkdtemp(&std::env::temp_dir().join("rcluster-test-XXXXXX")).unwrap())
        }

        fn package() -> (Self, Package) {
            let folder = Self::new();
            fs::create_dir_all(folder.0.join("lib/deep")).unwrap();
            for (name, text) in [("package.json", "{}"), ("lib/first.js", "1"), ("lib/deep/b.js", "2")] {
                fs::write(folder.0.join(name), text).unwrap();
            }
            fs::write(folder.0.join("addon.node"), "native").unwrap();
            let addon = folder.0.join("addon.node");
            let package = Package::keep(&folder.0, &["package.json"], &["lib"], "lib/first.js", &addon);
            (folder, package.unwrap())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            remove(&self.0);
        }
    }

    #[test]
    fn a_package_that_nobody_touches_is_intact() {
        let (_folder, package) = Folder::package();
        assert!(package.is_intact());
        assert!(package.locked().is_none());
    }

    #[test]
    fn removed_replaced_or_rewritten_files_are_noticed() {
        for name in ["package.json", "lib/first.js", "addon.node"] {
            let (folder, package) = Folder::package();
            let path = folder.0.join(name);
            fs::write(folder.0.join("new"), "the same").unwrap();
            fs::rename(folder.0.join("new"), &path).unwrap();
            assert!(!package.is_intact(), "{name} replaced");
            fs::remove_file(&path).unwrap();
            assert!(!package.is_intact(), "{name} removed");
        }
    }

    #[test]
    fn a_copy_has_all_the_files_and_outlives_the_original() {
        let (folder, package) = Folder::package();
        remove(&folder.0);
        assert!(!package.is_intact());
        let first = package.copy().unwrap();
        assert_eq!(fs::read_to_string(&first).unwrap(), "1");
        let copy = first.parent().unwrap().parent().unwrap().to_owned();
        assert_eq!(fs::read_to_string(copy.join("lib/deep/b.js")).unwrap(), "2");
        for path in [&copy, &copy.join("lib/deep"), &first] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o444, 0o444, "anybody reads {}", path.display());
        }
        assert_eq!(package.copy().unwrap(), first, "the same copy serves all");
        drop(package);
        assert!(!copy.exists());
    }

    #[test]
    fn a_copy_that_somebody_has_tidied_up_is_made_again() {
        let (_folder, package) = Folder::package();
        let first = package.copy().unwrap();
        fs::remove_file(&first).unwrap();
        let again = package.copy().unwrap();
        assert!(again.exists());
        assert!(!first.exists());
    }

    #[test]
    fn a_folder_without_the_files_is_an_error() {
        let folder = Folder::new();
        let addon = folder.0.join("addon.node");
        assert!(Package::keep(&folder.0, &["package.json"], &[], "lib/first.js", &addon).is_err());
    }
}
