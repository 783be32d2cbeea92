//! The HTTP listener for probes and metrics, on the control thread: it answers while the primary's JavaScript
//! is blocked.
//!
//! [`rcluster_core::http`] decides what is served; this module has the sockets, the limits and the contents
//! of the responses. Clients cannot delay one another: their number, the size of requests and all times are
//! limited.

mod client;
mod clients;
mod feed;
mod listener;
mod probe;
mod stream;

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};

use self::feed::{Feed, Subscription};
use self::listener::Listener;
use super::merging::Write;
use super::messages::ThreadEvent;
use super::metrics::NotMerged;
use super::registries::Answers;
use super::shell::Shell;
use rcluster_core::http::{Address, Format, Response, Route};

/// The page for browsers: one HTML file that loads nothing but `/events`.
const PAGE: &str = include_str!("http/page.html");

/// The page may load nothing else and may not be framed. Its script and style are allowed by their hashes, so
/// injected code does not run. A test checks the hashes.
const PAGE_HEADERS: &str = "Content-Security-Policy: default-src 'none'; \
    script-src 'sha256-BDNLCRVOrUDX/uHsLjqEUrqkRhOtfFN5uST3q/I5RIE='; \
    style-src 'sha256-l+qeTFABESWAkeZQQFE3bHEqnxB4tzivPkAkdZjPHYw='; \
    img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
    Referrer-Policy: no-referrer\r\n";

/// How many requests for metrics are answered at a time. A worker that hangs delays each of them, and together they
/// must not take all the places of clients: a probe needs one.
const MAX_SCRAPES: usize = 16;

/// An event of the listener.
#[derive(Debug)]
pub(super) enum HttpEvent {
    /// The listener is open at this address.
    Listening(Address),
    /// A client has sent a request.
    Asked { route: Route, format: Format, answer: oneshot::Sender<Answer> },
    /// The workers' own metrics have been gathered (`None`: they could not be queried), to be written with the others.
    Gathered { answers: Option<Arc<Answers>>, write: Write },
    /// The status document must be sent to the clients that follow the events.
    FeedDue,
}

/// The answer to a client.
#[derive(Debug)]
pub(super) enum Answer {
    Response(Response),
    Events(Subscription),
}

/// The shell's state for the listener.
pub(super) struct Http {
    /// Accepts clients while it is kept.
    listener: Option<Listener>,
    /// The address, once it listens.
    address: Option<Address>,
    scrapes: Arc<Semaphore>,
    pub(super) feed: Feed,
}

impl Http {
    /// Whether metrics are served.
    pub(super) fn is_listening(&self) -> bool {
        self.address.is_some()
    }
}

impl Default for Http {
    fn default() -> Self {
        let scrapes = Arc::new(Semaphore::new(MAX_SCRAPES));
        Self { listener: None, address: None, scrapes, feed: Feed::default() }
    }
}

impl Http {
    /// The address of the listener, if it listens.
    pub(super) fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }
}

impl Shell {
    /// Opens the listener if `chosen` is an address. If that fails, the app is warned and the listener
    /// retries; the cluster runs regardless.
    pub(super) fn open_http(&mut self, chosen: &str) {
        if let Some(address) = Address::parse(chosen) {
            let files = self.common.metrics_file.clone();
            self.http.listener = Some(Listener::start(address, files, &self.events, &self.tell));
        }
    }

    pub(super) fn on_http_event(&mut self, event: HttpEvent) {
        match event {
            HttpEvent::Listening(address) => self.http.address = Some(address),
            HttpEvent::Asked { route, format, answer } => self.answer_http(route, format, answer),
            HttpEvent::Gathered { answers, write } => {
                self.metrics.merger.write(answers, self.workers.ids().collect(), write);
            }
            HttpEvent::FeedDue => self.feed_status(),
        }
        // A ping to a worker may have failed.
        self.give_answers();
    }

    /// Answers a client. A client that is gone gets nothing.
    fn answer_http(&mut self, route: Route, format: Format, answer: oneshot::Sender<Answer>) {
        let now = self.start().elapsed();
        let response = match route {
            Route::Page => Response::page(PAGE, PAGE_HEADERS),
            Route::Ready => Response::probe(self.control.readiness(now)),
            Route::Started => Response::probe(self.control.started(now)),
            Route::Live { primary } => match primary.map_or(Ok(()), |limit| self.primary_turns(limit)) {
                Ok(()) => {
                    let threads = self.threads_turn();
                    return respond_later(answer, async move { Response::probe(threads.await) });
                }
                blocked => Response::probe(blocked),
            },
            Route::Status => match self.whole_status() {
                Some(status) => {
                    return respond_later(answer, async move {
                        match serde_json::to_vec(&status.await) {
                            Ok(text) => Response::ok("application/json", text),
                            Err(error) => Response::text(500, &error.to_string()),
                        }
                    });
                }
                None => Response::text(503, "nothing is supervised"),
            },
            Route::Metrics => match self.scrape(format) {
                Ok(response) => return respond_later(answer, response),
                Err(refusal) => refusal,
            },
            Route::Events => {
                let _gone = answer.send(self.follow());
                return;
            }
        };
        let _gone = answer.send(Answer::Response(response));
    }

    fn scrape(&mut self, format: Format) -> Result<impl Future<Output = Response> + use<>, Response> {
        let Ok(scrape) = Arc::clone(&self.http.scrapes).try_acquire_owned() else {
            return Err(Response::text(503, "too many requests for metrics are being answered"));
        };
        let Some(text) = self.metrics_text(format) else {
            return Err(Response::text(503, "nothing is supervised"));
        };
        Ok(async move {
            let text = text.await;
            drop(scrape);
            match text {
                Ok(text) => Response::ok(format.content_type(), text),
                Err(NotMerged) => Response::text(500, &NotMerged.to_string()),
            }
        })
    }
}

/// Answers a client in a task of its own: this thread does not wait for the other threads.
fn respond_later(answer: oneshot::Sender<Answer>, response: impl Future<Output = Response> + 'static) {
    tokio::task::spawn_local(async move {
        let _gone = answer.send(Answer::Response(response.await));
    });
}

/// Sends an event to the control thread, from one of its tasks.
async fn send(events: &mpsc::Sender<ThreadEvent>, event: HttpEvent) {
    // The send fails only if the control thread has stopped.
    let _stopped = events.send(ThreadEvent::Http(event)).await;
}
