//! The place of the control socket, and who may connect.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::OperatorEvent;
use crate::io::control::messages::{Event, ThreadEvent};
use rcluster_core::control::operator::Place;
use rcluster_sys::error::{Doing, SysError};
use rcluster_sys::listen::BoundPath;
use rcluster_sys::listen::private::{
    Peer, own_user, private_directory, private_name, private_path, remove_leftovers,
};

/// How long accepting pauses after an error, such as a lack of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

const DENIED: &[u8] =
    b"{\"id\":null,\"ok\":false,\"error\":{\"code\":\"ERR_RCLUSTER_DENIED\",\"message\":\"only the \
    primary's user and root may connect, from processes that the primary can see\"}}\n";

/// Accepts clients while it is kept.
#[derive(Debug)]
pub(in crate::io::control) struct Listener(JoinHandle<()>);

impl Listener {
    /// Listens at the first available place. The second value is the socket's file, if it has one. The error
    /// is a warning, or `None` if there is to be no socket.
    pub(super) fn open(
        places: &[Place],
        events: &mpsc::Sender<ThreadEvent>,
    ) -> Result<(Self, Option<BoundPath>), Option<Event>> {
        let mut failure = None;
        for place in places {
            match listen(place) {
                Ok((listener, file)) => return Ok((Self::start(listener, place, events), file)),
                Err(error) => failure = Some((place, error)),
            }
        }
        let warning = |(place, error)| Event::Warning {
            code: "RCLUSTER_CONTROL",
            message: format!(
                "There is no control socket, so the command `rcluster` does not find this cluster: {error} ({place}). The \
                 option control (--control) names another place."
            ),
        };
        Err(failure.map(warning))
    }

    fn start(listener: UnixListener, place: &Place, events: &mpsc::Sender<ThreadEvent>) -> Self {
        let (events, door) =
            (events.clone(), Door { user: own_user(), anybody: matches!(place, Place::Abstract(_)) });
        Self(tokio::task::spawn_local(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) if door.admits(&stream) => {
                        super::send(events.clone(), OperatorEvent::Accepted(stream)).await;
                    }
                    Ok((stream, _)) => {
                        // Sent only if the socket has room for it at once.
                        let _full = stream.try_write(DENIED);
                    }
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
        }))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The rule for who may connect.
#[derive(Clone, Copy)]
struct Door {
    user: u32,
    /// Whether the socket has no file, whose mode would restrict access.
    anybody: bool,
}

impl Door {
    /// The same user and root could send signals to the primary as well. A process in another container that
    /// shares this network namespace could not, and an abstract name has no file mode to keep it out: its
    /// process id is 0 here.
    fn admits(self, stream: &UnixStream) -> bool {
        Peer::of(stream)
            .is_ok_and(|peer| (peer.uid == self.user || peer.uid == 0) && (!self.anybody || peer.pid != 0))
    }
}

fn listen(place: &Place) -> Result<(UnixListener, Option<BoundPath>), SysError> {
    let (fd, file) = match place {
        Place::Abstract(name) => (private_name(name)?, None),
        Place::Path(path) => {
            // The directory for the sockets of several clusters, in the runtime directory of the session.
            let is_ours = |name: &OsStr| name == "rcluster";
            if let Some(folder) = path.parent().filter(|it| it.file_name().is_some_and(is_ours)) {
                private_directory(folder)?;
                remove_leftovers(folder, is_over)?;
            }
            let (fd, file) = private_path(path)?;
            (fd, Some(file))
        }
    };
    Ok((watched(fd)?, file))
}

/// Whether a socket's file has the name that a primary gave it which has ended.
fn is_over(name: &OsStr) -> bool {
    let pid = name.to_str().and_then(|name| name.strip_suffix(".sock")?.parse::<u32>().ok());
    pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

fn watched(fd: OwnedFd) -> Result<UnixListener, SysError> {
    // The socket is created non-blocking.
    UnixListener::from_std(StdListener::from(fd)).doing("watching the control socket")
}
