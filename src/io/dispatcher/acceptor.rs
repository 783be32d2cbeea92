//! Accepting from a socket that workers hold as well, on a thread that may block.
//!
//! Whether accept(2) blocks when nobody waits is a matter of the open socket (`O_NONBLOCK`, `SO_RCVTIMEO`), which any
//! process that holds it can change at any moment, and any of them may take the client that has just been announced.
//! So the dispatcher never accepts from such a socket itself. It orders it, and goes on.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use rcluster_sys::closer::Descriptor;
use rcluster_sys::error::{Doing, SysError};
use rcluster_sys::listen::{accept, has_client, stop_listening};

/// How many connections one order brings at the most.
const BURST: usize = 64;

/// What came of an order, as it comes.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A connection; there may be more.
    Connection(OwnedFd),
    /// Nobody waits any more, or it was enough for one order. The last of an order.
    Done,
    /// It cannot be done. The last of an order.
    Failed(SysError),
}

/// The thread for one socket.
#[derive(Debug)]
pub(super) struct Acceptor {
    socket: Arc<Descriptor>,
    orders: SyncSender<()>,
    /// Its last order has not been answered by [`Outcome::Done`] or [`Outcome::Failed`].
    busy: bool,
}

impl Acceptor {
    /// Starts the thread, on which `tell` is called with each outcome.
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

    /// Orders to accept whoever waits, unless that has been ordered already.
    pub(super) fn order(&mut self) {
        // There is room for one order, and the thread lives as long as this.
        self.busy = self.busy || self.orders.try_send(()).is_ok();
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Its order has been answered.
    pub(super) fn answered(&mut self) {
        self.busy = false;
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        // It may be blocked for ever; nobody is to be accepted here any more.
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
            // Each at once: the next call may block.
            Ok(Some(connection)) => tell(Outcome::Connection(connection)),
            Ok(None) => break,
            // That client is gone, the next one is as good as any.
            Err(error) if error.is_of_the_connection() => {}
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

    use super::*;
    use rcluster_sys::closer::Closer;

    #[test]
    fn an_order_brings_all_who_wait_and_a_blocked_one_ends_with_the_acceptor() {
        // As if a worker had made it blocking, and taken the client that was announced.
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
}
