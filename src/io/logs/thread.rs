//! The log thread's loop: waits for workers' pipes, and for room in the primary's outputs.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::sink::{Sink, clock};
use super::{Command, Counts, Outputs, Tails, WorkerPipe};
use crate::io::native_thread::Run;
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::logs::{Framing, Mode, Source, Stream};
use rcluster_sys::descriptor::unread;
use rcluster_sys::epoll::{Interest, Poller, Waker};
use rcluster_sys::error::SysError;
use rcluster_sys::pipe::read_some;

/// The maximum number of bytes read from one pipe before others get their turn.
const PIECE: usize = 64 << 10;

/// The maximum number of pipes kept after their workers have exited, because a child process holds the other
/// end.
const MOST_LEFT: usize = 128;

/// The maximum duration of a flush, as a multiple of its limit, however slow the progress.
pub(super) const FLUSHES: u32 = 5;

/// The wait before a retry for slow followers, and for descriptors that the kernel does not report on.
const LATER: Duration = Duration::from_millis(50);

const WAKER: u64 = 0;
const STDOUT: u64 = 1;
const STDERR: u64 = 2;
const FIRST_PIPE: u64 = 3;

/// One pipe.
struct Pipe {
    source: Source,
    fd: OwnedFd,
    framing: Framing,
    /// Whether the kernel reports new output. There is a limit of descriptors that a user may watch.
    is_watched: bool,
    is_paused: bool,
    /// Whether its worker has exited.
    is_left: bool,
}

/// See the module documentation.
pub(super) struct LogThread {
    poller: Poller,
    commands: (Receiver<Command>, Waker),
    sink: Sink,
    pipes: BTreeMap<u64, Pipe>,
    next: u64,
    room: Vec<u8>,
    /// Whether the kernel does not report room in an output.
    is_unwatched: bool,
    on_failure: Box<dyn Fn(String) + Send>,
}

impl LogThread {
    pub(super) fn new(
        mode: Mode,
        outputs: Outputs,
        commands: (Receiver<Command>, Waker),
        (tails, counts): (Tails, Arc<Counts>),
        on_failure: Box<dyn Fn(String) + Send>,
    ) -> Result<Self, SysError> {
        let poller = Poller::new()?;
        poller.add(&commands.1, WAKER)?;
        Ok(Self {
            poller,
            commands,
            sink: Sink::new(mode, outputs, tails, counts),
            pipes: BTreeMap::new(),
            next: FIRST_PIPE,
            room: vec![0; PIECE],
            is_unwatched: false,
            on_failure,
        })
    }

    /// Waits, and handles what there is. Returns false when it must end.
    fn turn(&mut self, limit: Option<Duration>) -> Result<bool, SysError> {
        Ok(!self.wait(limit)? || self.on_commands()?)
    }

    /// Waits, reads and writes as far as possible. Returns true if there are commands.
    fn wait(&mut self, limit: Option<Duration>) -> Result<bool, SysError> {
        let count = self.poller.wait(limit)?;
        let mut has_commands = false;
        for index in 0..count {
            match self.poller.token(index) {
                WAKER => {
                    self.commands.1.clear();
                    has_commands = true;
                }
                STDOUT => self.on_room(Stream::Stdout),
                STDERR => self.on_room(Stream::Stderr),
                token => self.read(token, PIECE)?,
            }
        }
        if std::mem::take(&mut self.is_unwatched) {
            self.on_room(Stream::Stdout);
            self.on_room(Stream::Stderr);
        }
        self.read_unwatched()?;
        Ok(has_commands)
    }

    fn has_unwatched(&self) -> bool {
        self.pipes.values().any(|pipe| !pipe.is_watched)
    }

    /// Tries again to watch pipes, and reads those that still cannot be watched.
    fn read_unwatched(&mut self) -> Result<(), SysError> {
        if !self.has_unwatched() {
            return Ok(());
        }
        for token in self.pipes.keys().copied().collect::<Vec<_>>() {
            let Some(pipe) = self.pipes.get_mut(&token).filter(|it| !it.is_watched && !it.is_paused) else {
                continue;
            };
            pipe.is_watched = self.poller.add(&pipe.fd, token).is_ok();
            if !pipe.is_watched {
                self.read(token, PIECE)?;
            }
        }
        Ok(())
    }

