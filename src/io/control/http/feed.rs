//! The clients that follow the events: server-sent events, the same for all.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;

use super::client::{wall_clock, write};
use super::stream::Stream;
use super::{Answer, HttpEvent, send};
use crate::io::control::messages::ThreadEvent;
use crate::io::control::shell::Shell;
use rcluster_core::control::supervise::{Event, ExitKind, describe};
use rcluster_core::http::Response;
use rcluster_core::ids::WorkerId;

/// The maximum number of followers.
const MAX: usize = 16;

/// The number of events queued for a slow reader. The oldest are dropped, and the reader is sent their
/// number.
const QUEUE: usize = 256;

/// How often the status document is sent.
const PERIOD: Duration = Duration::from_secs(1);

type Frame = Arc<str>;

/// See the module documentation.
pub(in crate::io::control) struct Feed {
    frames: broadcast::Sender<Frame>,
    /// Reports when the status document is due, while there are followers.
    clock: Option<JoinHandle<()>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { frames: broadcast::channel(QUEUE).0, clock: None }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(clock) = &self.clock {
            clock.abort();
        }
    }
}

impl Feed {
    /// Supervision has announced an event.
    pub(in crate::io::control) fn on_event(&self, event: &Event) {
        if self.is_followed() {
            let (name, facts) = describe(event);
            self.publish(name, &facts);
        }
    }

    /// A worker has exited.
    pub(in crate::io::control) fn on_exit(&self, worker: WorkerId, exit: ExitKind) {
        if self.is_followed() {
            let (code, signal) = exit.code_and_signal();
            self.publish("exit", &json!({ "worker": worker, "code": code, "signal": signal }));
        }
    }

    fn is_followed(&self) -> bool {
        self.frames.receiver_count() > 0
    }

    fn publish(&self, name: &str, facts: &Value) {
        self.send("event", &json!({ "event": name, "facts": facts }));
    }

    fn send(&self, kind: &str, data: &Value) {
        // The send fails if there are no followers.
        let _no_followers = self.frames.send(frame(kind, data));
    }

    fn follow(&mut self, events: &mpsc::Sender<ThreadEvent>) -> Option<Subscription> {
        if self.frames.receiver_count() >= MAX {
            return None;
        }
        let subscription = Subscription(self.frames.subscribe());
        if self.clock.as_ref().is_none_or(JoinHandle::is_finished) {
            let (frames, events) = (self.frames.clone(), events.clone());
            self.clock = Some(tokio::task::spawn_local(async move {
                while frames.receiver_count() > 0 {
                    tokio::time::sleep(PERIOD).await;
                    send(&events, HttpEvent::FeedDue).await;
                }
            }));
        }
        Some(subscription)
    }
}

/// Compact JSON has no line breaks, so `data` is one line.
fn frame(kind: &str, data: &Value) -> Frame {
    format!("event: {kind}\ndata: {data}\n\n").into()
}

impl Shell {
    /// Adds a follower, who gets the status document first.
    pub(super) fn follow(&mut self) -> Answer {
        match self.http.feed.follow(&self.events) {
            Some(subscription) => {
                self.feed_status();
                Answer::Events(subscription)
            }
            None => Answer::Response(Response::text(503, "too many follow the events already")),
        }
    }

    /// Sends the status document to the followers.
    pub(super) fn feed_status(&mut self) {
        // Building the document is expensive, and usually there are no followers.
        if !self.http.feed.is_followed() {
            return;
        }
        let Some(status) = self.whole_status() else { return };
        let frames = self.http.feed.frames.clone();
        tokio::task::spawn_local(async move {
            if let Ok(status) = serde_json::to_value(status.await) {
                let _no_followers = frames.send(frame("status", &status));
            }
        });
    }
}

/// One follower.
#[derive(Debug)]
pub(in crate::io::control) struct Subscription(broadcast::Receiver<Frame>);

impl Subscription {
    /// Sends events until the client is gone or does not read.
    pub(super) async fn serve(mut self, stream: &Stream) {
        if !write(stream, &Response::events().encode(false, true, wall_clock())).await {
            return;
        }
        let mut ignored = Vec::new();
        loop {
            let frame = tokio::select! {
                frame = self.0.recv() => frame,
                // Input is ignored; only the end matters.
                read = stream.read(&mut ignored, 1024) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {
                        ignored.clear();
                        continue;
                    }
                },
            };
            let frame = match frame {
                Ok(frame) => frame,
                Err(RecvError::Lagged(lost)) => self::frame("lost", &json!({ "events": lost })),
                Err(RecvError::Closed) => return,
            };
            if !write(stream, frame.as_bytes()).await {
                return;
            }
        }
    }
}
