//! Carries out the decisions of a store's link.

use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;

use super::calls::Calls;
use super::runtime::runtime;
use super::session::{Batch, Hello, Keys, Session};
use crate::io::clock::{now, until};
use rcluster_core::store::remote::backend::Backend;
use rcluster_core::store::remote::failure::Failure;
use rcluster_core::store::remote::keys;
use rcluster_core::store::remote::link::Link;
use rcluster_core::store::remote::messages::{Greeting, Input, Output};
use rcluster_sys::error::SysError;

/// The maximum number of requests collected before the first of them is sent.
const GATHER: usize = 4096;

/// What is needed to start the link of a store.
pub(in crate::io) struct Start {
    /// The name of the store.
    pub(in crate::io) name: String,
    /// The server of the store.
    pub(in crate::io) backend: Backend,
    /// An id that no other machine has.
    pub(in crate::io) writer: String,
    /// The maximum size of a record, and of all values together, in words.
    pub(in crate::io) longest: usize,
    pub(in crate::io) limit: usize,
    /// The size of the store in bytes.
    pub(in crate::io) size: u64,
    /// The seed for random choices.
    pub(in crate::io) seed: u64,
}

/// The link of a store, used by the thread of the stores. Dropping it ends the link.
#[derive(Debug)]
pub(in crate::io) struct Server(UnboundedSender<Input>);

impl Server {
    /// Starts connecting. `tell` receives the outputs for the store; it must not block.
    pub(in crate::io) fn start(
        start: Start,
        tell: impl Fn(Vec<Output>) + Send + 'static,
    ) -> Result<Self, SysError> {
        let (inputs, queue) = unbounded_channel();
        let link = Link::new(&start.backend, start.writer.clone(), start.longest, start.size, start.seed);
        let driver = Driver {
            link,
            keys: Arc::new(keys(&start.backend.prefix, &start.name, &start.writer)),
            backend: Arc::new(start.backend),
            limit: start.limit,
            calls: Calls::new(),
            tell: Box::new(tell),
        };
        runtime()?.spawn(driver.run(queue));
        Ok(Self(inputs))
    }

    /// Queues an input for the link.
    pub(in crate::io) fn tell(&self, input: Input) {
        // The link lives as long as this sender.
        let _never_fails = self.0.send(input);
    }
}

/// The result of a call.
enum Done {
    Opened(Box<Session>, Greeting, u64),
    Input(Input),
}

struct Driver {
    link: Link,
    keys: Arc<Keys>,
    backend: Arc<Backend>,
    limit: usize,
    calls: Calls<Session, Done>,
    tell: Box<dyn Fn(Vec<Output>) + Send>,
}

impl Driver {
    async fn run(mut self, mut queue: UnboundedReceiver<Input>) {
        let mut out = Vec::new();
        self.link.input(Input::Tick, now(), &mut out);
        loop {
            self.carry_out(&mut out);
            let wait = self.link.next_deadline().map(until);
            tokio::select! {
                input = queue.recv() => {
                    let Some(input) = input else { return };
                    self.link.input(input, now(), &mut out);
                    for _ in 0..GATHER {
                        let Ok(input) = queue.try_recv() else { break };
                        self.link.input(input, now(), &mut out);
                    }
                    self.link.input(Input::Tick, now(), &mut out);
                }
                Some(done) = self.calls.next() => match done {
                    Ok(done) => self.on_done(done, &mut out),
                    Err(failure) => self.link.input(Input::Failed(Failure::Refused(failure)), now(), &mut out),
                },
                () = sleep(wait.unwrap_or_default()), if wait.is_some() => {
                    self.link.input(Input::Tick, now(), &mut out);
                }
            }
        }
    }

    fn on_done(&mut self, done: Done, out: &mut Vec<Output>) {
        let input = match done {
            Done::Input(input) => input,
            Done::Opened(session, greeting, asked_at) => {
                self.calls.on_opened(*session);
                Input::Greeted { greeting, asked_at }
            }
        };
        self.link.input(input, now(), out);
    }

    /// Carries out the outputs for the server, and passes on those for the store.
    fn carry_out(&mut self, out: &mut Vec<Output>) {
        let mut for_store = Vec::new();
        for output in out.drain(..) {
            match output {
                Output::Open { connection, new_epoch, epoch, revision, place } => {
                    self.open(Hello { connection, new_epoch, epoch, revision, place });
                }
                Output::Close => self.calls.close(),
                Output::Load => self.call(|session, keys| async move { session.load(&keys).await }),
                Output::Follow { place, entries } => {
                    self.call(|session, keys| async move { session.follow(&keys, &place, entries).await });
                }
                Output::Beat => {
                    self.call(|session, keys| async move { session.beat(&keys, now()).await });
                }
                Output::Write { connection, number, history, expire, arguments } => {
                    let limit = self.limit;
                    let batch = Batch { connection, number, limit, history, expire, arguments };
                    self.call(|session, keys| async move { session.write(&keys, batch).await });
                }
                Output::Apply { .. } | Output::Reload { .. } | Output::Answer { .. } | Output::Tell(_) => {
                    for_store.push(output);
                }
            }
        }
        if !for_store.is_empty() {
            (self.tell)(for_store);
        }
    }

    fn open(&mut self, hello: Hello) {
        let (backend, keys) = (Arc::clone(&self.backend), Arc::clone(&self.keys));
        self.calls.spawn(async move {
            match Session::open(&backend, &keys, hello).await {
                Ok((session, greeting, asked_at)) => Done::Opened(Box::new(session), greeting, asked_at),
                Err(failure) => Done::Input(Input::Failed(failure)),
            }
        });
    }

    fn call<F>(&mut self, ask: impl FnOnce(Session, Arc<Keys>) -> F)
    where
        F: Future<Output = Input> + Send + 'static,
    {
        let keys = Arc::clone(&self.keys);
        self.calls.call(|session| {
            let asked = ask(session, keys);
            async move { Done::Input(asked.await) }
        });
    }
}
