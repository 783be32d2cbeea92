//! A connection over TCP or a Unix socket.

use std::io::ErrorKind;

use tokio::net::{TcpStream, UnixStream};

use crate::io::fairness::fairly;
use rcluster_sys::client::send_last;

/// See the module documentation.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Waits for bytes and appends at most `most` of them. 0 means the end of the stream.
    pub(super) async fn read(&self, bytes: &mut Vec<u8>, most: usize) -> std::io::Result<usize> {
        let start = bytes.len();
        loop {
            let read = match self {
                Self::Tcp(stream) => {
                    fairly(stream.readable()).await?;
                    bytes.resize(start + most, 0);
                    stream.try_read(&mut bytes[start..])
                }
                Self::Unix(stream) => {
                    fairly(stream.readable()).await?;
                    bytes.resize(start + most, 0);
                    stream.try_read(&mut bytes[start..])
                }
            };
            bytes.truncate(start + *read.as_ref().unwrap_or(&0));
            match read {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }

    /// Writes everything, without a time limit.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            let written = match self {
                Self::Tcp(stream) => {
                    fairly(stream.writable()).await?;
                    stream.try_write(bytes)
                }
                Self::Unix(stream) => {
                    fairly(stream.writable()).await?;
                    stream.try_write(bytes)
                }
            };
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes the bytes if they fit into the socket at once, and then shuts down writing.
    pub(super) fn end(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Tcp(stream) => send_last(stream, bytes),
            Self::Unix(stream) => send_last(stream, bytes),
        }
    }
}
