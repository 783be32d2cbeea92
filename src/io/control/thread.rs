//! The control thread's loop.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::commands::Command;
use super::messages::ThreadEvent;
use super::shell::Shell;

/// Runs until the queue of commands is closed. As the root of the thread, it catches a panic and reports it.
pub(super) fn run(
    mut shell: Shell,
    runtime: &tokio::runtime::Runtime,
    commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::Receiver<ThreadEvent>,
) {
    let tasks = LocalSet::new();
    let run = std::panic::AssertUnwindSafe(|| tasks.block_on(runtime, turn(&mut shell, commands, events)));
    if std::panic::catch_unwind(run).is_err() {
        shell.tell_failure();
    }
}

async fn turn(
    shell: &mut Shell,
    mut commands: mpsc::UnboundedReceiver<Command>,
    mut events: mpsc::Receiver<ThreadEvent>,
) {
    loop {
        let deadline = shell.next_deadline();
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => shell.on_command(command),
                None => return,
            },
            Some(event) = events.recv() => shell.on_event(event),
            () = until(shell.start(), deadline), if deadline.is_some() => shell.on_tick(),
        }
    }
}

async fn until(start: Instant, deadline: Option<Duration>) {
    if let Some(deadline) = deadline {
        tokio::time::sleep_until((start + deadline).into()).await;
    }
}
