//! A connection to a control socket.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};

use rcluster_core::control::operator::{MAX_ANSWER, Place, VERSION};
use rcluster_sys::listen::private::{Peer, connect_at_once, own_user};
use serde_json::{Value, json};

use crate::output::{Failure, reason};

/// The maximum length of a line, with its end.
const MAX_LINE: usize = MAX_ANSWER + 1;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Connection {
    place: Place,
    stream: UnixStream,
    lines: BufReader<UnixStream>,
    peer: Peer,
    requests: u64,
}

/// A message from the cluster.
#[derive(Debug)]
pub(crate) enum Message {
    /// A request has been answered.
    Done(Result<Value, Failure>),
    /// An event.
    Event { name: String, facts: Value },
    /// The connection has ended.
    End,
}

impl Connection {
    /// Connects, and checks that the listener belongs to this user or root.
    pub(crate) fn open(place: &Place) -> Result<Self, Failure> {
        let full = || {
            Failure::Refused(format!(
                "cannot connect to {place}: the queue of its clients is full, so its primary is stopped or cannot keep up"
            ))
        };
        Self::open_at_once(place)?.ok_or_else(full)
    }

    /// The same; `None` if its queue of clients is full, which would otherwise be waited for: whoever listens there need
    /// not ever accept one.
    pub(crate) fn open_at_once(place: &Place) -> Result<Option<Self>, Failure> {
        let failed = |error: std::io::Error| {
            let why = reason(&error);
            match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => Failure::NotRunning(format!(
                    "no cluster has its control socket at {place} ({why}); without --control, it is found by itself"
                )),
                _ => Failure::Refused(format!("cannot connect to {place}: {why}")),
            }
        };
        let address = match place {
            Place::Path(path) => SocketAddr::from_pathname(OsStr::new(path)),
            Place::Abstract(name) => SocketAddr::from_abstract_name(name),
        };
        let connected =
            address.and_then(|address| Ok(connect_at_once(&address).map_err(|error| error.errno)?));
        let stream = match connected {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            connected => connected.map_err(failed)?,
        };
        let peer = Peer::of(&stream).map_err(|error| Failure::Refused(error.to_string()))?;
        let user = own_user();
        if user != 0 && peer.uid != user && peer.uid != 0 {
            let owner = peer.uid;
            return Err(Failure::Refused(format!(
                "{place} belongs to user {owner}: only your own clusters and those of root are trusted"
            )));
        }
        let lines = BufReader::new(stream.try_clone().map_err(failed)?);
        Ok(Some(Self { place: place.clone(), stream, lines, peer, requests: 0 }))
    }

    /// The address of the cluster.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The user id of the other end.
    pub(crate) fn owner(&self) -> u32 {
        self.peer.uid
    }

    /// The process id of the listener, as the kernel knows it; 0 if it is not visible here.
    pub(crate) fn listener(&self) -> u32 {
        u32::try_from(self.peer.pid).unwrap_or(0)
    }

    /// Sends `hello` and returns the process id of the primary. Requests follow its answer and are not sent along: a primary
    /// that is stopped would carry them out when it continues, although this client has reported a failure.
    pub(crate) fn hello(&mut self, limit: Duration) -> Result<u32, Failure> {
        let hello = self.ask(json!({ "verb": "hello" }), Some(limit))?;
        let pid = hello["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        pid.ok_or_else(|| Failure::Refused("the process that listens there is no cluster".into()))
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn ask(&mut self, request: Value, limit: Option<Duration>) -> Result<Value, Failure> {
        self.ask_meanwhile(request, limit, |_, _| {})
    }

    /// The same, with the events that arrive before the answer.
    pub(crate) fn ask_meanwhile(
        &mut self,
        request: Value,
        limit: Option<Duration>,
        mut on_event: impl FnMut(&str, &Value),
    ) -> Result<Value, Failure> {
        let deadline = limit.map(|limit| Instant::now() + limit);
        self.send(request)?;
        loop {
            match self.receive(deadline)? {
                Message::Done(result) => return result,
                Message::Event { name, facts } => on_event(&name, &facts),
                Message::End => return Err(ended()),
            }
        }
    }

    pub(crate) fn send(&mut self, mut request: Value) -> Result<(), Failure> {
        self.requests += 1;
        request["v"] = json!(VERSION);
        request["id"] = json!(self.requests);
        match self.stream.write_all(format!("{request}\n").as_bytes()) {
            Ok(()) => Ok(()),
            // The data sent before the hang-up may contain the reason.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                Ok(())
            }
            Err(error) => {
                Err(Failure::Refused(format!("cannot write to the control socket: {}", reason(&error))))
            }
        }
    }

    /// The next message from the cluster.
    pub(crate) fn receive(&mut self, deadline: Option<Instant>) -> Result<Message, Failure> {
        let line = self.line(deadline)?;
        if line.is_empty() {
            return Ok(Message::End);
        }
        let wrong = |error| Failure::Refused(format!("the cluster has sent invalid JSON: {error}"));
        let mut message: Value = serde_json::from_slice(&line).map_err(wrong)?;
        if let Some(name) = message["event"].as_str() {
            return Ok(Message::Event { name: name.to_owned(), facts: message["facts"].take() });
        }
        if message["ok"] == json!(true) {
            return Ok(Message::Done(Ok(message["result"].take())));
        }
        let text = |key: &str| message["error"][key].as_str().unwrap_or("?").to_owned();
        let mut failure = format!("{} ({})", text("message"), text("code"));
        failure.extend(last_lines(&message["error"]));
        Ok(Message::Done(Err(Failure::Refused(failure))))
    }

    /// The next line; empty at the end.
    fn line(&mut self, deadline: Option<Instant>) -> Result<Vec<u8>, Failure> {
        let mut line = Vec::new();
        // The deadline is for all of the line: a process that sends it byte by byte does not prolong it.
        while line.last() != Some(&b'\n') && line.len() < MAX_LINE {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(timed_out());
            }
            self.stream.set_read_timeout(left).map_err(|error| Failure::Refused(error.to_string()))?;
            let bytes = match self.lines.fill_buf() {
                Ok([]) => break,
                Ok(bytes) => bytes,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Err(timed_out()),
                    ErrorKind::ConnectionReset => return Ok(Vec::new()),
                    ErrorKind::Interrupted => continue,
                    _ => {
                        return Err(Failure::Refused(format!(
                            "cannot read from the control socket: {}",
                            reason(&error)
                        )));
                    }
                },
            };
            let length = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            line.extend_from_slice(&bytes[..length]);
            self.lines.consume(length);
        }
        Ok(line)
    }
}

