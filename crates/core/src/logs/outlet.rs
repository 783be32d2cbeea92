//! The bytes that wait to be written to the primary's stdout or stderr.
//!
//! The reader there may be slow or blocked. As long as it keeps reading, workers must wait for it: their
//! pipes are not read ([`Outlet::wants_pause`]), so that nothing is lost. If it reads nothing for
//! [`PATIENCE`] although something is offered, the outlet stops waiting: whole lines are dropped and counted,
//! and one line reports them as soon as there is room.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::{Mode, Stream, format};

/// With this many waiting bytes, workers must wait.
pub const CROWDED: usize = 1 << 20;

/// After dropping, lines are kept again when no more than this many bytes wait.
const ROOMY: usize = CROWDED / 2;

/// The limit for lines that come although workers must wait: the last lines of workers that end.
const FULL: usize = 2 * CROWDED;

/// How long the reader may read nothing although something is offered.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How many attempts in a row must write nothing. Elapsed time alone does not count: if this thread has not
/// run for seconds, it has offered nothing meanwhile.
const TRIES: u32 = 4;

/// The memory that an empty queue keeps, in bytes.
const KEPT: usize = 64 << 10;

/// The lines that could not be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// The number of lines.
    pub lines: u64,
    /// The number of their bytes, as the workers have written them.
    pub bytes: u64,
}

impl Lost {
    fn add(&mut self, other: Self) {
        self.lines += other.lines;
        self.bytes += other.bytes;
    }
}

/// The queue of one stream: see the module. Times count from any fixed moment.
#[derive(Debug)]
pub struct Outlet {
    mode: Mode,
    stream: Stream,
    queue: Vec<u8>,
    /// The number of bytes of the queue that have been written.
    written: usize,
    /// The number of bytes that were written and are no longer in the queue.
    removed: u64,
    /// When something was last written, or last offered without success.
    since: Duration,
    /// The number of attempts in a row that wrote nothing.
    tries: u32,
    /// Whether lines are being dropped.
    is_losing: bool,
    /// Lines dropped and not yet reported.
    untold: Lost,
    /// All lines dropped so far.
    lost: Lost,
    /// Whether the last byte written is in the middle of a line.
    is_torn: bool,
    /// The lines in the queue that have not been completely written, in order: where each ends, counted from the first
    /// byte ever queued, and its bytes as its worker has written them.
    lines: VecDeque<(u64, u64)>,
    /// The same for reports: where each ends, and what it reports.
    reports: VecDeque<(u64, Lost)>,
}

impl Outlet {
    /// Creates an empty queue. `mode` is the format of reports of dropped lines.
    #[must_use]
    pub fn new(mode: Mode, stream: Stream) -> Self {
        Self {
            mode,
            stream,
            queue: Vec::new(),
            written: 0,
            removed: 0,
            since: Duration::ZERO,
            tries: 0,
            is_losing: false,
            untold: Lost::default(),
            lost: Lost::default(),
            is_torn: false,
            lines: VecDeque::new(),
            reports: VecDeque::new(),
        }
    }

