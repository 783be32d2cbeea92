//! The file of a unix socket: made by binding, opened to everybody if asked, removed at the end.

use std::ffi::OsStr;
use std::fs;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::libc;
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};

use super::Access;
use crate::error::{Doing, SysError};

/// A socket's file, removed on drop: it would keep the next one from binding there.
///
/// Only the very file that was made is removed. When another service has taken the path over
/// since, as a restarted one does that removes the old file first, that file stays. To tell them
/// apart this has to be dropped before the socket is closed: until then the system gives the
/// number of the file to no other.
#[derive(Debug)]
pub struct BoundPath {
    /// Absolute, for the process may change its directory before it is time to remove it.
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Binds a socket. There is no file for an abstract name.
pub(super) fn bind(fd: &OwnedFd, path: &Path, everybody: Access) -> Result<Option<BoundPath>, SysError> {
    let name = path.as_os_str();
    bind_name(fd, name).doing("binding a unix socket")?;
    if name.as_bytes().starts_with(b"\0") {
        return Ok(None);
    }
    let made = fs::symlink_metadata(path).doing("looking at a socket's file")?;
    let absolute = std::path::absolute(path).doing("looking at a socket's path")?;
    let bound = BoundPath { path: absolute, device: made.dev(), inode: made.ino() };
    open_to(path, everybody).doing("opening a socket to everybody")?;
    Ok(Some(bound))
}

fn bind_name(fd: &OwnedFd, name: &OsStr) -> nix::Result<()> {
    // SAFETY: all of sockaddr_un is numbers, for which zero is a value.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    // Neither nix nor std fills the last byte of it, which Linux and Node do.
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
    match Errno::result(answer) {
        Ok(_) => Ok(()),
        // libuv's translation: a missing directory looks on Linux as it does on Windows.
        Err(Errno::ENOENT) => Err(Errno::EACCES),
        Err(errno) => Err(errno),
    }
}

/// Sets the mode of the file, if everybody may do anything. As with libuv since Node 22 it is the
/// whole mode then: with `readable` alone not even the owner may connect.
fn open_to(path: &Path, everybody: Access) -> nix::Result<()> {
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
    // Not through a link that somebody may have put there in the meantime.
    fchmodat(AT_FDCWD, path, mode, FchmodatFlags::NoFollowSymlink)
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| found.dev() == self.device && found.ino() == self.inode);
        if ours {
            // Nobody is left who could be told, and the socket itself closes in any case.
            drop(fs::remove_file(&self.path));
        }
    }
}
