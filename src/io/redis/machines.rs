//! Carries out the decisions about messages between machines.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use redis::{PushInfo, PushKind, Value, cmd, pipe};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;

use super::calls::Calls;
use super::connect::Messenger;
use super::convert::{self, bytes, is_moved};
use super::runtime::runtime;
use crate::io::clock::{now, until};
use rcluster_core::machines::{Input, MachineId, Machines, Output, Topic};
use rcluster_core::store::remote::backend::{Backend, Servers};
use rcluster_sys::error::SysError;

/// The largest number of bytes on their way to the thread that delivers messages.
const MAX_PENDING: usize = 32 << 20;

/// The memory for an output there in addition to its bytes.
const OVERHEAD: usize = 64;

/// The server that connects machines, and this machine's identity there.
pub(in crate::io) struct MachineStart {
    /// The server.
    pub(in crate::io) backend: Backend,
    /// An id that no other machine has.
    pub(in crate::io) machine: MachineId,
    /// The seed for random choices.
    pub(in crate::io) seed: u64,
}

/// The link with other machines. Dropping it closes the connection.
#[derive(Debug)]
pub(in crate::io) struct MachineLink {
    inputs: UnboundedSender<Input>,
    pending: Arc<AtomicUsize>,
}

impl MachineLink {
    /// Connects when a connection is first needed. `deliver` receives outputs for processes; it must not block.
    pub(in crate::io) fn start(
        start: MachineStart,
        deliver: impl Fn(Vec<Output>) + Send + 'static,
    ) -> Result<Self, SysError> {
        let (inputs, queue) = unbounded_channel();
        let MachineStart { backend, machine, seed } = start;
        let pending = Arc::new(AtomicUsize::new(0));
        let driver = Driver {
            machines: Machines::new(machine, seed),
            // Channels are not separated by database, unlike keys.
            prefix: format!("{}messages:{}:", backend.prefix, backend.database).into(),
            // The key of the server that also grants leases.
            key: format!("{}{{leases}}:server", backend.prefix).into(),
            backend: Arc::new(backend),
            calls: Calls::new(),
            news: None,
            pending: Arc::clone(&pending),
            deliver: Box::new(deliver),
        };
        runtime()?.spawn(driver.run(queue));
        Ok(Self { inputs, pending })
    }

    pub(in crate::io) fn tell(&self, input: Input) {
        // The driver runs as long as this sender exists.
        let _never_fails = self.inputs.send(input);
    }

    /// These outputs, which `deliver` received, have been delivered.
    pub(in crate::io) fn on_delivered(&self, outputs: &[Output]) {
        self.pending.fetch_sub(outputs.iter().map(cost).sum(), Ordering::Relaxed);
    }
}

/// The memory that an output takes until it is delivered.
fn cost(output: &Output) -> usize {
    output.len() + OVERHEAD
}

/// The result of a command.
enum Done {
    Opened(Box<Messenger>, UnboundedReceiver<PushInfo>),
    Input(Input),
}

struct Driver {
    machines: Machines,
    prefix: Arc<str>,
    key: Arc<str>,
    backend: Arc<Backend>,
    calls: Calls<Messenger, Done>,
    /// What the server pushes on the current connection.
    news: Option<UnboundedReceiver<PushInfo>>,
    pending: Arc<AtomicUsize>,
    deliver: Box<dyn Fn(Vec<Output>) + Send>,
}

impl Driver {
    async fn run(mut self, mut queue: UnboundedReceiver<Input>) {
        let mut out = Vec::new();
        loop {
            self.carry_out(&mut out);
            let wait = self.machines.next_deadline().map(until);
            let input = tokio::select! {
                () = sleep(wait.unwrap_or_default()), if wait.is_some() => Input::Tick,
                push = next(&mut self.news) => self.read(push),
                Some(done) = self.calls.next() => match done {
                    Ok(Done::Input(input)) => input,
                    Ok(Done::Opened(session, news)) => {
                        self.calls.on_opened(*session);
                        self.news = Some(news);
                        Input::Opened
                    }
                    Err(failure) => Input::Failed(failure),
                },
                input = queue.recv() => {
                    let Some(input) = input else { return };
                    input
                }
            };
            self.machines.input(input, now(), &mut out);
        }
    }

    /// Parses a message that the server pushes. It may contain anything.
    fn read(&self, push: Option<PushInfo>) -> Input {
        let Some(PushInfo { kind, data }) = push else {
            return Input::Failed("the connection is lost".into());
        };
        match kind {
            PushKind::Disconnection => return Input::Failed("the connection is lost".into()),
            PushKind::Message => {}
            _ => return Input::Tick,
        }
        let mut words = data.into_iter().map(bytes);
        let (Some(Some(channel)), Some(Some(bytes))) = (words.next(), words.next()) else {
            return Input::Tick;
        };
        let topic = channel.strip_prefix(self.prefix.as_bytes()).and_then(Topic::of_name);
        let Some(topic) = topic else { return Input::Tick };
        // Without room, the data is dropped: subscribers are told of the loss, and requests are refused.
        let has_room = self.pending.load(Ordering::Relaxed) + bytes.len() <= MAX_PENDING;
        Input::Received { topic, bytes, has_room }
    }

