//! Writes to a stdout or stderr that is shared with other processes, without blocking on its reader.
//!
//! `O_NONBLOCK` belongs to the open file, which the parent and other processes share: setting it would break
//! programs that do not expect it. So a pipe or a terminal is opened again, which gives an open file of our
//! own; a socket has a flag for each call; a regular file does not block.

use std::io::IsTerminal as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::write;

use super::descriptor::duplicate;
use super::error::{Doing, SysError};

/// A pipe takes this many bytes atomically: output of other processes is not mixed in.
const PIECE: usize = libc::PIPE_BUF;
/// The number of bytes written to a file at a time.
const FILE_PIECE: usize = 64 << 10;
/// The number of bytes that a terminal accepts if it polls as writable.
const TERMINAL_PIECE: usize = 256;

/// The destination of lines.
#[derive(Debug)]
pub struct Output {
    fd: OwnedFd,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A file.
    File,
    /// A pipe or terminal that has been opened again, non-blocking.
    Own,
    /// A socket.
    Socket,
    /// Anything that cannot be opened again. It is polled before each write.
    Shared,
    /// The same for a terminal.
    SharedTerminal,
}

/// The result of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// The number of bytes written.
    Some(usize),
    /// There is no room now.
    Full,
}

impl Output {
    /// Creates an output for an open descriptor.
    pub fn of(fd: impl AsFd) -> Result<Self, SysError> {
        let fd = duplicate(&fd)?;
        let found = fstat(&fd).doing("looking at an output")?;
        let kind = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT;
        let terminal = fd.is_terminal();
        if kind == SFlag::S_IFREG {
            return Ok(Self { fd, kind: Kind::File });
        }
        if kind == SFlag::S_IFSOCK {
            return Ok(Self { fd, kind: Kind::Socket });
        }
        if kind == SFlag::S_IFIFO || terminal {
            // Fails if the file belongs to another user, or has no reader.
            if let Ok(own) = open_again(fd.as_fd()) {
                return Ok(Self { fd: own, kind: Kind::Own });
            }
        }
        Ok(Self { fd, kind: if terminal { Kind::SharedTerminal } else { Kind::Shared } })
    }

    /// The number of bytes to write at a time. Shorter lines are not mixed with output of other processes.
    #[must_use]
    pub fn piece(&self) -> usize {
        if self.kind == Kind::File { FILE_PIECE } else { PIECE }
    }

    /// Writes at least some of the bytes, if there is room.
    pub fn write(&self, bytes: &[u8]) -> Result<Wrote, SysError> {
        let written = match self.kind {
            Kind::File | Kind::Own => write(&self.fd, bytes),
            Kind::Socket => send(self.fd.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
            Kind::Shared | Kind::SharedTerminal => {
                if !self.has_room() {
                    return Ok(Wrote::Full);
                }
                let most = if self.kind == Kind::Shared { PIECE } else { TERMINAL_PIECE };
                write(&self.fd, &bytes[..bytes.len().min(most)])
            }
        };
        match written {
            Ok(count) => Ok(Wrote::Some(count)),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Wrote::Full),
            Err(errno) => Err(errno).doing("writing what workers have written"),
        }
    }

    fn has_room(&self) -> bool {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)];
        // If polling fails, the write reports the error.
        let _ = poll(&mut fds, PollTimeout::ZERO);
        fds[0].revents().is_none_or(|events| !events.is_empty())
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens the file again.
fn open_again(fd: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    open(path.as_str(), flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};
    use std::os::unix::net::UnixStream;

    use nix::fcntl::{FcntlArg, fcntl};

    use super::*;

    fn is_blocking(fd: impl AsFd) -> bool {
        !OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK)
    }

    /// Writes until there is no room.
    fn fill(output: &Output) -> usize {
        let mut count = 0;
        loop {
            match output.write(&[b'x'; PIECE]).unwrap() {
                Wrote::Some(written) => count += written,
                Wrote::Full => return count,
            }
        }
    }

    #[test]
    fn a_full_pipe_does_not_block_and_is_unchanged_for_others() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let output = Output::of(&writer).unwrap();
        assert_eq!(output.kind, Kind::Own);
        let count = fill(&output);
        assert!(count >= PIECE && is_blocking(&writer));
        let mut all = vec![0; count];
        reader.read_exact(&mut all).unwrap();
        assert_eq!(output.write(b"more\n"), Ok(Wrote::Some(5)));
        drop(reader);
        assert_eq!(output.write(b"more\n").unwrap_err().errno, Errno::EPIPE);
    }

    #[test]
    fn what_cannot_be_opened_again_is_polled_first() {
        let (reader, writer) = std::io::pipe().unwrap();
        let output = Output { fd: duplicate(&writer).unwrap(), kind: Kind::Shared };
        assert!(fill(&output) >= PIECE && is_blocking(&writer));
        drop(reader);
        assert_eq!(output.write(b"more\n").unwrap_err().errno, Errno::EPIPE);
    }

    #[test]
    fn a_socket_does_not_block() {
        let (reader, writer) = UnixStream::pair().unwrap();
        let output = Output::of(&writer).unwrap();
        assert_eq!(output.kind, Kind::Socket);
        assert!(fill(&output) > 0 && is_blocking(&writer));
        drop(reader);
        assert!(output.write(b"more\n").unwrap_err().is_peer_gone());
    }

    #[test]
    fn a_file_is_written_at_the_shared_position() {
        let name = format!("rcluster-output-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let options =
            || std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let mut file = options().open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let output = Output::of(&file).unwrap();
        std::io::Write::write_all(&mut file, b"one\n").unwrap();
        assert_eq!(output.write(b"two\n"), Ok(Wrote::Some(4)));
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\n");
    }

    #[test]
    fn the_null_device_accepts_everything() {
        let null = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
        assert_eq!(Output::of(&null).unwrap().write(b"one\n"), Ok(Wrote::Some(4)));
    }
}
