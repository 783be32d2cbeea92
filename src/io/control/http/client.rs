//! One client: its requests, one after the other.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::clients::Place;
use super::stream::Stream;
use super::{Answer, HttpEvent, send};
use crate::io::control::messages::ThreadEvent;
use rcluster_core::http::{HostRule, MAX_HEAD, Parsed, Request, Response, parse};

/// How long a client may take to send its first request.
const FIRST: Duration = Duration::from_secs(10);

/// How long a client may take to send another request: longer than the usual interval of collectors.
const NEXT: Duration = Duration::from_secs(75);

/// How long a client may take to read a response.
const WRITE: Duration = Duration::from_secs(10);

/// Limits of the lingering close: how long, and how many bytes, are read from a client after the last
/// response. Without it, a reset could cut the response off.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 << 10;

const PIECE: usize = 4 << 10;

/// The result of waiting for a request.
enum Next {
    Request(Request),
    /// The request is invalid: this response is the last.
    Broken(Response),
    /// The client is gone, or takes too long.
    Gone,
}

/// Serves a client until it is gone or breaks the rules.
pub(super) async fn serve(stream: Stream, place: Place, rule: HostRule, events: mpsc::Sender<ThreadEvent>) {
    let mut bytes = Vec::new();
    let mut limit = FIRST;
    loop {
        place.on_silent();
        let next = timeout(limit, next(&stream, &mut bytes, rule)).await;
        place.on_asked();
        let late = || {
            if bytes.is_empty() {
                Next::Gone
            } else {
                Next::Broken(Response::text(408, "the request takes too long"))
            }
        };
        let (response, is_head, closes) = match next.unwrap_or_else(|_| late()) {
            Next::Gone => return,
            Next::Broken(response) => (response, false, true),
            Next::Request(Request { target: Err(response), is_head, keeps_alive, .. }) => {
                (response, is_head, !keeps_alive)
            }
            Next::Request(Request { target: Ok(route), is_head, keeps_alive, format }) => {
                let (answer, answered) = oneshot::channel();
                send(&events, HttpEvent::Asked { route, format, answer }).await;
                match answered.await {
                    Ok(Answer::Response(response)) => (response, is_head, !keeps_alive),
                    Ok(Answer::Events(subscription)) if !is_head => {
                        return subscription.serve(&stream).await;
                    }
                    Ok(Answer::Events(_)) => (Response::events(), true, true),
                    // The control thread has stopped.
                    Err(_) => return,
                }
            }
        };
        let response = response.encode(is_head, closes, wall_clock());
        if !write(&stream, &response).await {
            return;
        }
        if closes {
            return linger(&stream).await;
        }
        limit = NEXT;
    }
}

/// Reads until the buffer contains a whole request, and removes it from there.
async fn next(stream: &Stream, bytes: &mut Vec<u8>, rule: HostRule) -> Next {
    loop {
        match parse(bytes, rule) {
            Parsed::Whole(length, request) => {
                bytes.drain(..length);
                return Next::Request(request);
            }
            Parsed::Broken(response) => return Next::Broken(response),
            Parsed::Partial => {}
        }
        let room = PIECE.min(MAX_HEAD.saturating_sub(bytes.len()));
        match stream.read(bytes, room).await {
            Ok(0) | Err(_) => return Next::Gone,
            Ok(_) => {}
        }
    }
}

/// Returns false if the client does not read it in time, or is gone.
pub(super) async fn write(stream: &Stream, bytes: &[u8]) -> bool {
    matches!(timeout(WRITE, stream.write_all(bytes)).await, Ok(Ok(())))
}

/// A lingering close.
async fn linger(stream: &Stream) {
    let read = async {
        let (mut forgotten, mut total) = (Vec::new(), 0);
        while total < LINGER_BYTES {
            match stream.read(&mut forgotten, PIECE).await {
                Ok(0) | Err(_) => return,
                Ok(count) => total += count,
            }
            forgotten.clear();
        }
    };
    if stream.end(&[]) {
        let _over = timeout(LINGER, read).await;
    }
}

/// The time since the epoch.
pub(super) fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