    /// The number of waiting bytes.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len() - self.written
    }

    /// The lines dropped so far.
    #[must_use]
    pub fn lost(&self) -> Lost {
        self.lost
    }

    /// Adds a line as it is to be written, including its end. Its worker has written `bytes` for it. `clock` is in ms since
    /// the epoch.
    pub fn push(&mut self, now: Duration, clock: u64, line: &[u8], bytes: u64) {
        self.is_losing &= self.waiting() > ROOMY;
        self.is_losing |= self.waiting() + line.len() > FULL;
        if self.is_losing {
            return self.lose(bytes);
        }
        if self.waiting() == 0 {
            (self.since, self.tries) = (now, 0);
        }
        self.tell_lost(clock);
        self.end_torn();
        self.queue.extend_from_slice(line);
        self.lines.push_back((self.end(), bytes));
    }

    /// Queues a report of the dropped lines, if there are any.
    pub fn tell_lost(&mut self, clock: u64) {
        if self.untold.lines == 0 {
            return;
        }
        let lost = std::mem::take(&mut self.untold);
        self.end_torn();
        self.queue.extend(format::note(self.mode, self.stream, clock, lost));
        self.reports.push_back((self.end(), lost));
    }

    /// The bytes to write next: whole lines of at most `most` bytes in total, or a part of a longer line.
    #[must_use]
    pub fn chunk(&self, most: usize) -> &[u8] {
        let waiting = &self.queue[self.written..];
        if waiting.len() <= most {
            return waiting;
        }
        let end = waiting[..most].iter().rposition(|byte| *byte == b'\n');
        &waiting[..end.map_or(most, |end| end + 1)]
    }

    /// This many bytes of the chunk were written.
    pub fn on_written(&mut self, now: Duration, count: usize) {
        if count == 0 {
            return;
        }
        self.written += count;
        self.is_torn = self.queue[self.written - 1] != b'\n';
        (self.since, self.tries) = (now, 0);
        let place = self.removed + self.written as u64;
        while self.lines.front().is_some_and(|(end, _)| *end <= place) {
            self.lines.pop_front();
        }
        while self.reports.front().is_some_and(|(end, _)| *end <= place) {
            self.reports.pop_front();
        }
        self.compact();
    }

    /// The reader is gone, or writing failed for another reason: the queue is dropped. Reports that were not
    /// completely written are repeated later.
    pub fn on_refused(&mut self) {
        self.removed = self.end();
        (self.queue, self.written) = (Vec::new(), 0);
        for (_, bytes) in std::mem::take(&mut self.lines) {
            self.lose(bytes);
        }
        for (_, lost) in std::mem::take(&mut self.reports) {
            self.untold.add(lost);
        }
    }

    /// Whether workers must wait.
    #[must_use]
    pub fn wants_pause(&self) -> bool {
        !self.is_losing && self.waiting() >= CROWDED
    }

    /// When to call [`Outlet::on_time`].
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.wants_pause().then(|| self.since + PATIENCE / TRIES)
    }

    /// The reader was offered something and has read nothing. After too long a time, workers need not wait
    /// any longer.
    pub fn on_time(&mut self, now: Duration) {
        if self.deadline().is_some_and(|at| at <= now) {
            (self.since, self.tries) = (now, self.tries + 1);
            self.is_losing = self.tries >= TRIES;
        }
    }

    /// Ends a line that was written in part and whose rest was dropped.
    fn end_torn(&mut self) {
        if self.waiting() == 0 && self.is_torn {
            self.queue.push(b'\n');
        }
    }

    /// Where the queue ends, counted from the first byte ever queued.
    fn end(&self) -> u64 {
        self.removed + self.queue.len() as u64
    }

    fn lose(&mut self, bytes: u64) {
        let line = Lost { lines: 1, bytes };
        self.lost.add(line);
        self.untold.add(line);
    }

    /// Frees the memory of what has been written.
    fn compact(&mut self) {
        if self.waiting() == 0 {
            self.queue.clear();
            self.queue.shrink_to(KEPT);
            self.lines.shrink_to(KEPT / size_of::<(u64, u64)>());
        } else if self.written >= CROWDED / 4 {
            self.queue.drain(..self.written);
        } else {
            return;
        }
        self.removed += std::mem::take(&mut self.written) as u64;
    }
}

#[cfg(test)]
mod tests {
    use rcluster_testing::seeds;

    use super::*;
    use crate::random::Random;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn outlet() -> Outlet {
        Outlet::new(Mode::Raw, Stream::Stdout)
    }

    /// Pushes an undecorated line.
    fn push(outlet: &mut Outlet, ms: u64, line: &[u8]) {
        outlet.push(at(ms), 0, line, line.len() as u64);
    }

