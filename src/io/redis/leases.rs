//! Carries out the decisions about leases.

use std::sync::Arc;

use redis::{Value, cmd};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;

use super::calls::Calls;
use super::connect::Connections;
use super::convert::{self, array, invalid_answer, is_forbidden, is_unknown_script, number, text};
use super::runtime::runtime;
use crate::io::clock::{now, until};
use rcluster_core::leases::{Answer, Ask, Input, Leases, Output, SCRIPT};
use rcluster_core::store::remote::backend::Backend;
use rcluster_core::store::remote::failure::Failure;
use rcluster_sys::error::SysError;

/// The maximum number of releases read at once.
const RELEASES: usize = 256;

/// The server of the leases, and this machine's identity there.
pub(in crate::io) struct LeaseStart {
    /// The server of the leases.
    pub(in crate::io) backend: Backend,
    /// An id that no other machine has.
    pub(in crate::io) machine: String,
    /// The seed for random choices.
    pub(in crate::io) seed: u64,
}

/// The leases of this machine. Dropping it ends the link to the server, and with it the leases.
#[derive(Debug)]
pub(in crate::io) struct LeaseServer(UnboundedSender<Input>);

impl LeaseServer {
    /// Connects when the first lease is requested. `tell` receives the decisions; it must not block.
    pub(in crate::io) fn start(
        start: LeaseStart,
        tell: impl Fn(Vec<Output>) + Send + 'static,
    ) -> Result<Self, SysError> {
        let (inputs, queue) = unbounded_channel();
        let LeaseStart { backend, machine, seed } = start;
        // The braces are a hash tag: it puts all keys into one slot of a Redis Cluster.
        let prefix = format!("{}{{leases}}:", backend.prefix);
        let driver = Driver {
            leases: Leases::new(seed),
            names: Arc::new(Names {
                releases: format!("{prefix}releases"),
                server: format!("{prefix}server"),
                prefix,
                machine,
            }),
            backend: Arc::new(backend),
            calls: Calls::new(),
            tell: Box::new(tell),
        };
        runtime()?.spawn(driver.run(queue));
        Ok(Self(inputs))
    }

    pub(in crate::io) fn tell(&self, input: Input) {
        // The link lives as long as this sender.
        let _never_fails = self.0.send(input);
    }
}

/// The names of the keys on the server.
#[derive(Debug)]
struct Names {
    prefix: String,
    releases: String,
    server: String,
    machine: String,
}

/// The connections to the server.
#[derive(Clone)]
struct Session(Connections);

/// The result of a call.
enum Done {
    Opened(Box<Session>, String),
    Releases(Vec<(String, Vec<u8>)>),
    Input(Input),
}

struct Driver {
    leases: Leases,
    names: Arc<Names>,
    backend: Arc<Backend>,
    calls: Calls<Session, Done>,
    tell: Box<dyn Fn(Vec<Output>) + Send>,
}

impl Driver {
    async fn run(mut self, mut queue: UnboundedReceiver<Input>) {
        let mut out = Vec::new();
        let Some(first) = queue.recv().await else { return };
        self.leases.input(first, now(), &mut out);
        loop {
            self.carry_out(&mut out);
            let wait = self.leases.next_deadline().map(until);
            tokio::select! {
                // Timers come first, so that a flood of inputs does not delay them.
                biased;
                () = sleep(wait.unwrap_or_default()), if wait.is_some() => {
                    self.leases.input(Input::Tick, now(), &mut out);
                }
                Some(done) = self.calls.next() => match done {
                    Ok(done) => self.on_done(done, &mut out),
                    Err(failure) => self.leases.input(Input::Failed(failure), now(), &mut out),
                },
                input = queue.recv() => {
                    let Some(input) = input else { return };
                    self.leases.input(input, now(), &mut out);
                }
            }
        }
    }

    fn on_done(&mut self, done: Done, out: &mut Vec<Output>) {
        match done {
            Done::Input(input) => self.leases.input(input, now(), out),
            Done::Opened(session, place) => {
                self.calls.on_opened(*session);
                self.leases.input(Input::Opened, now(), out);
                self.follow(place);
            }
            Done::Releases(entries) => {
                let last = entries.last().map(|(place, _)| place.clone());
                for (_, name) in entries {
                    self.leases.input(Input::Released(name), now(), out);
                }
                if let Some(place) = last {
                    self.follow(place);
                }
            }
        }
    }

    /// Carries out the outputs for the server, and passes on those for processes.
    fn carry_out(&mut self, out: &mut Vec<Output>) {
        let mut for_processes = Vec::new();
        for output in out.drain(..) {
            match output {
                Output::Open => {
                    let (backend, names) = (Arc::clone(&self.backend), Arc::clone(&self.names));
                    self.calls.spawn(async move { opened(&backend, &names).await });
                }
                Output::Close => self.calls.close(),
                Output::Beat => self.call(|session, _| async move { Done::Input(session.beat().await) }),
                Output::Ask(ask) => {
                    self.call(|session, names| async move { Done::Input(session.ask(&names, ask).await) });
                }
                told => for_processes.push(told),
            }
        }
        if !for_processes.is_empty() {
            (self.tell)(for_processes);
        }
    }