/// The last lines that an exited worker wrote to stderr, to be shown below the message about it.
pub(crate) fn last_lines(about: &Value) -> Option<String> {
    let lines = about["stderrTail"].as_array().filter(|lines| !lines.is_empty())?;
    let mut text = "\nIts last lines on stderr:".to_owned();
    for line in lines {
        text.extend(["\n  ", line.as_str().unwrap_or_default()]);
    }
    Some(text)
}

fn timed_out() -> Failure {
    Failure::TimedOut(
        "not done in time; the operation continues, and `rcluster status` shows its progress".into(),
    )
}

pub(crate) fn ended() -> Failure {
    Failure::NotRunning("the cluster has ended before it answered".into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    #[test]
    fn a_process_that_sends_byte_by_byte_does_not_prolong_the_wait() {
        let name = format!("rcluster-slow-{}", std::process::id());
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let mut connection = Connection::open(&Place::Abstract(name)).unwrap();
        let (mut slow, _) = listener.accept().unwrap();
        let sender = thread::spawn(move || {
            // It ends some time, so that the test does, too.
            for _ in 0..500 {
                if slow.write_all(b" ").is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
        let answer = connection.hello(Duration::from_millis(200));
        assert!(matches!(answer, Err(Failure::TimedOut(_))), "{answer:?}");
        drop(connection);
        sender.join().unwrap();
    }
}
