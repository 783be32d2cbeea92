//! Binding a Unix socket to a path: its file is created by that, and opened to all users on request.

use std::ffi::OsStr;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open, openat};
use nix::libc;
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, fchmodat, fstat, fstatat};
use nix::unistd::geteuid;

use super::Access;
use super::bound_path::BoundPath;
use super::leftover::{self, Leftover};
use crate::error::{Doing, SysError};

/// Binds a socket. An abstract name has no file.
///
/// # Design
/// Workers name the path, and a worker with fewer rights than the primary may change where it leads at any
/// time. So after binding, the path is not used any more: the directory was opened before, the file is opened
/// in it, must be the socket that was bound, and is changed through its descriptor. `ESTALE` if it is not.
/// The socket is bound by the path all the same, because that is the name shown by `getsockname` and system
/// tools.
pub(super) fn bind(
    fd: &OwnedFd,
    path: &Path,
    everybody: Access,
    leftover: Leftover,
) -> Result<Option<BoundPath>, SysError> {
    bind_and(fd, path, everybody, leftover, || ())
}

/// The length of the longest path, in bytes: Linux needs no zero at its end.
const LONGEST: usize = 108;

/// Calls `bound` after binding, so that a test can do what others might do at that moment.
fn bind_and(
    fd: &OwnedFd,
    path: &Path,
    everybody: Access,
    leftover: Leftover,
    bound: impl FnOnce(),
) -> Result<Option<BoundPath>, SysError> {
    let place = path.as_os_str();
    let doing = if place.len() > LONGEST {
        "binding a unix socket, whose path may have at most 108 bytes"
    } else {
        "binding a unix socket"
    };
    if place.as_bytes().starts_with(b"\0") {
        return bind_name(fd, place).doing(doing).map(|()| None);
    }
    // A path that does not name a file has no directory either: the bind reports the error.
    let parts = path.file_name().filter(|_| !place.as_bytes().contains(&0));
    let Some(name) = parts else {
        bind_name(fd, place).doing(doing)?;
        return Err(stale());
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = match open(parent.unwrap_or(Path::new(".")), flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(errno) => {
            bind_name(fd, place).doing(doing)?;
            return Err(errno).doing("opening the directory of a unix socket");
        }
    };
    let is_free = || fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) == Err(Errno::ENOENT);
    let mut is_new = is_free();
    let mut answer = bind_name(fd, place);
    if answer == Err(Errno::EADDRINUSE) && leftover == Leftover::Remove && leftover::remove(&directory, name)?
    {
        is_new = is_free();
        answer = bind_name(fd, place);
    }
    answer.doing(doing)?;
    bound();
    let file = openat(&directory, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty());
    let file = file.map_err(|_| stale())?;
    let made = fstat(&file).doing("looking at a socket's file")?;
    let is_ours = match file_of(fd)? {
        Some(file) => (file.st_dev, file.st_ino) == (made.st_dev, made.st_ino),
        // Otherwise these must suffice: the file is new, and is a socket of our own user.
        None => is_new && is_own_socket(&made),
    };
    if !is_ours {
        return Err(stale());
    }
    let bound = BoundPath::new(directory, name.to_owned(), &made);
    open_to(&file, everybody).doing("opening a socket to everybody")?;
    Ok(Some(bound))
}

/// Another process has changed where a path leads while it was used.
fn stale() -> SysError {
    SysError { doing: "finding the file of a unix socket", errno: Errno::ESTALE }
}

pub(super) fn is_own_socket(file: &FileStat) -> bool {
    file.st_mode & libc::S_IFMT == libc::S_IFSOCK && file.st_uid == geteuid().as_raw() && file.st_nlink == 1
}

/// The file that a socket is bound to. `None` if the system refuses to return it: it requires
/// `CAP_NET_ADMIN`.
fn file_of(socket: &OwnedFd) -> Result<Option<FileStat>, SysError> {
    const SIOCUNIXFILE: libc::c_ulong = 0x89E0;
    // SAFETY: the call takes a socket and no argument, and returns a descriptor.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCUNIXFILE as _, 0) };
    let Ok(number) = Errno::result(answer) else { return Ok(None) };
    // SAFETY: the kernel has created this descriptor for us, close-on-exec; it has no other owner.
    let file = unsafe { OwnedFd::from_raw_fd(number) };
    fstat(&file).doing("looking at a socket's file").map(Some)
}

fn bind_name(fd: &OwnedFd, name: &OsStr) -> nix::Result<()> {
    // SAFETY: sockaddr_un consists of numbers, for which zero is valid.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    // nix and std do not use the last byte of it; Linux and Node do.
    let bytes = name.as_bytes();
    let abstract_name = bytes.starts_with(b"\0");
    let inner_nul = !abstract_name && bytes.contains(&0);
    if bytes.is_empty() || bytes.len() > address.sun_path.len() || inner_nul {
        return Err(Errno::EINVAL);
    }
    #[expect(clippy::cast_possible_truncation, reason = "AF_UNIX is 1")]
    let family = libc::AF_UNIX as libc::sa_family_t;
    address.sun_family = family;
    for (to, &from) in address.sun_path.iter_mut().zip(bytes) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let length = mem::offset_of!(libc::sockaddr_un, sun_path) + bytes.len();
    let length = libc::socklen_t::try_from(length).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the address is ours until after the call, and `length` bytes of it are filled.
    let answer = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
    Errno::result(answer).map(drop)
}