    /// Writes and sends. Returns how long to wait for the next deadline.
    fn pass_on(&mut self) -> Result<Option<Duration>, SysError> {
        let more = self.sink.write();
        self.watch_room();
        self.pause()?;
        self.sink.send();
        if more {
            return Ok(Some(Duration::ZERO));
        }
        let polls = self.is_unwatched || self.has_unwatched() || self.sink.has_followers_behind();
        let later = polls.then_some(LATER);
        Ok([self.sink.timeout(), later].into_iter().flatten().min())
    }

    fn on_room(&mut self, stream: Stream) {
        if let Some(out) = self.sink.out(stream) {
            out.is_full = false;
        }
    }

    /// Watches full outputs for room.
    fn watch_room(&mut self) {
        for (stream, token) in [(Stream::Stdout, STDOUT), (Stream::Stderr, STDERR)] {
            let Some(out) = self.sink.out(stream).filter(|out| out.is_full) else { continue };
            let watched = self.poller.change(&out.output, token, Interest::WritableOnce);
            let watched = watched.or_else(|_| self.poller.watch(&out.output, token, Interest::WritableOnce));
            // Not every kind of file can be polled.
            self.is_unwatched |= watched.is_err();
        }
    }

    /// Stops reading streams that cannot be written for now, and resumes the others.
    fn pause(&mut self) -> Result<(), SysError> {
        let paused = |stream| self.sink.wants_pause(stream);
        let paused = [paused(Stream::Stdout), paused(Stream::Stderr)];
        for (token, pipe) in &mut self.pipes {
            let wanted = paused[super::index(pipe.source.stream)];
            if wanted != pipe.is_paused {
                pipe.is_paused = wanted;
                if pipe.is_watched {
                    let interest = if wanted { Interest::Nothing } else { Interest::Readable };
                    self.poller.change(&pipe.fd, *token, interest)?;
                }
            }
        }
        Ok(())
    }

    fn on_commands(&mut self) -> Result<bool, SysError> {
        loop {
            match self.commands.0.try_recv() {
                Ok(Command::Add { worker, slot, pipes }) => self.add(worker, slot, pipes),
                Ok(Command::Promote { worker, slot }) => {
                    for pipe in self.pipes.values_mut().filter(|it| it.source.worker == worker) {
                        pipe.source.slot = Some(slot);
                    }
                }
                Ok(Command::Finish { worker, done }) => {
                    self.finish(worker)?;
                    // The send fails if the requester did not wait.
                    let _late = done.send(());
                }
                Ok(Command::Recent { slot, lines, follow, answer }) => {
                    let is_asked = answer.send(self.sink.recent(slot, lines)).is_ok();
                    if let Some(follow) = follow.filter(|_| is_asked) {
                        self.sink.follow(follow);
                    }
                }
                Ok(Command::Flush { limit, done }) => {
                    self.flush(limit)?;
                    // The send fails if the requester did not wait.
                    let _late = done.send(());
                }
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return Ok(false),
                Err(TryRecvError::Empty) => return Ok(true),
            }
        }
    }

    fn add(&mut self, worker: WorkerId, slot: Option<Slot>, pipes: Vec<WorkerPipe>) {
        for WorkerPipe { stream, pipe: fd } in pipes {
            let token = self.next;
            self.next += 1;
            let is_watched = self.poller.add(&fd, token).is_ok();
            let source = Source { worker, slot, stream };
            let framing = Framing::default();
            self.pipes
                .insert(token, Pipe { source, fd, framing, is_watched, is_paused: false, is_left: false });
        }
    }

    /// A worker has exited. Its output is in the pipe.
    fn finish(&mut self, worker: WorkerId) -> Result<(), SysError> {
        let own = self.pipes.iter().filter(|(_, it)| it.source.worker == worker);
        for token in own.map(|(token, _)| *token).collect::<Vec<_>>() {
            self.read_rest(token)?;
            if let Some(pipe) = self.pipes.get_mut(&token) {
                let (source, clock) = (pipe.source, clock());
                pipe.framing.finish(|line| self.sink.take(source, clock, line));
                pipe.is_left = true;
            }
        }
        let left = self.pipes.iter().filter(|(_, it)| it.is_left).map(|(token, _)| *token);
        let left: Vec<u64> = left.collect();
        for token in left.iter().take(left.len().saturating_sub(MOST_LEFT)) {
            self.close(*token)?;
        }
        Ok(())
    }

