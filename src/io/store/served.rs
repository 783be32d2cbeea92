//! Stores with a server, on the thread of the connections to servers.
//!
//! With a thread of their own, each write and each change would have to wake two threads between a process and its
//! server. All other stores, locks and messages stay on the thread of the stores, so that loading a large store from a
//! server does not delay them.
//!
//! Both threads run a [`Shell`]. Every request to open a store goes to the thread of the stores, which forwards it if the
//! store has a server.

use std::collections::HashMap;
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
use rcluster_sys::closer::Descriptor;
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
    Stores { elsewhere: Elsewhere, hub: Option<Hub> },
    /// The thread of the connections to servers, whose answers and events go into this channel, and the thread of the
    /// stores.
    Servers { deliveries: Deliveries, stores: Hub },
}

/// The names of stores that are, or are about to be, on the other thread, with the number of requests for each that
/// were forwarded and not refused for lack of a store.
///
/// A request may be forwarded while the refusal of an earlier one is on its way back. So a refusal takes back one
/// request, and the name goes with the last of them.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(HashMap<String, u64>);

impl Elsewhere {
    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn is_full(&self) -> bool {
        self.0.len() >= MAX_STORES
    }

    fn on_forwarded(&mut self, name: String) {
        *self.0.entry(name).or_default() += 1;
    }

    fn on_refused(&mut self, name: &str) {
        if let Some(requests) = self.0.get_mut(name) {
            *requests -= 1;
            if *requests == 0 {
                self.0.remove(name);
            }
        }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::Stores { elsewhere: Elsewhere::default(), hub: None }
    }
}

impl Place {
    /// Whether a store is on the other thread.
    pub(super) fn has(&self, name: &str) -> bool {
        matches!(self, Self::Stores { elsewhere, .. } if elsewhere.has(name))
    }

    /// Forwards a request for a store that belongs to the other thread, and returns any other.
    pub(super) fn forward(
        &mut self,
        open: Open,
        here: &Hub,
        has_here: impl Fn(&str) -> bool,
    ) -> Result<Option<Open>, (Descriptor, Refusal)> {
        let Self::Stores { elsewhere, hub } = self else { return Ok(Some(open)) };
        let (name, options) = match &open.resource {
            Resource::Store { name, options } | Resource::Kept { name, options, .. } => (name, options),
            Resource::Locks | Resource::Exchange => return Ok(Some(open)),
        };
        // Tallies are local to the machine.
        if options.tallies || has_here(name) || name.len() > MAX_NAME {
            return Ok(Some(open));
        }
        if !elsewhere.has(name) {
            if options.backend.is_none() {
                return Ok(Some(open));
            }
            if elsewhere.is_full() {
                return Err((open.socket, Refusal::too_many_stores("The cluster", MAX_STORES)));
            }
        }
        let hub = match hub {
            Some(hub) => hub,
            None => match start(here.clone()) {
                Ok(started) => hub.insert(started),
                Err(error) => return Err((open.socket, error.into())),
            },
        };
        elsewhere.on_forwarded(name.clone());
        hub.tell(Command::Open(open));
        Ok(None)
    }

    /// A request for a store was refused on this thread, which has no store with this name.
    pub(super) fn on_refused(&self, name: String) {
        if let Self::Servers { stores, .. } = self {
            stores.tell(Command::Refused(name));
        }
    }

    /// The other thread has refused a request, and has no store with this name.
    pub(super) fn on_refused_elsewhere(&mut self, name: &str) {
        if let Self::Stores { elsewhere, .. } = self {
            elsewhere.on_refused(name);
        }
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
            Self::Servers { deliveries, .. } => Ok(deliveries.clone()),
            Self::Stores { .. } => Err(SysError::invalid("making a store with a server")),
        }
    }
}

