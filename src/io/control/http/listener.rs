//! The listening socket, and accepting clients.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::clients::Clients;
use super::stream::Stream;
use super::{HttpEvent, client, send};
use crate::io::control::messages::{Event, Tell, ThreadEvent};
use crate::io::control::shared::ControlFile;
use rcluster_core::http::{Address, HostRule, Response};
use rcluster_sys::error::{Doing, SysError};
use rcluster_sys::listen::private::private_path;
use rcluster_sys::listen::tcp;

/// The length of the kernel's accept queue.
const BACKLOG: i32 = 128;

/// How long accepting pauses after an error, such as a lack of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// The interval of retries when the address is not available.
const RETRY: Duration = Duration::from_secs(2);

/// Accepts clients while it is kept. Dropping it also closes their connections.
#[derive(Debug)]
pub(super) struct Listener {
    task: JoinHandle<()>,
    clients: Clients,
}

impl Listener {
    /// Listens at this address and reports it as [`HttpEvent::Listening`]. If that fails, the app is warned
    /// once and it is retried, because another cluster may be about to exit. `file` is set to the socket's
    /// file, if there is one.
    pub(super) fn start(
        address: Address,
        file: ControlFile,
        events: &mpsc::Sender<ThreadEvent>,
        tell: &Tell,
    ) -> Self {
        let clients = Clients::default();
        let (events, accepting) = (events.clone(), clients.clone());
        let mut listening = listen(&address, &file);
        if let Err(error) = &listening {
            let message = format!(
                "Metrics and probes are not served yet: {error} ({address}). It is tried again every {RETRY:?}"
            );
            tell(Event::Warning { code: "RCLUSTER_METRICS_ADDRESS", message });
        }
        let task = tokio::task::spawn_local(async move {
            let socket = loop {
                match listening {
                    Ok(socket) => break socket,
                    Err(_) => tokio::time::sleep(RETRY).await,
                }
                listening = listen(&address, &file);
            };
            let address = socket.address().unwrap_or(address);
            let rule = if address.is_loopback() { HostRule::Local } else { HostRule::Any };
            send(&events, HttpEvent::Listening(address)).await;
            loop {
                match socket.accept().await {
                    Ok(stream) => admit(stream, &accepting, rule, &events),
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
        });
        Self { task, clients }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
        self.clients.close();
    }
}

fn admit(stream: Stream, clients: &Clients, rule: HostRule, events: &mpsc::Sender<ThreadEvent>) {
    let Some(place) = clients.admit() else {
        let response = Response::text(503, "too many clients are being answered");
        // Sent only if the socket has room for it at once.
        let _full = stream.end(&response.encode(false, true, client::wall_clock()));
        return;
    };
    let number = place.number();
    let task = tokio::task::spawn_local(client::serve(stream, place, rule, events.clone()));
    clients.runs(number, task.abort_handle());
}

/// A listening socket.
#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    async fn accept(&self) -> std::io::Result<Stream> {
        match self {
            Self::Tcp(socket) => socket.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(socket) => socket.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }

    /// The actual address, with the port that the system has chosen.
    fn address(&self) -> Option<Address> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok().map(Address::Tcp),
            Self::Unix(_) => None,
        }
    }
}

fn listen(address: &Address, file: &ControlFile) -> Result<Socket, SysError> {
    let doing = "watching the socket for metrics";
    match address {
        Address::Tcp(address) => {
            let fd: OwnedFd = tcp(*address, false, Some(BACKLOG))?.fd;
            TcpListener::from_std(fd.into()).doing(doing).map(Socket::Tcp)
        }
        Address::Unix(path) => {
            let (fd, bound) = private_path(path)?;
            // The socket is created non-blocking.
            let socket = UnixListener::from_std(StdUnixListener::from(fd)).doing(doing)?;
            file.set(Some(bound));
            Ok(Socket::Unix(socket))
        }
    }
}
