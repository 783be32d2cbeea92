//! A worker's own address: where it listens by itself.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rcluster_sys::error::SysError;
use rcluster_sys::listen;
use rcluster_sys::socket_diag::listener_owners;
use rcluster_sys::socket_directory::{Owner, WorkerDirectory};
use rcluster_sys::stream::{self, Connecting, Endpoint, Unanswered};

/// How workers are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Each on a TCP port of its own.
    Port,
    /// Each on a unix socket of its own.
    Path,
}

/// Where a worker listens, and whose listener that has to be.
#[derive(Clone, Debug)]
pub enum Target {
    /// On a TCP port, where anybody else could listen before the worker does.
    Port {
        /// Where the primary connects to.
        at: SocketAddrV4,
        /// Whom the worker belongs to.
        owner: Owner,
    },
    /// On a unix socket.
    Path {
        /// A directory that only the worker's user can enter.
        directory: Arc<WorkerDirectory>,
        /// The name of the file in it.
        name: String,
    },
}

impl Target {
    /// What can be connected to, if somebody may listen there. That may be somebody else: see [`Target::confirm`].
    fn endpoint(&self) -> Result<Endpoint, Unanswered> {
        match self {
            Self::Port { at, .. } => Ok(Endpoint::Tcp(SocketAddr::V4(*at))),
            Self::Path { directory, name } => directory.endpoint(name),
        }
    }

    /// Whether it is the worker that listens there. Asked after connecting and before a byte is sent, so that whoever
    /// listens by then is who has accepted, as long as the worker does not close its listener.
    fn confirm(&self) -> Result<(), Unanswered> {
        // At a path nobody else can.
        let Self::Port { at, owner } = self else { return Ok(()) };
        let owners = listener_owners(*at).map_err(Unanswered::Exhausted)?;
        if owners.is_empty() {
            return Err(Unanswered::Absent);
        }
        match owners.into_iter().find(|uid| !owner.may_be(*uid)) {
            Some(uid) => Err(Unanswered::Foreign(uid)),
            None => Ok(()),
        }
    }

    /// Whether the worker listens there just now, found out by connecting.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        let connected = self.endpoint().and_then(|endpoint| stream::begin(&endpoint));
        matches!(connected, Ok(Connecting::Done(_))) && self.confirm().is_ok()
    }
}

/// An address that is set aside for one worker.
///
/// # Design
/// A port is kept by a socket that is bound and does not listen. The system gives it to nobody else, and
/// yet the worker can bind it, once or again, because servers bind with `SO_REUSEADDR`: between two
/// sockets that have it, only one that listens is in the way. And since nobody but the worker listens,
/// connecting fails exactly as long as the worker does not.
///
/// But the system does not ask whose process it is that binds with `SO_REUSEADDR`. So it is looked up who listens, once
/// for as long as nothing says that the listener may be another one.
#[derive(Debug)]
pub struct Own {
    target: Target,
    env: String,
    _reservation: Option<OwnedFd>,
    /// What is connected to, as long as it answers.
    endpoint: Option<Endpoint>,
    /// The worker is known to be who listens there.
    confirmed: bool,
    /// That somebody else does has been told.
    pub(super) foreign_told: bool,
}

impl Own {
    fn new(target: Target, env: &str, reservation: Option<OwnedFd>) -> Self {
        Self {
            target,
            env: env.to_owned(),
            _reservation: reservation,
            endpoint: None,
            confirmed: false,
            foreign_told: false,
        }
    }

    /// A path in the worker's directory.
    pub(super) fn path(directory: Arc<WorkerDirectory>, front: usize, env: &str) -> Self {
        Self::new(Target::Path { directory, name: format!("{front}.sock") }, env, None)
    }

    /// A port, for a worker of this user.
    pub(super) fn port(owner: Owner, env: &str) -> Result<Self, SysError> {
        // On all addresses: a worker may listen on any of them.
        let bound = listen::tcp_anywhere(0, false, None)?;
        let port = bound.sockname.map_or(0, |at| at.port());
        let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        Ok(Self::new(Target::Port { at, owner }, env, Some(bound.fd)))
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
            Target::Port { at, .. } => at.port().to_string(),
            Target::Path { directory, name } => directory.path_of(name).to_string_lossy().into_owned(),
        }
    }

    /// Where the forwarder connects to.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Begins to connect.
    pub(super) fn begin(&mut self) -> Result<Connecting, Unanswered> {
        let endpoint = match &self.endpoint {
            Some(endpoint) => endpoint,
            None => self.endpoint.insert(self.target.endpoint()?),
        };
        stream::begin(endpoint)
    }

    /// Makes sure that it is the worker to which a connection has just been made. Costs something only the first time.
    pub(super) fn confirm(&mut self) -> Result<(), Unanswered> {
        if !self.confirmed {
            self.target.confirm()?;
            self.confirmed = true;
        }
        Ok(())
    }

    /// The worker may have closed its listener: what was known of it does not hold any more.
    pub(super) fn doubt(&mut self) {
        self.endpoint = None;
        self.confirmed = false;
    }

    /// The worker says that it listens. Its file is opened while it is there.
    pub(super) fn announced(&mut self) {
        self.doubt();
        // It may listen at another one of its addresses.
        self.endpoint = self.target.endpoint().ok();
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Target::Path { directory, name } = &self.target {
            // The file is there only if the worker had no time to remove it.
            directory.remove(name);
        }
    }
}