/// Starts the shell on the thread of the connections. `stores` is the thread of the stores.
fn start(stores: Hub) -> Result<Hub, SysError> {
    let waker = Waker::new()?;
    let (commands, queue) = channel();
    let hub = Hub { commands, waker };
    let (deliveries, served) = unbounded_channel();
    // The exchange of messages is on the thread of the stores only.
    let shell = Shell::new(hub.clone(), queue, Roster::new(), Place::Servers { deliveries, stores })?;
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

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use rcluster_core::frames::StoreOptions;
    use rcluster_core::ids::WorkerId;
    use rcluster_sys::closer::Closer;
    use rcluster_sys::passing::{Received, Sent, message_pair, receive, send, wait_for_message};
    use rcluster_testing::lingering;
    use serde_json::{Value, json};

    use super::*;
    use crate::io::store::open;

    /// Asks for a store with a server as a worker, in vain, and returns its end of the socket and the message.
    fn refused(name: &str, options: &Value) -> (OwnedFd, String) {
        let (ours, theirs) = message_pair().unwrap();
        let options: StoreOptions = serde_json::from_value(options.clone()).unwrap();
        let worker = Some((WorkerId(6_000_001), Closer::new()));
        open(Open::new(Resource::Store { name: name.into(), options }, theirs, worker)).unwrap();
        let mut bytes = [0; 4096];
        assert!(wait_for_message(ours.as_fd(), Duration::from_secs(30)).unwrap(), "an answer");
        let received = receive(ours.as_fd(), &mut bytes, &mut Vec::new()).unwrap();
        let Received::Message { len, .. } = received else { panic!("{name}: {received:?}") };
        (ours, serde_json::from_slice::<Value>(&bytes[..len]).unwrap()["message"].to_string())
    }

    #[test]
    fn a_name_is_taken_back_when_its_last_request_is_refused() {
        let mut elsewhere = Elsewhere::default();
        elsewhere.on_forwarded("a".into());
        elsewhere.on_forwarded("a".into());
        elsewhere.on_refused("a");
        assert!(elsewhere.has("a"), "the second request may be accepted");
        elsewhere.on_refused("a");
        elsewhere.on_refused("a");
        assert!(!elsewhere.has("a"));
        for number in 0..MAX_STORES {
            assert!(!elsewhere.is_full());
            elsewhere.on_forwarded(number.to_string());
        }
        assert!(elsewhere.is_full());
        elsewhere.on_refused("0");
        assert!(!elsewhere.is_full());
    }

    #[test]
    fn refused_requests_do_not_use_up_the_limit_of_stores() {
        let options = json!({ "size": 5, "backend": { "servers": { "socket": "/nowhere/rcluster" } } });
        for number in 0..2 * MAX_STORES {
            let (_, message) = refused(&format!("served-{number}"), &options);
            assert!(!message.contains("may have no more"), "{number}: {message}");
        }
    }

    /// Its end has a connection in its queue that blocks close(2) for an hour.
    #[test]
    fn a_refused_socket_is_not_closed_by_the_caller() {
        let mut place = Place::default();
        let Place::Stores { elsewhere, .. } = &mut place else { return };
        (0..MAX_STORES).for_each(|number| elsewhere.on_forwarded(number.to_string()));
        let (ours, theirs) = message_pair().unwrap();
        let (fd, _reader) = lingering();
        assert_eq!(send(ours.as_fd(), b"x", &[fd]).unwrap(), Sent::Done);
        let options = json!({ "backend": { "servers": { "socket": "/nowhere/rcluster" } } });
        let resource =
            Resource::Store { name: "one more".into(), options: serde_json::from_value(options).unwrap() };
        let worker = Some((WorkerId(6_000_002), Closer::new()));
        let hub = Hub { commands: channel().0, waker: Waker::new().unwrap() };
        let forwarded = place.forward(Open::new(resource, theirs, worker), &hub, |_| false);
        let (socket, refusal) = forwarded.unwrap_err();
        assert!(refusal.message.contains("may have no more"));
        drop(socket);
    }
}
