//! A worker's own address: where it listens by itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::core::ids::WorkerId;
use crate::sys::error::SysError;
use crate::sys::listen;
use crate::sys::stream::Target;

/// How workers are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Each on a TCP port of its own.
    Port,
    /// Each on a unix socket of its own.
    Path,
}

/// An address that is set aside for one worker.
///
/// # Design
/// A port is kept by a socket that is bound and does not listen. The system gives it to nobody else, and
/// yet the worker can bind it, once or again, because servers bind with `SO_REUSEADDR`: between two
/// sockets that have it, only one that listens is in the way. And since nobody but the worker listens,
/// connecting fails exactly as long as the worker does not.
#[derive(Debug)]
pub struct Own {
    pub(super) target: Target,
    env: String,
    _reservation: Option<OwnedFd>,
}

impl Own {
    /// A path in the directory, or a port if there is none.
    pub(super) fn reserve(
        worker: WorkerId,
        front: usize,
        env: &str,
        directory: Option<&Path>,
    ) -> Result<Self, SysError> {
        let env = env.to_owned();
        if let Some(directory) = directory {
            let path = directory.join(format!("{}-{front}.sock", worker.0));
            return Ok(Self { target: Target::Path(path), env, _reservation: None });
        }
        // On all addresses: a worker may listen on any of them.
        let bound = listen::tcp_anywhere(0, false, None)?;
        let port = bound.sockname.map_or(0, |at| at.port());
        let target = Target::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        Ok(Self { target, env, _reservation: Some(bound.fd) })
    }

    /// The environment variable that tells it to the worker.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.env
    }

    /// What the variable says: a port, or a path.
    #[must_use]
    pub fn value(&self) -> String {
        match &self.target {
            Target::Tcp(at) => at.port().to_string(),
            Target::Path(path) => path.to_string_lossy().into_owned(),
        }
    }

    /// Where the forwarder connects to.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Target::Path(path) = &self.target {
            // The file is there only if the worker had no time to remove it.
            let _ = std::fs::remove_file(path);
        }
    }
}
