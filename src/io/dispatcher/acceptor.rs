//! Accepts from a socket that workers also hold, on a thread that may block.
//!
//! Whether accept(2) blocks when no client waits depends on the open file description (`O_NONBLOCK`,
//! `SO_RCVTIMEO`), which every process that holds the socket can change at any time. Also, any of them can
//! accept the client that has just been reported. So the dispatcher never accepts from such a socket itself:
//! it orders this thread to, and does not wait.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use rcluster_sys::closer::{Descriptor, do_not_linger};
use rcluster_sys::error::{Doing, SysError};
use rcluster_sys::listen::{accept, has_client, stop_listening};

/// The maximum number of connections accepted for one order.
const BURST: usize = 64;

/// A result of an order, sent as it occurs.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A connection. More results follow.
    Connection(OwnedFd),
    /// No more clients wait, or the limit is reached. The last result of an order.
    Done,
    /// Accepting failed. The last result of an order.
    Failed(SysError),
}

/// The thread for one socket.
#[derive(Debug)]
pub(super) struct Acceptor {
    socket: Arc<Descriptor>,
    orders: SyncSender<()>,
    /// Whether the last order has not been answered with [`Outcome::Done`] or [`Outcome::Failed`] yet.
    busy: bool,
}

impl Acceptor {
    /// Starts the thread, which calls `tell` with each outcome.
    pub(super) fn start(
        socket: Arc<Descriptor>,
        tell: impl Fn(Outcome) + Send + 'static,
    ) -> Result<Self, SysError> {
        let (orders, queue) = sync_channel::<()>(1);
        let shared = Arc::clone(&socket);
        let thread = std::thread::Builder::new().name("rcluster-slot".into()).stack_size(64 * 1024);
        let run = move || {
            for () in queue {
                carry_out(&shared, &tell);
            }
        };
        thread.spawn(run).doing("starting a thread that accepts")?;
        Ok(Self { socket, orders, busy: false })
    }

    /// Orders the thread to accept all waiting clients, unless such an order is pending.
    pub(super) fn order(&mut self) {
        // The queue has room for one order, and the thread lives as long as this.
        self.busy = self.busy || self.orders.try_send(()).is_ok();
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// The pending order has been answered.
    pub(super) fn answered(&mut self) {
        self.busy = false;
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        // The thread may be blocked forever, and must not accept anything more.
        if self.busy {
            stop_listening(&*self.socket);
        }
    }
}

fn carry_out(socket: &impl AsFd, tell: &impl Fn(Outcome)) {
    for _ in 0..BURST {
        if !has_client(socket) {
            break;
        }
        match accept(socket) {
            // Sent one by one, because the next call may block.
            Ok(Some(connection)) => {
                // It has inherited the options that workers have set on the listening socket, and whichever thread closes
                // it must not be blocked.
                do_not_linger(&connection);
                tell(Outcome::Connection(connection));
            }
            Ok(None) => break,
            Err(error) => return tell(Outcome::Failed(error)),
        }
    }
    tell(Outcome::Done);
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use nix::libc::linger;
    use nix::sys::socket::{getsockopt, setsockopt, sockopt};

    use super::*;
    use rcluster_sys::closer::Closer;

    #[test]
    fn an_order_brings_all_who_wait_and_a_blocked_one_ends_with_the_acceptor() {
        // As if a worker had made the socket blocking and accepted the reported client.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = Arc::new(Descriptor::foreign(listener.into(), &Closer::new()));
        let (tell, outcomes) = channel();
        let blocked = tell.clone();
        let mut acceptor = Acceptor::start(Arc::clone(&socket), move |outcome| {
            tell.send(outcome).unwrap();
        })
        .unwrap();
        let _clients: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        acceptor.order();
        let next = || outcomes.recv_timeout(Duration::from_secs(30)).unwrap();
        for _ in 0..3 {
            assert!(matches!(next(), Outcome::Connection(_)));
        }
        assert!(matches!(next(), Outcome::Done));
        acceptor.answered();
        let other = Arc::clone(&socket);
        let thread = std::thread::spawn(move || {
            blocked.send(accept(&*other).map_or_else(Outcome::Failed, |_| Outcome::Done)).unwrap();
        });
        acceptor.busy = true;
        drop(acceptor);
        assert!(matches!(next(), Outcome::Failed(_)));
        thread.join().unwrap();
    }

    #[test]
    fn a_connection_does_not_linger_whatever_a_worker_has_set_on_the_listening_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        setsockopt(&listener, sockopt::Linger, &linger { l_onoff: 1, l_linger: 3600 }).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (tell, outcomes) = channel();
        carry_out(&listener, &|outcome| tell.send(outcome).unwrap());
        let Ok(Outcome::Connection(connection)) = outcomes.recv() else { panic!("no connection") };
        assert_eq!(getsockopt(&connection, sockopt::Linger).unwrap().l_onoff, 0);
    }
}
