//! A native thread with a queue of commands, shared by the dispatcher and the forwarder.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::thread::{Builder, JoinHandle};

use rcluster_sys::epoll::Waker;
use rcluster_sys::error::{Doing, SysError};

/// The body of the thread. It runs until it receives the stop command.
pub(super) trait Run: Send + 'static {
    /// The thread's name in system tools: at most 15 bytes.
    const NAME: &'static str;

    fn run(&mut self) -> Result<(), SysError>;

    /// Called before the thread ends because of an error or a panic.
    fn on_failure(&self, why: String);
}

/// The command that ends the thread.
pub(super) trait Stop {
    const STOP: Self;
}

/// The owner's side of the thread. Dropping it stops the thread and joins it.
#[derive(Debug)]
pub(super) struct NativeThread<C: Stop> {
    commands: Sender<C>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl<C: Stop> NativeThread<C> {
    /// Starts the thread. `waker` wakes `run` when `commands` has queued something.
    pub(super) fn start<R: Run>(mut run: R, commands: Sender<C>, waker: Waker) -> Result<Self, SysError> {
        let thread = Builder::new()
            .name(R::NAME.into())
            .spawn(move || match catch_unwind(AssertUnwindSafe(|| run.run())) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => run.on_failure(error.to_string()),
                Err(_) => run.on_failure(format!("the thread {} panicked", R::NAME)),
            })
            .doing("starting a native thread")?;
        Ok(Self { commands, waker, thread: Some(thread) })
    }

    /// Queues a command. Commands run in order.
    pub(super) fn tell(&self, command: C) {
        // A thread that has failed has already reported it.
        let _failed = self.commands.send(command);
        self.waker.wake();
    }
}

impl<C: Stop> Drop for NativeThread<C> {
    fn drop(&mut self) {
        self.tell(C::STOP);
        if let Some(thread) = self.thread.take() {
            // The thread catches its own panics.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    enum Command {
        Panic,
        Stop,
    }

    impl Stop for Command {
        const STOP: Self = Self::Stop;
    }

    struct Shell {
        queue: Receiver<Command>,
        failures: Sender<String>,
    }

    impl Run for Shell {
        const NAME: &'static str = "rcluster-test";

        fn run(&mut self) -> Result<(), SysError> {
            match self.queue.recv() {
                Ok(Command::Panic) => panic!("on purpose"),
                Ok(Command::Stop) | Err(_) => Ok(()),
            }
        }

        fn on_failure(&self, why: String) {
            self.failures.send(why).unwrap();
        }
    }

    fn start() -> (NativeThread<Command>, Receiver<String>) {
        let (commands, queue) = channel();
        let (failures, told) = channel();
        (NativeThread::start(Shell { queue, failures }, commands, Waker::new().unwrap()).unwrap(), told)
    }

    #[test]
    fn dropping_it_ends_the_thread_without_a_failure() {
        let (thread, failures) = start();
        drop(thread);
        assert!(failures.recv().is_err(), "the thread has ended and reported nothing");
    }

    #[test]
    fn a_panic_is_reported_and_does_not_reach_the_owner() {
        let (thread, failures) = start();
        thread.tell(Command::Panic);
        assert_eq!(failures.recv().unwrap(), "the thread rcluster-test panicked");
        thread.tell(Command::Panic);
    }
}