    /// Carries out the outputs for the server, and passes on those for processes.
    fn carry_out(&mut self, out: &mut Vec<Output>) {
        let mut for_processes = Vec::new();
        for output in out.drain(..) {
            match output {
                Output::Open => {
                    let (backend, key) = (Arc::clone(&self.backend), Arc::clone(&self.key));
                    self.calls.spawn(async move { open(&backend, &key).await });
                }
                Output::Close => {
                    self.news = None;
                    self.calls.close();
                }
                Output::Change { subscribe, unsubscribe } => {
                    let [subscribe, unsubscribe] = [subscribe, unsubscribe]
                        .map(|topics| topics.iter().map(|it| self.name(it)).collect());
                    self.calls.call(|session| change(session, subscribe, unsubscribe));
                }
                Output::Publish(batch) => {
                    let batch = batch.into_iter().map(|(topic, bytes)| (self.name(&topic), bytes)).collect();
                    self.calls.call(|session| publish(session, batch));
                }
                Output::Beat(topic, bytes) => {
                    let name = self.name(&topic);
                    // In a Redis Cluster, PUBLISH counts only subscribers on the same node. So all machines
                    // connect to the node with the slot of this key.
                    let is_cluster = matches!(self.backend.servers, Servers::Cluster(_));
                    let key = is_cluster.then(|| Arc::clone(&self.key));
                    self.calls.call(|session| beat(session, name, bytes, key));
                }
                Output::Message { .. }
                | Output::Lost { .. }
                | Output::NotifyLeader { .. }
                | Output::Ask { .. }
                | Output::Cancel(_)
                | Output::Outcome { .. }
                | Output::Ended { .. }
                | Output::Failed(_)
                | Output::Room(_) => for_processes.push(output),
            }
        }
        if !for_processes.is_empty() {
            self.pending.fetch_add(for_processes.iter().map(cost).sum(), Ordering::Relaxed);
            (self.deliver)(for_processes);
        }
    }

    fn name(&self, topic: &Topic) -> Vec<u8> {
        [self.prefix.as_bytes(), &topic.name()].concat()
    }
}

async fn next(news: &mut Option<UnboundedReceiver<PushInfo>>) -> Option<PushInfo> {
    match news {
        Some(news) => news.recv().await,
        None => pending().await,
    }
}

async fn open(backend: &Backend, key: &str) -> Done {
    let (pushes, news) = unbounded_channel();
    match Messenger::open(backend, key, pushes).await {
        Ok(session) => Done::Opened(Box::new(session), news),
        Err(failure) => Done::Input(Input::Failed(failure.into_text())),
    }
}

async fn change(mut session: Messenger, subscribe: Vec<Vec<u8>>, unsubscribe: Vec<Vec<u8>>) -> Done {
    if !subscribe.is_empty()
        && let Err(error) = session.news.subscribe(subscribe).await
    {
        return failed(&error);
    }
    if !unsubscribe.is_empty()
        && let Err(error) = session.news.unsubscribe(unsubscribe).await
    {
        return failed(&error);
    }
    Done::Input(Input::Changed)
}

async fn publish(mut session: Messenger, batch: Vec<(Vec<u8>, Vec<u8>)>) -> Done {
    let mut all = pipe();
    for (name, bytes) in batch {
        all.add_command(cmd("PUBLISH").arg(name).arg(bytes).to_owned());
    }
    match all.query_async::<Value>(&mut session.commands).await {
        // Anything that is not a number counts as 0.
        Ok(counts) => Done::Input(Input::Published(
            convert::array(counts)
                .unwrap_or_default()
                .into_iter()
                .map(|count| convert::number(count).unwrap_or(0))
                .collect(),
        )),
        Err(error) => failed(&error),
    }
}

async fn beat(mut session: Messenger, name: Vec<u8>, bytes: Vec<u8>, key: Option<Arc<str>>) -> Done {
    let published = cmd("PUBLISH").arg(name).arg(bytes).query_async::<Value>(&mut session.commands).await;
    if let Err(error) = published {
        return failed(&error);
    }
    if let Some(key) = key
        && let Err(error) = cmd("EXISTS").arg(&*key).query_async::<Value>(&mut session.commands).await
        && is_moved(&error)
    {
        return failed(&error);
    }
    Done::Input(Input::Tick)
}

fn failed(error: &redis::RedisError) -> Done {
    Done::Input(Input::Failed(convert::failure(error).into_text()))
}
