//! A listening Unix socket that only its own user and root can connect to, and its clients.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, read_dir, symlink_metadata};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockType, UnixAddr, connect, getsockopt};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::geteuid;

use super::{Access, BoundPath, Leftover, new_socket, start};
use super::{leftover, path};
use crate::error::{Doing, SysError};

/// The length of the accept queue.
const BACKLOG: i32 = 128;

const NOBODY: Access = Access { readable: false, writable: false };

/// The process at the other end of a Unix socket, at the time when it connected or began to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its effective user id.
    pub uid: u32,
    /// Its process id; 0 if the process is in a PID namespace that is not visible here.
    pub pid: i32,
}

impl Peer {
    /// The peer of a connected socket.
    pub fn of(socket: &impl AsFd) -> Result<Self, SysError> {
        let peer = getsockopt(socket, PeerCredentials).doing("asking who is at the other end of a socket")?;
        Ok(Self { uid: peer.uid(), pid: peer.pid() })
    }
}

/// Connects without waiting, because the kernel tells only then who listens, and it may be anybody: `EAGAIN` if its queue
/// of clients is full. Reading and writing wait.
pub fn connect_at_once(address: &SocketAddr) -> Result<UnixStream, SysError> {
    let doing = "connecting to a unix socket";
    let name = match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => UnixAddr::new(path),
        (None, Some(name)) => UnixAddr::new_abstract(name),
        (None, None) => Err(Errno::EINVAL),
    };
    let name = name.doing(doing)?;
    let socket = new_socket(AddressFamily::Unix, SockType::Stream).doing(doing)?;
    connect(socket.as_raw_fd(), &name).doing(doing)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false).doing(doing)?;
    Ok(stream)
}

/// The effective user id of this process.
#[must_use]
pub fn own_user() -> u32 {
    geteuid().as_raw()
}

/// Listens on a file that from its creation is accessible to its user only. The file of a socket without a
/// listener is replaced; `EADDRINUSE` if a process listens on it, or it is not a socket of our user.
///
/// # Design
/// Of two processes that do this at the same time, at most one has the path, and the other one is told. A socket
/// that does not listen yet looks like one that was left behind, so its owner looks whether it is still there when
/// it listens.
pub fn private_path(path: &Path) -> Result<(OwnedFd, BoundPath), SysError> {
    let (fd, bound) = bind(path)?;
    // Only an abstract name has no file.
    let bound = bound.ok_or(SysError::invalid("binding a unix socket"))?;
    if !bound.is_in_place() {
        return Err(SysError { doing: "binding a unix socket", errno: Errno::EADDRINUSE });
    }
    Ok((fd, bound))
}

/// Listens on an abstract name, given without the leading NUL. Any process may connect to such a name: see
/// [`Peer`].
pub fn private_name(name: &str) -> Result<OwnedFd, SysError> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(name.as_bytes());
    bind(&PathBuf::from(OsString::from_vec(bytes))).map(|(fd, _)| fd)
}

/// Creates a directory for our user only, unless our user has one there already.
pub fn private_directory(path: &Path) -> Result<(), SysError> {
    let made = DirBuilder::new().mode(0o700).create(path);
    if made.is_err() {
        let ours = symlink_metadata(path).is_ok_and(|it| it.is_dir() && it.uid() == geteuid().as_raw());
        if !ours {
            return made.doing("making a directory for sockets");
        }
    }
    Ok(())
}

/// Removes the sockets of our user in a directory on which no process listens, as processes leave behind that were killed.
/// `is_over` says whether the process with a file of that name has ended: one that has bound its socket and does not
/// listen yet looks the same.
pub fn remove_leftovers(directory: &Path, is_over: impl Fn(&OsStr) -> bool) -> Result<(), SysError> {
    let doing = "removing sockets that were left behind";
    let names = read_dir(directory).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)));
    let names = names.doing(doing)?.filter_map(|entry| Some(entry.ok()?.file_name()));
    let over: Vec<OsString> = names.filter(|name| is_over(name)).collect();
    if over.is_empty() {
        return Ok(());
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = open(directory, flags, Mode::empty()).doing(doing)?;
    over.iter().try_for_each(|name| leftover::remove(&directory, name).map(drop))
}