    /// Reads exactly as much as is in a pipe now, because processes may go on writing to it.
    fn read_rest(&mut self, token: u64) -> Result<(), SysError> {
        let pipe = self.pipes.get(&token);
        let mut left = pipe.and_then(|it| unread(it.fd.as_raw_fd()).ok()).map_or(0, |count| count as usize);
        while left > 0 && self.pipes.contains_key(&token) {
            let most = left.min(PIECE);
            self.read(token, most)?;
            left -= most;
        }
        Ok(())
    }

    /// Reads once from a pipe.
    fn read(&mut self, token: u64, most: usize) -> Result<(), SysError> {
        let Some(pipe) = self.pipes.get_mut(&token) else { return Ok(()) };
        let (source, clock) = (pipe.source, clock());
        match read_some(&pipe.fd, &mut self.room[..most]) {
            Ok(Some(count)) if count > 0 => {
                pipe.framing.push(&self.room[..count], |line| self.sink.take(source, clock, line));
                Ok(())
            }
            Ok(None) => Ok(()),
            // There are no writers any more. An error counts as the end as well.
            Ok(Some(_)) | Err(_) => self.close(token),
        }
    }

    fn close(&mut self, token: u64) -> Result<(), SysError> {
        let Some(mut pipe) = self.pipes.remove(&token) else { return Ok(()) };
        let clock = clock();
        pipe.framing.finish(|line| self.sink.take(pipe.source, clock, line));
        if pipe.is_watched { self.poller.remove(&pipe.fd) } else { Ok(()) }
    }

    /// Reads what is in all pipes, and writes it. A reader may take `limit` to read some of it.
    fn flush(&mut self, limit: Duration) -> Result<(), SysError> {
        let end = Instant::now() + limit * FLUSHES;
        for token in self.pipes.keys().copied().collect::<Vec<_>>() {
            self.read_rest(token)?;
        }
        self.sink.tell_lost();
        let (mut waiting, mut deadline) = (usize::MAX, end);
        loop {
            let wait = self.pass_on()?;
            let now = Instant::now();
            if self.sink.waiting() < waiting {
                waiting = self.sink.waiting();
                deadline = (now + limit).min(end);
            }
            let left = deadline.saturating_duration_since(now);
            if waiting == 0 || left.is_zero() {
                return Ok(());
            }
            let wait = wait.map_or(left, |wait| wait.min(left));
            // The caller handles the commands afterwards.
            let _has_commands = self.wait(Some(wait))?;
        }
    }
}

impl Run for LogThread {
    const NAME: &'static str = "rcluster-log";

    fn run(&mut self) -> Result<(), SysError> {
        loop {
            let wait = self.pass_on()?;
            if !self.turn(wait)? {
                return Ok(());
            }
        }
    }

    fn on_failure(&self, why: String) {
        (self.on_failure)(why);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, remove_file, write};
    use std::sync::mpsc::channel;

    use super::*;
    use rcluster_core::logs::Tail;

    /// The kernel refuses to watch a regular file, as it does any descriptor beyond the user's limit.
    #[test]
    fn a_pipe_that_cannot_be_watched_is_read_all_the_same() {
        let path = std::env::temp_dir().join(format!("rcluster-unwatched-{}", std::process::id()));
        write(&path, "first\nlast\n").unwrap();
        let pipe = File::open(&path).unwrap().into();
        remove_file(&path).unwrap();
        let (waker, tails) = (Waker::new().unwrap(), Tails::default());
        let (commands, queue) = channel();
        let outputs = Outputs { stdout: None, stderr: None };
        let shared = (tails.clone(), Arc::default());
        let failed = Box::new(|why| panic!("{why}"));
        let mut thread =
            LogThread::new(Mode::Inherit, outputs, (queue, waker.clone()), shared, failed).unwrap();
        let worker = WorkerId(1);
        tails.lock().insert(worker, Tail::default());
        let pipes = vec![WorkerPipe { stream: Stream::Stderr, pipe }];
        commands.send(Command::Add { worker, slot: None, pipes }).unwrap();
        waker.wake();
        let has_all = || tails.lock().get(&worker).is_some_and(|tail| tail.lines().len() == 2);
        while !has_all() {
            let wait = thread.pass_on().unwrap();
            assert!(thread.turn(wait).unwrap());
        }
        assert_eq!(*tails.lock()[&worker].lines(), ["first", "last"]);
    }
}