    /// Writes everything that waits.
    fn drain(outlet: &mut Outlet, now: Duration) -> String {
        let mut all = Vec::new();
        while outlet.waiting() > 0 {
            let chunk = outlet.chunk(4096).to_vec();
            outlet.on_written(now, chunk.len());
            all.extend(chunk);
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn chunks_are_whole_lines_unless_a_line_is_longer() {
        let mut outlet = outlet();
        push(&mut outlet, 0, b"one\n");
        push(&mut outlet, 0, b"two\n");
        push(&mut outlet, 0, b"a long one\n");
        assert_eq!(outlet.chunk(100), b"one\ntwo\na long one\n");
        assert_eq!(outlet.chunk(9), b"one\ntwo\n");
        outlet.on_written(at(0), 8);
        assert_eq!(outlet.chunk(4), b"a lo");
        outlet.on_written(at(0), 4);
        assert_eq!(outlet.chunk(100), b"ng one\n");
    }

    #[test]
    fn workers_wait_for_a_slow_reader_and_not_for_one_that_does_not_read() {
        let mut outlet = outlet();
        let line = [b'x'; 1023].iter().copied().chain([b'\n']).collect::<Vec<u8>>();
        while !outlet.wants_pause() {
            push(&mut outlet, 0, &line);
        }
        for step in 1..10 {
            let now = at(step * 10_000);
            outlet.on_time(now);
            assert!(outlet.wants_pause(), "it takes something, and this thread came late");
            outlet.on_written(now, 1024);
            push(&mut outlet, step * 10_000, &line);
        }
        let last = at(90_000);
        for tried in 1..TRIES {
            assert_eq!(outlet.deadline(), Some(last + PATIENCE / TRIES * tried));
            outlet.on_time(last + PATIENCE / TRIES * tried);
            assert!(outlet.wants_pause());
        }
        outlet.on_time(last + PATIENCE);
        assert!(!outlet.wants_pause() && outlet.deadline().is_none());
        let last = 90_000;
        for _ in 0..1000 {
            push(&mut outlet, last + 3000, b"lost\n");
        }
        assert_eq!(outlet.lost(), Lost { lines: 1000, bytes: 5000 });
        drain(&mut outlet, at(last + 4000));
        push(&mut outlet, last + 3000, b"kept\n");
        push(&mut outlet, last + 3000, b"too\n");
        assert_eq!(
            drain(&mut outlet, at(last + 3000)),
            "rcluster: 1000 lines (5000 bytes) are missing here: stdout did not take them in time\nkept\ntoo\n"
        );
        assert_eq!(outlet.lost().lines, 1000);
    }

    #[test]
    fn dropped_lines_are_reported_once_there_is_room() {
        let mut outlet = outlet();
        push(&mut outlet, 0, b"one\n");
        push(&mut outlet, 0, b"two\n");
        outlet.on_written(at(0), 2);
        outlet.on_refused();
        assert_eq!((outlet.waiting(), outlet.lost().lines), (0, 2));
        push(&mut outlet, 1, b"three\n");
        assert!(outlet.chunk(4096).starts_with(b"\nrcluster: 2 lines"), "what was torn is ended");
        outlet.on_refused();
        assert_eq!(outlet.lost().lines, 3, "a note is no line of a worker's");
        push(&mut outlet, 2, b"four\n");
        assert!(outlet.chunk(4096).starts_with(b"\nrcluster: 3 lines"), "what was not told is told again");
        outlet.on_written(at(2), 5);
        outlet.on_refused();
        push(&mut outlet, 3, b"five\n");
        assert_eq!(outlet.lost().lines, 4);
        assert!(outlet.chunk(4096).starts_with(b"\nrcluster: 4 lines"), "nor is a torn one");
    }

    #[test]
    fn the_bytes_of_lost_lines_are_those_that_workers_have_written() {
        let mut outlet = outlet();
        for _ in 0..3 {
            outlet.push(at(0), 0, b"[0] one\n", 4);
        }
        outlet.on_written(at(0), 8 + 2);
        outlet.on_refused();
        assert_eq!(outlet.lost(), Lost { lines: 2, bytes: 8 }, "what is written is not lost");
        outlet.push(at(1), 0, &vec![b'x'; FULL + 1], 9);
        assert_eq!(outlet.lost(), Lost { lines: 3, bytes: 17 });
    }

    #[test]
    fn each_line_is_written_or_counted_for_any_input() {
        for seed in seeds(200).each() {
            let mut random = Random::new(seed.number);
            let mut outlet = outlet();
            let (mut now, mut pushed, mut bytes, mut all) = (0, 0_u64, 0_u64, Vec::new());
            for _ in 0..600 {
                now += u64::from(random.number(0, 300));
                outlet.on_time(at(now));
                match random.below(10) {
                    0..=5 => {
                        let most = if random.one_in(20) { 300_000 } else { 10_000 };
                        let mut line = vec![b'x'; random.below(most)];
                        line.push(b'\n');
                        pushed += 1;
                        bytes += line.len() as u64;
                        push(&mut outlet, now, &line);
                    }
                    6 if random.one_in(30) => outlet.on_refused(),
                    6 => {}
                    _ => {
                        let chunk = outlet.chunk(1 + random.below(5000));
                        let chunk = chunk[..random.below(chunk.len() + 1)].to_vec();
                        outlet.on_written(at(now), chunk.len());
                        all.extend(chunk);
                    }
                }
                assert!(outlet.waiting() <= FULL + 200, "it is bounded");
            }
            all.extend(drain(&mut outlet, at(now)).into_bytes());
            let lines = all.split(|byte| *byte == b'\n').filter(|line| line.first() != Some(&b'r'));
            let torn =
                all.split(|byte| *byte == b'\n').filter(|line| line.contains(&b'r') && line[0] != b'r');
            assert_eq!(torn.count(), 0, "a note is a line of its own");
            // A line that was refused after a part of it had been written counts as written and as dropped;
            // so does an empty one.
            let written = lines.count() as u64 - 1;
            assert!(written + outlet.lost().lines >= pushed, "{written} of {pushed}");
            assert!(all.len() as u64 + outlet.lost().bytes >= bytes, "{} of {bytes}", all.len());
        }
    }
}