    fn follow(&mut self, place: String) {
        self.call(|session, names| async move { session.follow(&names, place).await });
    }

    fn call<F>(&mut self, ask: impl FnOnce(Session, Arc<Names>) -> F)
    where
        F: Future<Output = Done> + Send + 'static,
    {
        let names = Arc::clone(&self.names);
        self.calls.call(|session| ask(session, names));
    }
}

async fn opened(backend: &Backend, names: &Names) -> Done {
    match Session::open(backend, names).await {
        Ok((session, place)) => Done::Opened(Box::new(session), place),
        Err(failure) => Done::Input(Input::Failed(failure.into_text())),
    }
}

impl Session {
    /// Connects, and finds the current end of the stream of releases.
    async fn open(backend: &Backend, names: &Names) -> Result<(Self, String), Failure> {
        let failure = |error| convert::failure(&error);
        let mut connections = Connections::open(backend, &names.releases, SCRIPT).await?;
        let mut last = cmd("XREVRANGE");
        last.arg(&names.releases).arg("+").arg("-").arg("COUNT").arg(1);
        let last = array(last.query_async::<Value>(&mut connections.commands).await.map_err(failure)?);
        let place = match last.ok_or_else(invalid_answer)?.into_iter().next() {
            None => "0-0".to_owned(),
            Some(entry) => {
                let id = array(entry).and_then(|entry| entry.into_iter().next());
                id.and_then(text).ok_or_else(invalid_answer)?
            }
        };
        Ok((Self(connections), place))
    }

    async fn beat(mut self) -> Input {
        match cmd("PING").query_async::<Value>(&mut self.0.commands).await {
            Ok(_) => Input::Beaten,
            Err(error) => Input::Failed(convert::failure(&error).into_text()),
        }
    }

    /// Waits for releases after an entry of the stream.
    async fn follow(mut self, names: &Names, place: String) -> Done {
        loop {
            let entries = match self.0.read_behind(&names.releases, &place, RELEASES).await {
                Ok(value) => convert::stream(value),
                Err(error) => return Done::Input(Input::Failed(convert::failure(&error).into_text())),
            };
            match entries {
                Some(entries) if entries.is_empty() => {}
                Some(entries) => return Done::Releases(entries),
                None => return Done::Input(Input::Failed(invalid_answer().into_text())),
            }
        }
    }

    async fn ask(mut self, names: &Names, ask: Ask) -> Input {
        let Ask { id, number, operation, name, ttl, token } = ask;
        let key = [names.prefix.as_bytes(), &name].concat();
        let mut run = cmd("EVALSHA");
        run.arg(&self.0.script).arg(3).arg(key).arg(&names.releases).arg(&names.server).arg(operation.name());
        run.arg(format!("{}-{}", names.machine, id.0)).arg(ttl).arg(token).arg(&names.machine).arg(name);
        let answer = match run.query_async::<Value>(&mut self.0.commands).await {
            Ok(value) => answer(value).unwrap_or_else(|| Answer::Unable(invalid_answer().into_text())),
            // A new connection loads the script again.
            Err(error) if is_unknown_script(&error) => return Input::Failed(error.to_string()),
            Err(error) if is_forbidden(&error) => Answer::Refused(convert::failure(&error).into_text()),
            Err(error) => match convert::failure(&error) {
                Failure::Lost(why) => return Input::Failed(why),
                Failure::Refused(why) => Answer::Refused(why),
                failure => Answer::Unable(failure.into_text()),
            },
        };
        Input::Answered { id, number, answer }
    }
}

/// Parses the answer of the script. `None` if it is invalid.
fn answer(value: Value) -> Option<Answer> {
    let mut words = array(value)?.into_iter();
    let (operation, count) = (text(words.next()?)?, number(words.next()?)?);
    match operation.as_str() {
        "held" => Some(Answer::Held { token: count }),
        "busy" => Some(Answer::Busy { wait: count }),
        "renewed" => Some(Answer::Renewed),
        "lost" => Some(Answer::Lost),
        "released" => Some(Answer::Released),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_script_are_read() {
        let said = |operation: &str, count: &str| {
            let words = [operation, count].map(|word| Value::BulkString(word.into()));
            answer(Value::Array(words.to_vec()))
        };
        assert_eq!(said("held", "1764370000000000"), Some(Answer::Held { token: 1_764_370_000_000_000 }));
        assert_eq!(said("busy", "250"), Some(Answer::Busy { wait: 250 }));
        assert_eq!(said("lost", "0"), Some(Answer::Lost));
        assert_eq!(said("gone", "0"), None);
        assert_eq!(said("held", "-1"), None);
        assert_eq!(answer(Value::Nil), None);
    }
}
