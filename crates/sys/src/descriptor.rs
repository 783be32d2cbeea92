//! Descriptors in general: duplicating them, adopting numbers, and creating new ones to pass on.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::error::{Doing, SysError};

/// A second descriptor for the same open file, close-on-exec.
pub fn duplicate(fd: &impl AsFd) -> Result<OwnedFd, SysError> {
    fd.as_fd().try_clone_to_owned().doing("duplicating a descriptor")
}

/// A second descriptor for what is open under a number, close-on-exec. EBADF if nothing is.
pub fn duplicate_number(number: RawFd) -> Result<OwnedFd, SysError> {
    // SAFETY: duplicating touches no memory and does not affect the owner of the number.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    let copy = Errno::result(copy).doing("duplicating a descriptor")?;
    // SAFETY: the descriptor is new and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Takes ownership of a descriptor by its number: one that this process has inherited, or one that JavaScript
/// hands over. From here on it is close-on-exec, and only its owner closes it.
///
/// EBADF if nothing is open under the number.
pub fn adopt(number: RawFd) -> Result<OwnedFd, SysError> {
    let doing = "taking over a descriptor";
    if number < 0 {
        return Err(Errno::EBADF).doing(doing);
    }
    // SAFETY: setting a flag on a number touches no memory.
    let status = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    Errno::result(status).doing(doing)?;
    // SAFETY: the number is open. Before: the caller's, which gives it up with this call. After: the
    // OwnedFd's.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Replaces the file that is open under a number. The number keeps its owner, and becomes close-on-exec.
///
/// EBADF if nothing is open under the number.
pub fn replace(number: RawFd, with: &OwnedFd) -> Result<(), SysError> {
    let doing = "replacing a descriptor";
    // SAFETY: reading a flag of a number touches no memory.
    Errno::result(unsafe { libc::fcntl(number, libc::F_GETFD) }).doing(doing)?;
    // SAFETY: the number stays open and keeps its owner, which gives up the file that was open under it with
    // this call. `with` keeps its owner.
    Errno::result(unsafe { libc::dup3(with.as_raw_fd(), number, libc::O_CLOEXEC) }).doing(doing)?;
    Ok(())
}

/// The number of bytes that wait to be read on the socket with this number.
pub fn unread(number: RawFd) -> Result<u32, SysError> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int to the given address and changes nothing else.
    let status = unsafe { libc::ioctl(number, libc::FIONREAD, &raw mut count) };
    Errno::result(status).doing("counting what waits to be read")?;
    Ok(u32::try_from(count).unwrap_or(0))
}

/// A stream socket that is neither bound nor connected: TCP or Unix.
pub fn blank_socket(tcp: bool) -> Result<OwnedFd, SysError> {
    let family = if tcp { AddressFamily::Inet } else { AddressFamily::Unix };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(family, SockType::Stream, flags, None).doing("making a socket")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe_end() -> OwnedFd {
        std::io::pipe().expect("a pipe").0.into()
    }

    #[test]
    fn a_descriptor_that_is_replaced_keeps_its_number() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let target = pipe_end();
        let number = target.as_raw_fd();
        replace(number, &reader.into()).unwrap();
        std::io::Write::write_all(&mut writer, b"x").unwrap();
        let mut byte = [0];
        std::io::Read::read_exact(&mut std::fs::File::from(target), &mut byte).unwrap();
        assert_eq!(byte, *b"x");
        // A number that is not open in any test.
        assert_eq!(replace(1_000_000, &pipe_end()).unwrap_err().errno, Errno::EBADF);
    }
}