fn bind(path: &Path) -> Result<(OwnedFd, Option<BoundPath>), SysError> {
    let fd = new_socket(AddressFamily::Unix, SockType::Stream).doing("making a unix socket")?;
    // The file gets the mode that the socket has when it is bound.
    fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR).doing("keeping others from a unix socket")?;
    let bound = path::bind(&fd, path, NOBODY, Leftover::Remove)?;
    start(&fd, Some(BACKLOG))?;
    Ok((fd, bound))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("rcluster-private-{name}-{}", std::process::id()));
            private_directory(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn only_its_user_may_connect_and_the_file_is_removed_with_it() {
        let folder = Folder::new("mode");
        assert_eq!(symlink_metadata(&folder.0).unwrap().permissions().mode() & 0o777, 0o700);
        private_directory(&folder.0).expect("it is ours");
        let path = folder.0.join("a.sock");
        let (fd, bound) = private_path(&path).unwrap();
        assert_eq!(symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let client = UnixStream::connect(&path).unwrap();
        let peer = Peer::of(&client).unwrap();
        assert_eq!(peer, Peer { uid: geteuid().as_raw(), pid: std::process::id().cast_signed() });
        drop(bound);
        drop(fd);
        assert!(symlink_metadata(&path).is_err());
    }

    #[test]
    fn connecting_waits_for_no_listener_and_reading_waits_for_its_answer() {
        let name = format!("rcluster-at-once-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        assert_eq!(connect_at_once(&address).unwrap_err().errno, Errno::ECONNREFUSED);
        let listener =
            super::super::unix(Path::new(&format!("\0{name}")), NOBODY, Leftover::Keep, Some(0)).unwrap();
        let mut first = connect_at_once(&address).unwrap();
        assert_eq!(connect_at_once(&address).unwrap_err().errno, Errno::EAGAIN, "nobody accepts");
        std::thread::scope(|scope| {
            let answer = scope.spawn(move || {
                let mut byte = [0];
                first.read_exact(&mut byte).map(|()| byte)
            });
            let client = super::super::accept(&listener.fd).unwrap().unwrap();
            UnixStream::from(client).write_all(b"x").unwrap();
            assert_eq!(answer.join().unwrap().unwrap(), *b"x");
        });
    }

    #[test]
    fn a_leftover_socket_is_replaced_and_one_in_use_is_not() {
        let folder = Folder::new("stale");
        let path = folder.0.join("a.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let (_fd, _bound) = private_path(&path).expect("nobody listens");
        assert_eq!(private_path(&path).unwrap_err().errno, Errno::EADDRINUSE);
    }

    #[test]
    fn sockets_without_a_listener_are_removed_if_their_process_is_over() {
        let folder = Folder::new("leftovers");
        let path = |name: &str| folder.0.join(name);
        for name in ["1.sock", "2.sock"] {
            drop(std::os::unix::net::UnixListener::bind(path(name)).unwrap());
        }
        let (_fd, _bound) = private_path(&path("3.sock")).unwrap();
        std::fs::write(path("4.sock"), "a file").unwrap();
        remove_leftovers(&folder.0, |name| name != "2.sock").unwrap();
        let mut left: Vec<_> = read_dir(&folder.0).unwrap().map(|it| it.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(
            left,
            ["2.sock", "3.sock", "4.sock"],
            "a process may still want to listen on the first of them"
        );
        assert!(remove_leftovers(&path("nothing"), |_| true).is_err());
    }

    #[test]
    fn a_socket_whose_file_is_gone_is_not_in_place() {
        let folder = Folder::new("gone");
        let path = folder.0.join("a.sock");
        let (_fd, bound) = private_path(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(!bound.is_in_place());
        let (_other, _file) = private_path(&path).unwrap();
        assert!(!bound.is_in_place(), "the file is another socket's");
    }

    /// Many processes start over the same leftover socket: one has it, the others are told.
    #[test]
    fn of_many_that_replace_a_leftover_socket_one_has_it() {
        let folder = Folder::new("race");
        let path = folder.0.join("a.sock");
        for round in 0..200 {
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let line = std::sync::Barrier::new(2);
            let try_it = || {
                line.wait();
                private_path(&path)
            };
            let bound = std::thread::scope(|scope| {
                let other = scope.spawn(try_it);
                [try_it(), other.join().unwrap()]
            });
            let (won, lost): (Vec<_>, Vec<_>) = bound.into_iter().partition(Result::is_ok);
            assert!(won.len() <= 1, "round {round}: both have it");
            for error in lost {
                let errno = error.unwrap_err().errno;
                assert!([Errno::EADDRINUSE, Errno::ESTALE].contains(&errno), "round {round}: {errno}");
            }
            for (fd, bound) in won.into_iter().flatten() {
                assert!(bound.is_in_place(), "round {round}: it has lost the path");
                drop(bound);
                drop(fd);
            }
            let _ = std::fs::remove_file(&path);
        }
    }

    #[test]
    fn a_missing_directory_is_reported_as_such() {
        let folder = Folder::new("missing");
        assert_eq!(private_path(&folder.0.join("missing/a.sock")).unwrap_err().errno, Errno::ENOENT);
    }

    #[test]
    fn files_that_are_not_our_sockets_stay() {
        let folder = Folder::new("file");
        let path = folder.0.join("a.sock");
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(private_path(&path).unwrap_err().errno, Errno::EADDRINUSE);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        assert!(private_directory(&path).is_err());
    }

    #[test]
    fn a_name_is_free_again_when_its_socket_is_closed() {
        let name = format!("rcluster-private-{}", std::process::id());
        let fd = private_name(&name).unwrap();
        assert_eq!(private_name(&name).unwrap_err().errno, Errno::EADDRINUSE);
        drop(fd);
        private_name(&name).unwrap();
    }
}
