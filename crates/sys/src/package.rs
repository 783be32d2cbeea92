//! The files of this package that a worker loads, kept in memory in case they are removed.
//!
//! A release may be deployed next to the running one, and the old one removed; a package may be updated in
//! place. A worker that starts afterwards still loads the version that the primary was started from, from a
//! copy in a temporary directory: both halves of rcluster always have the same version. While nothing has
//! changed there is no copy.

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

/// More than this package has, so that a wrong directory is not read without end.
const MOST_FILES: usize = 200;
const MOST_BYTES: u64 = 4 << 20;

/// Where a copy may be stored, in this order, after the directory for temporary files.
const PLACES: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// Distinguishes a file from another one at the same path.
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

/// See the module documentation.
#[derive(Debug)]
pub struct Package {
    /// The contents, by path relative to the package's directory.
    files: Vec<(PathBuf, Vec<u8>)>,
    /// The file that a worker loads first, relative to the directory.
    first: PathBuf,
    /// The native part. It is not copied, because a temporary directory may be mounted noexec.
    addon: File,
    /// The files that show whether the package is unchanged.
    watched: Vec<(PathBuf, Identity)>,
    /// Where a copy may be stored, in this order.
    places: Vec<PathBuf>,
    copy: Mutex<Option<PathBuf>>,
}

impl Package {
    /// Reads the files `names` and those in `folder`, except those in the folders `except`: all paths are
    /// relative to `root`. `first` is one of the files.
    ///
    /// Must be called by the thread of JavaScript, which alone changes the environment: it names the directory for temporary
    /// files.
    pub fn keep(
        root: &Path,
        names: &[&str],
        folder: &str,
        except: &[&str],
        first: &str,
        addon: &Path,
    ) -> Result<Self, SysError> {
        let doing = "reading the files that workers load";
        let mut list: Vec<_> = names.iter().map(PathBuf::from).collect();
        collect(root, Path::new(folder), except, &mut list).doing(doing)?;
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
        let places = [std::env::temp_dir()].into_iter().chain(PLACES.map(PathBuf::from)).collect();
        Ok(Self { files, first: first.into(), addon, watched, places, copy: Mutex::new(None) })
    }

    /// Whether the files are still in place and unchanged.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.watched.iter().all(|(path, identity)| Identity::of(path).is_ok_and(|now| now == *identity))
    }

    /// The native part.
    #[must_use]
    pub fn addon(&self) -> BorrowedFd<'_> {
        self.addon.as_fd()
    }

    /// The path of the first file in a copy, which is created now if there is none, or if it has been
    /// removed.
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
        // A panic leaves nothing incomplete: the directory is recorded only when it is complete.
        self.copy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_complete(&self, folder: &Path) -> bool {
        self.files.iter().all(|(name, content)| {
            fs::metadata(folder.join(name)).is_ok_and(|data| data.len() == content.len() as u64)
        })
    }

    /// Writes a copy to the first place that accepts it.
    fn write(&self) -> Result<PathBuf, SysError> {
        let doing = "copying the files that workers load to a temporary folder";
        let mut failure = io::Error::from(Errno::ENOENT);
        // A write beyond the limit would kill the process with a signal.
        let largest = self.files.iter().map(|(_, content)| content.len()).max().unwrap_or(0);
        if largest > headroom::largest_file() {
            return Err(Errno::EFBIG).doing(doing);
        }
        for place in &self.places {
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
        // Workers may run as another user, and nothing in it is secret.
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

fn collect(root: &Path, folder: &Path, except: &[&str], into: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let name = folder.join(entry.file_name());
        if into.len() > MOST_FILES {
            return Err(Errno::EFBIG.into());
        }
        if except.iter().any(|folder| Path::new(folder) == name) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            collect(root, &name, except, into)?;
        } else {
            into.push(name);
        }
    }
    Ok(())
}

fn remove(folder: &Path) {
    // It may have been removed already. If it cannot be removed, the cleanup of temporary files has to.
    let _ = fs::remove_dir_all(folder);
}

/// The copies to be removed when this process exits.
static LEFT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// `process.exit()` runs no destructors, but it runs functions registered with atexit.
fn remove_at_exit(folder: &Path) {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    if left.is_empty() {
        // SAFETY: the function has no arguments, does not unwind, and is never unloaded: Node does not unload
        // addons of the main thread.
        let refused = unsafe { libc::atexit(remove_all) };
        if refused != 0 {
            // The copy is left behind, as when a signal kills the process.
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
            for name in ["lib/deep", "lib/other"] {
                fs::create_dir_all(folder.0.join(name)).unwrap();
            }
            let files = [
                ("package.json", "{}"),
                ("lib/first.js", "1"),
                ("lib/deep/b.js", "2"),
                ("lib/other/c.js", "3"),
            ];
            for (name, text) in files {
                fs::write(folder.0.join(name), text).unwrap();
            }
            fs::write(folder.0.join("addon.node"), "native").unwrap();
            let addon = folder.0.join("addon.node");
            let names = ["package.json"];
            let package = Package::keep(&folder.0, &names, "lib", &["lib/other"], "lib/first.js", &addon);
            (folder, package.unwrap())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            remove(&self.0);
        }
    }

    #[test]
    fn an_unchanged_package_is_intact() {
        let (_folder, package) = Folder::package();
        assert!(package.is_intact());
        assert!(package.locked().is_none());
    }

    #[test]
    fn removed_replaced_or_rewritten_files_are_detected() {
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
        assert!(!copy.join("lib/other").exists(), "what workers do not load is not kept");
        for path in [&copy, &copy.join("lib/deep"), &first] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o444, 0o444, "anybody reads {}", path.display());
        }
        assert_eq!(package.copy().unwrap(), first, "the same copy serves all");
        drop(package);
        assert!(!copy.exists());
    }

    #[test]
    fn a_removed_copy_is_created_again() {
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
        assert!(Package::keep(&folder.0, &["package.json"], "lib", &[], "lib/first.js", &addon).is_err());
    }
}
