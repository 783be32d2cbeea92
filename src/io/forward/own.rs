//! A worker's own address, on which it listens by itself.

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
    /// Each worker on its own TCP port.
    Port,
    /// Each worker on its own Unix socket.
    Path,
}

/// The address of a worker, and who must be listening there.
#[derive(Clone, Debug)]
pub enum Target {
    /// A TCP port, on which another process could listen before the worker does.
    Port {
        /// The address that the primary connects to.
        at: SocketAddrV4,
        /// The user of the worker.
        owner: Owner,
    },
    /// A Unix socket.
    Path {
        /// A directory that only the worker's user can enter.
        directory: Arc<WorkerDirectory>,
        /// The name of the file in the directory.
        name: String,
    },
}

impl Target {
    /// The endpoint to connect to, if there may be a listener. That may be another process: see
    /// [`Target::confirm`].
    fn endpoint(&self) -> Result<Endpoint, Unanswered> {
        match self {
            Self::Port { at, .. } => Ok(Endpoint::Tcp(SocketAddr::V4(*at))),
            Self::Path { directory, name } => directory.endpoint(name),
        }
    }

    /// Checks that the worker is the one that listens there. Called after connecting and before a byte is
    /// sent, so the listener found is the one that has accepted, unless the worker has closed its own.
    fn confirm(&self) -> Result<(), Unanswered> {
        // Other users cannot listen on the path.
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

    /// Whether the worker listens there now, tested by connecting.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        let connected = self.endpoint().and_then(|endpoint| stream::begin(&endpoint));
        matches!(connected, Ok(Connecting::Done(_))) && self.confirm().is_ok()
    }
}

/// An address that is reserved for one worker.
///
/// # Design
/// A port is reserved by a socket that is bound and does not listen. The kernel assigns it to no other
/// socket, but the worker can still bind it, repeatedly, because servers bind with `SO_REUSEADDR`: only a
/// listening socket conflicts. And since no process but the worker listens, connecting fails exactly as long
/// as the worker does not listen.
///
/// However, the kernel does not check which process binds with `SO_REUSEADDR`. So the owner of the listener
/// is looked up, once for as long as nothing indicates that the listener may have changed.
#[derive(Debug)]
pub struct Own {
    target: Target,
    env: String,
    _reservation: Option<OwnedFd>,
    /// The endpoint to connect to, while connecting succeeds.
    endpoint: Option<Endpoint>,
    /// Whether the listener is known to be the worker's.
    confirmed: bool,
    /// Whether another user's listener has been reported.
    foreign_told: bool,
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
        // On all addresses, because a worker may listen on any of them.
        let bound = listen::tcp_anywhere(0, false, None)?;
        let port = bound.sockname.map_or(0, |at| at.port());
        let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        Ok(Self::new(Target::Port { at, owner }, env, Some(bound.fd)))
    }

    /// The environment variable that contains it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.env
    }

    /// The value of the variable: a port or a path.
    #[must_use]
    pub fn value(&self) -> String {
        match &self.target {
            Target::Port { at, .. } => at.port().to_string(),
            Target::Path { directory, name } => directory.path_of(name).to_string_lossy().into_owned(),
        }
    }

    /// The address that the forwarder connects to.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Starts connecting.
    pub(super) fn begin(&mut self) -> Result<Connecting, Unanswered> {
        let endpoint = match &self.endpoint {
            Some(endpoint) => endpoint,
            None => self.endpoint.insert(self.target.endpoint()?),
        };
        stream::begin(endpoint)
    }

    /// Checks that a connection just made is to the worker. The lookup is done only once.
    pub(super) fn confirm(&mut self) -> Result<(), Unanswered> {
        if !self.confirmed {
            self.target.confirm()?;
            self.confirmed = true;
        }
        Ok(())
    }

    /// Whether it is a TCP port.
    pub(super) fn is_on_port(&self) -> bool {
        matches!(self.target, Target::Port { .. })
    }

    /// Another user's process listens there. Returns false if that has been reported before.
    pub(super) fn is_foreign_news(&mut self) -> bool {
        !std::mem::replace(&mut self.foreign_told, true)
    }

    /// The worker may have closed its listener: forgets what was known of it.
    pub(super) fn doubt(&mut self) {
        self.endpoint = None;
        self.confirmed = false;
    }

    /// The worker has reported that it listens. Opens the file of its socket while it is there.
    pub(super) fn announced(&mut self) {
        self.doubt();
        // It may listen on another one of its addresses.
        self.endpoint = self.target.endpoint().ok();
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Target::Path { directory, name } = &self.target {
            // The file still exists only if the worker had no time to remove it.
            directory.remove(name);
        }
    }
}
