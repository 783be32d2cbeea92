//! Pipes for reading the output of another process.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, read};

use super::error::{Doing, SysError};

/// A pipe for a process's output: our end, which is non-blocking, and the child's, which blocks, because
/// programs expect that of stdout. Unlike a socket, it can be opened again as `/dev/stderr`.
pub fn pipe_from() -> Result<(OwnedFd, OwnedFd), SysError> {
    let doing = "making a pipe from a process";
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC).doing(doing)?;
    // The ends are two open files: the other one stays blocking.
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).doing(doing)?;
    Ok((ours, theirs))
}

/// Reads what is there, at most as much as there is room for; 0 at the end. `None` if there is nothing now.
pub fn read_some(from: impl AsFd, room: &mut [u8]) -> Result<Option<usize>, SysError> {
    loop {
        return match read(from.as_fd(), room) {
            Ok(count) => Ok(Some(count)),
            Err(Errno::EAGAIN) => Ok(None),
            Err(Errno::EINTR) => continue,
            Err(errno) => Err(errno).doing("reading from a process"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn available_bytes_are_read_without_waiting() {
        let (ours, theirs) = pipe_from().unwrap();
        let mut room = [0; 4];
        assert_eq!(read_some(&ours, &mut room), Ok(None));
        let mut theirs = std::fs::File::from(theirs);
        theirs.write_all(b"hello").unwrap();
        assert_eq!(read_some(&ours, &mut room), Ok(Some(4)));
        drop(theirs);
        assert_eq!(read_some(&ours, &mut room), Ok(Some(1)));
        assert_eq!(read_some(&ours, &mut room), Ok(Some(0)));
    }

    #[test]
    fn the_end_of_the_other_process_blocks() {
        let (_ours, theirs) = pipe_from().unwrap();
        let flags = OFlag::from_bits_retain(fcntl(&theirs, FcntlArg::F_GETFL).unwrap());
        assert!(!flags.contains(OFlag::O_NONBLOCK));
    }
}
