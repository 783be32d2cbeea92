//! `rcluster top`: a live view of the cluster on a terminal, and keys to control it.
//!
//! Threads wait for external events: the status document, once a second; events; keys; signals; the results
//! of requests. They send them to one queue. The main thread reads it, updates the [`Model`] and draws it.

mod columns;
mod figures;
mod model;
mod terminal;
mod view;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event as Input, KeyEventKind};
use rcluster_core::control::operator::Place;
use rcluster_sys::signals::EndSignals;
use serde_json::{Value, json};

use self::model::{Action, Model};
use self::terminal::Screen;
use self::view::Theme;
use crate::args::Top;
use crate::connection::{Connection, Message, ended};
use crate::follow::{Ending, describe};
use crate::output::{Failure, is_screen};
use crate::{Outcome, find};

/// How often the status document is requested.
const PERIOD: Duration = Duration::from_secs(1);

/// How long the cluster may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// A message for the main thread.
enum News {
    Status(Value, Instant),
    Event(String),
    Input(Input),
    /// A request has been answered.
    Done(Action, Result<Value, Failure>),
    /// The number of a signal.
    Signal(u8),
    /// The cluster has ended.
    Ended(Ending),
    /// The program must end.
    End(Failure),
}

pub(crate) fn run(options: &Top) -> Outcome {
    if !std::io::stdin().is_terminal() || !is_screen(&std::io::stdout()) {
        let text = "`top` needs a terminal; without one there are `rcluster status` and `rcluster events`";
        return Err(Failure::Usage(text.into()));
    }
    let mut connection = find::connect(&options.target)?;
    let first = connection.ask(json!({ "verb": "status" }), Some(LIMIT))?;
    let signals = EndSignals::take().map_err(|error| Failure::Refused(error.to_string()))?;
    let (tell, news) = channel();
    let (refresh, refreshed) = channel();
    let place = connection.place().clone();
    let watching = Connection::open(&place)?;
    let mut model = Model::new(first, Instant::now());
    let mut screen = Screen::enter()?;
    start(&tell, move |tell| poll(connection, &refreshed, tell));
    start(&tell, |tell| watch(watching, tell));
    start(&tell, read);
    start(&tell, move |tell| {
        let signal = signals.wait().map_err(|error| Failure::Refused(error.to_string()))?;
        send(tell, News::Signal(signal))
    });
    let outcome = turn(&mut model, &mut screen, &news, &Asker { place, tell, refresh });
    drop(screen);
    outcome
}

/// Sends requests to the cluster.
struct Asker {
    place: Place,
    tell: Sender<News>,
    /// Requests the status document at once.
    refresh: Sender<()>,
}

/// Draws, and handles messages until the end.
fn turn(model: &mut Model, screen: &mut Screen, news: &Receiver<News>, asker: &Asker) -> Outcome {
    let theme = Theme::of(std::env::var_os("NO_COLOR").as_deref());
    loop {
        screen.draw(|frame| view::draw(frame, model, theme))?;
        // Everything that has arrived meanwhile is handled before drawing again.
        let first = news.recv().map_err(|_| ended())?;
        for next in std::iter::once(first).chain(std::iter::from_fn(|| news.try_recv().ok())) {
            if let Some(outcome) = on_news(model, next, asker) {
                return outcome;
            }
        }
    }
}

/// Handles a message. Returns the outcome if the program must end.
fn on_news(model: &mut Model, news: News, asker: &Asker) -> Option<Outcome> {
    match news {
        News::Status(status, at) => model.on_status(status, at),
        News::Event(line) => {
            model.on_event(line);
            // If the polling thread has ended, its reason is already in the queue.
            let _ended = asker.refresh.send(());
        }
        News::Input(Input::Key(key)) if key.kind != KeyEventKind::Release => match model.on_key(key) {
            Some(Action::Quit) => return Some(Ok(ExitCode::SUCCESS)),
            Some(action) => ask(asker, action),
            None => {}
        },
        // Resized: drawn again.
        News::Input(_) => {}
        News::Done(action, result) => {
            model.on_done(&action, result);
            let _ended = asker.refresh.send(());
        }
        News::Signal(number) => return Some(Ok(ExitCode::from(number.saturating_add(128)))),
        News::Ended(ending) => return Some(ending.outcome()),
        News::End(failure) => return Some(Err(failure)),
    }
    None
}

/// Sends the request on a connection of its own, so that requests do not wait for one another.
fn ask(asker: &Asker, action: Action) {
    let Some(request) = action.request() else { return };
    match Connection::open(&asker.place) {
        Ok(mut connection) => start(&asker.tell, move |tell| {
            let result = connection.ask(request, None);
            send(tell, News::Done(action, result))
        }),
        Err(failure) => {
            // The receiver belongs to this thread, so this cannot fail.
            let _never = asker.tell.send(News::Done(action, Err(failure)));
        }
    }
}

/// Runs `work` on a thread. An error ends the program.
fn start(tell: &Sender<News>, work: impl FnOnce(&Sender<News>) -> Result<(), Failure> + Send + 'static) {
    let tell = tell.clone();
    std::thread::spawn(move || {
        if let Err(failure) = work(&tell) {
            // If the receiver is gone, the program has ended already.
            let _ended = tell.send(News::End(failure));
        }
    });
}

fn send(tell: &Sender<News>, news: News) -> Result<(), Failure> {
    tell.send(news).map_err(|_| ended())
}

fn poll(mut connection: Connection, refreshed: &Receiver<()>, tell: &Sender<News>) -> Result<(), Failure> {
    loop {
        match refreshed.recv_timeout(PERIOD) {
            // One poll covers any number of events.
            Ok(()) => while refreshed.try_recv().is_ok() {},
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        match connection.ask(json!({ "verb": "status" }), Some(LIMIT)) {
            Ok(status) => send(tell, News::Status(status, Instant::now()))?,
            Err(Failure::NotRunning(_)) => match Connection::open(connection.place()) {
                Ok(next) => connection = next,
                // The thread that watches reports how it has ended.
                Err(Failure::NotRunning(_)) => return Ok(()),
                Err(failure) => return Err(failure),
            },
            Err(failure) => return Err(failure),
        }
    }
}

fn watch(mut connection: Connection, tell: &Sender<News>) -> Result<(), Failure> {
    connection.send(json!({ "verb": "watch" }))?;
    let mut ending = Ending::default();
    loop {
        match connection.receive(None)? {
            Message::Event { name, facts } => {
                ending.on_event(&name);
                send(tell, News::Event(describe(&name, &facts)))?;
            }
            Message::Done(result) => drop(result?),
            Message::End => return send(tell, News::Ended(ending)),
        }
    }
}

fn read(tell: &Sender<News>) -> Result<(), Failure> {
    loop {
        let failed = |error| Failure::Refused(format!("cannot read the terminal: {error}"));
        send(tell, News::Input(event::read().map_err(failed)?))?;
    }
}
