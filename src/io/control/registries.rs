//! Queries the workers, over the exchange, for the metrics that they keep with prom-client.
//!
//! `rcluster/prom-client` answers in a worker. The control thread joins the exchange as a process does, on a
//! link of its own, when metrics are first requested. It makes no link while shared state is unused: then no
//! worker can have an answer.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::io::exchange::ExchangeClient;
use crate::io::store::{self, Open, Resource};
use rcluster_core::exchange::endpoint::Incoming;
use rcluster_core::exchange::frame::{Frame, Kind, Status};
use rcluster_core::exchange::wire::Ask;
use rcluster_core::exchange::{RequestId, Target};
use rcluster_core::ids::WorkerId;
use rcluster_sys::async_fd::watch;
use rcluster_sys::descriptor::duplicate;
use rcluster_sys::passing::message_pair;

/// The name of the workers' handler.
const NAME: &[u8] = b"rcluster/prom-client";

/// How long workers may take to answer.
const LIMIT: Duration = Duration::from_secs(1);

/// How long the exchange may take after that to report which workers have not answered.
const GRACE: Duration = Duration::from_millis(50);

/// The request: `null` as JSON, after the byte that marks JSON.
const QUESTION: &[u8] = b"\0null";

/// The answers to one query.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    /// The metrics of workers, see [`report`].
    pub(super) reports: Vec<(WorkerId, Vec<u8>)>,
    /// Workers that keep metrics but have not answered.
    pub(super) missing: BTreeSet<WorkerId>,
}

type Asking = oneshot::Sender<Arc<Answers>>;

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Gatherer(Option<(mpsc::Sender<Asking>, JoinHandle<()>)>);

impl Gatherer {
    /// Queries the workers; empty while shared state is unused. `Err`: too many queries at a time, or the
    /// exchange has failed.
    pub(super) fn ask(
        &mut self,
    ) -> impl Future<Output = Result<Arc<Answers>, oneshot::error::RecvError>> + use<> {
        let (tell, told) = oneshot::channel();
        if store::is_running() {
            if self.0.as_ref().is_none_or(|(_, task)| task.is_finished()) {
                let (asking, asked) = mpsc::channel(64);
                self.0 = Some((asking, tokio::task::spawn_local(run(asked))));
            }
            if let Some((asking, _)) = &self.0 {
                // If the queue is full, `tell` is dropped, which is the error that the caller sees.
                let _full = asking.try_send(tell);
            }
        } else {
            let _told = tell.send(Arc::default());
        }
        told
    }
}

impl Drop for Gatherer {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.0 {
            task.abort();
        }
    }
}

/// Answers queries. All queries that arrive while one is running share the next one. Ends when the link
/// fails; the next query starts again.
async fn run(mut asked: mpsc::Receiver<Asking>) {
    let Some(mut link) = Link::open().await else { return };
    while let Some(first) = asked.recv().await {
        let mut asking = vec![first];
        while let Ok(another) = asked.try_recv() {
            asking.push(another);
        }
        let Some(answers) = link.ask().await else { return };
        let answers = Arc::new(answers);
        for tell in asking {
            // The send fails if the requester is gone.
            let _gone = tell.send(Arc::clone(&answers));
        }
    }
}

struct Link {
    client: ExchangeClient,
    socket: tokio::io::unix::AsyncFd<Arc<OwnedFd>>,
    next: u64,
}

impl Link {
    async fn open() -> Option<Self> {
        let doing = "watching the exchange of messages";
        let (ours, theirs) = message_pair().ok()?;
        let answer = watch(Arc::new(duplicate(&ours).ok()?), Interest::READABLE, doing).ok()?;
        store::open(Open::new(Resource::Exchange, theirs, None)).ok()?;
        // Connecting would block this thread until the answer arrives.
        let deadline = Instant::now() + LIMIT;
        timeout_at(deadline, answer.readable()).await.ok()?.ok()?.retain_ready();
        let client = ExchangeClient::connect(ours).ok()?;
        let socket = watch(Arc::new(client.watched().ok()?), Interest::READABLE, doing).ok()?;
        Some(Self { client, socket, next: 1 })
    }

    /// `None` if the link has failed.
    async fn ask(&mut self) -> Option<Answers> {
        let id = RequestId(self.next);
        self.next += 1;
        let mut answers = Answers::default();
        self.client.send(&Ask::Request { id, target: Target::All, name: NAME, data: QUESTION }).ok()?;
        let deadline = Instant::now() + LIMIT;
        if self.collect(id, &mut answers, deadline).await? {
            return Some(answers);
        }
        // The cancellation makes the exchange report those that have not answered.
        self.client.cancel(id, true).ok()?;
        self.collect(id, &mut answers, deadline + GRACE).await?;
        Some(answers)
    }

    /// Reads answers until all have arrived (true) or the time is up (false). `None` if the link has failed.
    async fn collect(&mut self, id: RequestId, answers: &mut Answers, deadline: Instant) -> Option<bool> {
        loop {
            // A turn can end although there is more to read: only a turn that starts with nothing has read
            // everything.
            let mut was_nothing = false;
            self.client.begin_turn();
            loop {
                match self.client.next(|frame| answers.take(id, frame)).ok()? {
                    Incoming::Frame(true) => return Some(true),
                    Incoming::Frame(false) => was_nothing = false,
                    Incoming::Nothing if was_nothing => break,
                    Incoming::Nothing => {
                        was_nothing = true;
                        self.client.begin_turn();
                    }
                    Incoming::End => return None,
                }
            }
            match timeout_at(deadline, self.socket.readable()).await {
                // Nothing was left to read a moment ago. What has arrived since is found by the next pass.
                Ok(ready) => ready.ok()?.clear_ready(),
                Err(_) => return Some(false),
            }
        }
    }
}

impl Answers {
    /// Takes a frame. Returns true if it was the last.
    fn take(&mut self, id: RequestId, frame: Frame<'_>) -> bool {
        if frame.kind != Kind::Outcome || frame.number != id.0 {
            return false;
        }
        let worker = WorkerId(frame.worker);
        if frame.flag == Status::Value as u8 {
            self.reports.push((worker, frame.data.to_vec()));
        } else if [Status::Error, Status::Busy, Status::Lost, Status::Cancelled]
            .iter()
            .any(|status| frame.flag == *status as u8)
        {
            self.missing.insert(worker);
        }
        frame.rest == 0
    }
}

/// The text in an answer: JSON in a JSON string, after the byte that marks JSON. It can be long, so the control thread does
/// not read it.
pub(super) fn report(data: &[u8]) -> Option<String> {
    let (0, json) = data.split_first().map(|(kind, json)| (*kind, json))? else { return None };
    serde_json::from_slice(json).ok()
}