/// Sets the mode of the file, if all users get any access. As in libuv since Node 22, this is the whole mode:
/// with `readable` alone, even the owner may not connect.
fn open_to(file: &OwnedFd, everybody: Access) -> nix::Result<()> {
    let mut mode = Mode::empty();
    if everybody.readable {
        mode |= Mode::S_IRUSR | Mode::S_IRGRP | Mode::S_IROTH;
    }
    if everybody.writable {
        mode |= Mode::S_IWUSR | Mode::S_IWGRP | Mode::S_IWOTH;
    }
    if mode.is_empty() {
        return Ok(());
    }
    // A descriptor opened with O_PATH does not support fchmod, but this link leads to exactly its file.
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    fchmodat(AT_FDCWD, link.as_str(), mode, FchmodatFlags::FollowSymlink)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::PathBuf;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    use super::*;

    const EVERYBODY: Access = Access { readable: true, writable: true };

    /// A directory of the test: the socket is bound in `mine`; `foreign` contains files that must not be
    /// touched.
    struct Directory(PathBuf);

    impl Directory {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("rcluster-path-{test}-{}", std::process::id()));
            fs::create_dir_all(path.join("mine")).unwrap();
            fs::create_dir(path.join("foreign")).unwrap();
            fs::write(path.join("foreign/socket"), "precious").unwrap();
            fs::set_permissions(path.join("foreign/socket"), fs::Permissions::from_mode(0o600)).unwrap();
            for open in [path.clone(), path.join("mine"), path.join("foreign")] {
                fs::set_permissions(open, fs::Permissions::from_mode(0o777)).unwrap();
            }
            Self(path)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        /// From now on the path leads to the foreign file.
        fn swap(&self) {
            fs::rename(self.path("mine"), self.path("moved")).unwrap();
            symlink("foreign", self.path("mine")).unwrap();
        }

        fn assert_untouched(&self) {
            let file = self.path("foreign/socket");
            assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
            assert_eq!(fs::metadata(&file).unwrap().len(), 8);
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn new_socket() -> OwnedFd {
        socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap()
    }

    /// Runs a test as the tests' user, and as an unprivileged one.
    fn as_everybody(name: &str, run: impl Fn(&Directory) + Sync) {
        run(&Directory::new(name));
        if !geteuid().is_root() {
            return;
        }
        let directory = Directory::new(&format!("{name}-nobody"));
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // The system call itself, because libc's function would change all threads.
                // SAFETY: the call uses plain numbers, and changes this thread only.
                let answer = unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) };
                Errno::result(answer).unwrap();
                run(&directory);
            });
            thread.join().unwrap();
        });
    }

    fn errno(bound: Result<Option<BoundPath>, SysError>) -> Errno {
        bound.unwrap_err().errno
    }

    #[test]
    fn after_a_swap_of_the_directory_no_foreign_file_is_changed() {
        as_everybody("directory", |directory| {
            let socket = new_socket();
            let bound = bind_and(&socket, &directory.path("mine/socket"), EVERYBODY, Leftover::Keep, || {
                directory.swap();
            });
            let bound = bound.unwrap();
            let made = fs::symlink_metadata(directory.path("moved/socket")).unwrap();
            assert_eq!(made.mode() & 0o777, 0o666, "the socket itself is opened");
            drop(bound);
            assert!(!directory.path("moved/socket").exists(), "and removed");
            directory.assert_untouched();
        });
    }

    #[test]
    fn a_link_or_a_file_in_the_place_of_the_socket_is_an_error_and_stays_as_it_is() {
        as_everybody("link", |directory| {
            let path = directory.path("mine/socket");
            let bound = bind_and(&new_socket(), &path, EVERYBODY, Leftover::Keep, || {
                fs::remove_file(&path).unwrap();
                symlink("../foreign/socket", &path).unwrap();
            });
            assert_eq!(errno(bound), Errno::ESTALE);
            fs::remove_file(&path).unwrap();
            let bound = bind_and(&new_socket(), &path, EVERYBODY, Leftover::Keep, || {
                fs::remove_file(&path).unwrap();
                fs::write(&path, "precious").unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            });
            assert_eq!(errno(bound), Errno::ESTALE);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
            directory.assert_untouched();
        });
    }

    #[test]
    fn another_socket_in_its_place_is_left_alone() {
        let directory = Directory::new("socket");
        let (path, socket) = (directory.path("mine/socket"), new_socket());
        let other = directory.path("mine/other");
        let neighbour = std::os::unix::net::UnixListener::bind(&other).unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
        let answer =
            bind_and(&socket, &path, EVERYBODY, Leftover::Keep, || fs::rename(&other, &path).unwrap());
        // Only with CAP_NET_ADMIN can two sockets of one user be told apart.
        if file_of(&socket).unwrap().is_some() {
            assert_eq!(errno(answer), Errno::ESTALE);
            assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o777, 0o600);
        }
        drop(neighbour);
    }

    #[test]
    fn a_directory_that_is_swapped_before_the_end_keeps_the_foreign_file() {
        as_everybody("end", |directory| {
            let socket = new_socket();
            let bound = bind(&socket, &directory.path("mine/socket"), EVERYBODY, Leftover::Keep).unwrap();
            directory.swap();
            drop(bound);
            directory.assert_untouched();
            assert!(!directory.path("moved/socket").exists());
        });
    }
}
