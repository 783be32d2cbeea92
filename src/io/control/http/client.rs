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
    /// The client has disconnected, or takes too long.
    Gone,
}

/// Serves a client until it disconnects or violates the rules.
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
        // From here on, the client is waited for, as before its request: a client that does not read must not
        // keep a place that another client needs.
        place.on_silent();
        let response = response.encode(is_head, closes, wall_clock());
        if !write(&stream, &response).await {
            return;
        }
        if closes {
            return linger(&stream).await;
        }
        // Clients that pipeline many requests get one answer each in turn.
        tokio::task::yield_now().await;
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::clients::{Clients, MAX};
    use super::*;
    use rcluster_core::http::Route;

    /// The event of the client's request.
    async fn asked(events: &mut mpsc::Receiver<ThreadEvent>) -> oneshot::Sender<Answer> {
        match events.recv().await {
            Some(ThreadEvent::Http(HttpEvent::Asked { route: Route::Status, answer, .. })) => answer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_client_that_does_not_read_its_answer_makes_room() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let clients = Clients::default();
            let (heard, mut events) = mpsc::channel(1);
            let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            let place = clients.admit().unwrap();
            let number = place.number();
            let stream = Stream::Unix(tokio::net::UnixStream::from_std(ours).unwrap());
            let task = tokio::task::spawn_local(serve(stream, place, HostRule::Any, heard));
            clients.runs(number, task.abort_handle());
            let others: Vec<Place> = (1..MAX).map(|_| clients.admit().unwrap()).collect();
            others.iter().for_each(Place::on_asked);
            theirs.write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            let answer = asked(&mut events).await;
            assert!(clients.admit().is_none(), "all are being answered");
            answer.send(Answer::Response(Response::ok("text/plain", vec![b'x'; 16 << 20]))).unwrap();
            while clients.admit().is_none() {
                tokio::task::yield_now().await;
            }
            assert!(task.await.unwrap_err().is_cancelled());
        });
    }
}
