//! Stores with a server, on the thread of the connections to servers.
//!
//! With a thread of their own, each write and each change would have to wake two threads between a process and its
//! server. All other stores, locks and messages stay on the thread of the stores, so that loading a large store from a
//! server does not delay them.
//!
//! Both threads run a [`Shell`]. Every request to open a store goes to the thread of the stores, which forwards it if the
//! store has a server.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::yield_now;
use tokio::time::sleep;

use super::refusal::Refusal;
use super::settings::MAX_NAME;
use super::shell::Shell;
use super::stores::MAX_STORES;
use super::{Answer, Command, Hub, Open, Resource};
use crate::io::clock::microseconds;
use crate::io::redis::runtime;
use rcluster_core::control::operator::StoreStatus;
use rcluster_core::exchange::roster::Roster;
use rcluster_core::store::remote::messages::Output;
use rcluster_sys::async_fd::watch;
use rcluster_sys::clock::since_boot;
use rcluster_sys::descriptor::duplicate;
use rcluster_sys::epoll::Waker;
use rcluster_sys::error::{Doing, SysError};

/// How long requests are answered before other events are polled.
const SPELL: Duration = Duration::from_millis(1);

/// How often events are polled for before requests are answered. A process can write to its bell again and again, so
/// there may always be another event.
const POLLS: usize = 16;

/// Answers and events from the server of a store.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) store: String,
    pub(super) outputs: Vec<Output>,
}

pub(super) type Deliveries = UnboundedSender<Served>;

/// The thread that a [`Shell`] runs on.
#[derive(Debug)]
pub(super) enum Place {
    /// The thread of the stores, with the names of the stores on the other thread.
    Stores { elsewhere: HashSet<String>, hub: Option<Hub> },
    /// The thread of the connections to servers, whose answers and events go into this channel.
    Servers(Deliveries),
}

impl Default for Place {
    fn default() -> Self {
        Self::Stores { elsewhere: HashSet::new(), hub: None }
    }
}

impl Place {
    /// Whether a store is on the other thread.
    pub(super) fn has(&self, name: &str) -> bool {
        matches!(self, Self::Stores { elsewhere, .. } if elsewhere.contains(name))
    }

    /// Forwards a request for a store that belongs to the other thread, and returns any other.
    pub(super) fn forward(
        &mut self,
        open: Open,
        has_here: impl Fn(&str) -> bool,
    ) -> Result<Option<Open>, (OwnedFd, Refusal)> {
        let Self::Stores { elsewhere, hub } = self else { return Ok(Some(open)) };
        let (name, options) = match &open.resource {
            Resource::Store { name, options } | Resource::Kept { name, options, .. } => (name, options),
            Resource::Locks | Resource::Exchange => return Ok(Some(open)),
        };
        // Tallies are local to the machine.
        if options.tallies || has_here(name) || name.len() > MAX_NAME {
            return Ok(Some(open));
        }
        if !elsewhere.contains(name) {
            if options.backend.is_none() {
                return Ok(Some(open));
            }
            if elsewhere.len() >= MAX_STORES {
                return Err((open.socket, Refusal::too_many_stores("The cluster", MAX_STORES)));
            }
        }
        let hub = match hub {
            Some(hub) => hub,
            None => match start() {
                Ok(started) => hub.insert(started),
                Err(error) => return Err((open.socket, error.into())),
            },
        };
        elsewhere.insert(name.clone());
        hub.tell(Command::Open(open));
        Ok(None)
    }

    /// Answers with these stores and those of the other thread.
    pub(super) fn report(&self, mut all: Vec<StoreStatus>, Answer(then): Answer) {
        let finish = move |more: Vec<StoreStatus>| {
            all.extend(more);
            all.sort_by(|one, other| one.name.cmp(&other.name));
            then(all);
        };
        match self {
            Self::Stores { hub: Some(hub), .. } => hub.tell(Command::Report(Answer(Box::new(finish)))),
            _ => finish(Vec::new()),
        }
    }

    /// The channel for answers and events of servers.
    pub(super) fn deliveries(&self) -> Result<Deliveries, SysError> {
        match self {
            Self::Servers(deliveries) => Ok(deliveries.clone()),
            Self::Stores { .. } => Err(SysError::invalid("making a store with a server")),
        }
    }
}

/// Starts the shell on the thread of the connections.
fn start() -> Result<Hub, SysError> {
    let waker = Waker::new()?;
    let (commands, queue) = channel();
    let hub = Hub { commands, waker };
    let (deliveries, served) = unbounded_channel();
    // The exchange of messages is on the thread of the stores only.
    let shell = Shell::new(hub.clone(), queue, Roster::new(), Place::Servers(deliveries))?;
    let runtime = runtime()?;
    let news = {
        let _entered = runtime.enter();
        watch(Arc::new(duplicate(&shell.poller)?), Interest::READABLE, "watching an epoll instance")?
    };
    runtime.spawn(async move {
        // When this ends, the sockets of all processes that use its stores are closed.
        let _told_by_the_sockets = run(shell, news, served).await;
    });
    Ok(hub)
}

async fn run(
    mut shell: Shell,
    news: AsyncFd<Arc<OwnedFd>>,
    mut served: UnboundedReceiver<Served>,
) -> Result<(), SysError> {
    let mut has_polled_all = false;
    loop {
        let sleeps = work(&mut shell, &mut served).await && has_polled_all;
        let timeout = if sleeps { shell.next_deadline() } else { Some(Duration::ZERO) };
        tokio::select! {
            biased;
            ready = news.readable() => {
                let mut ready = ready.doing("waiting for events")?;
                ready.clear_ready();
            }
            delivery = served.recv() => {
                if let Some(delivery) = delivery {
                    shell.on_served(delivery);
                }
            }
            () = sleep(timeout.unwrap_or_default()), if timeout.is_some() => {}
        }
        // Readiness is reported once, so all events have to be taken before this waits for it.
        has_polled_all = false;
        for _ in 0..POLLS {
            let events = shell.poller.wait(Some(Duration::ZERO))?;
            shell.on_awake(events);
            if events == 0 {
                has_polled_all = true;
                break;
            }
        }
    }
}

/// Answers requests and handles events of servers. Returns true when nothing is left and all clients know
/// that this thread sleeps, and false when it is time to poll for other events.
async fn work(shell: &mut Shell, served: &mut UnboundedReceiver<Served>) -> bool {
    let end = since_boot() + SPELL;
    loop {
        let mut is_busy = false;
        while let Ok(delivery) = served.try_recv() {
            shell.on_served(delivery);
            is_busy = true;
        }
        is_busy |= shell.serve();
        let now = since_boot();
        if is_busy {
            // A process that was notified of a change may write soon.
            shell.linger.on_answered(microseconds(now));
        }
        if now >= end {
            return false;
        }
        if !(is_busy || shell.linger.is_worthwhile(microseconds(now))) && shell.sleep() {
            shell.linger.on_sleep();
            return true;
        }
        // The connections to servers are on this thread as well.
        yield_now().await;
    }
}
