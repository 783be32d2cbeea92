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
    /// The number of their bytes.
    pub bytes: u64,
}

impl Lost {
    fn add(&mut self, text: &[u8]) {
        self.lines += text.split(|byte| *byte == b'\n').skip(1).count() as u64;
        self.bytes += text.len() as u64;
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
    /// The parts of the queue that are not lines of workers, in order.
    notes: VecDeque<Note>,
}

/// A part of the queue written by the outlet itself: a report of dropped lines, or the end of a torn line.
#[derive(Clone, Copy, Debug)]
struct Note {
    from: usize,
    to: usize,
    /// The lines that it reports.
    lost: Lost,
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
            since: Duration::ZERO,
            tries: 0,
            is_losing: false,
            untold: Lost::default(),
            lost: Lost::default(),
            is_torn: false,
            notes: VecDeque::new(),
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

    /// Adds a line, including its end. `clock` is in ms since the epoch.
    pub fn push(&mut self, now: Duration, clock: u64, line: &[u8]) {
        self.is_losing &= self.waiting() > ROOMY;
        self.is_losing |= self.waiting() + line.len() > FULL;
        if self.is_losing {
            return self.lose(line);
        }
        if self.waiting() == 0 {
            (self.since, self.tries) = (now, 0);
        }
        self.tell_lost(clock);
        self.end_torn();
        self.queue.extend_from_slice(line);
    }

    /// Queues a report of the dropped lines, if there are any.
    pub fn tell_lost(&mut self, clock: u64) {
        if self.untold.lines == 0 {
            return;
        }
        let lost = std::mem::take(&mut self.untold);
        self.end_torn();
        self.push_note(&format::note(self.mode, self.stream, clock, lost), lost);
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
        self.compact();
    }

    /// The reader is gone, or writing failed for another reason: the queue is dropped. Reports that were not
    /// completely written are repeated later.
    pub fn on_refused(&mut self) {
        let queue = std::mem::take(&mut self.queue);
        let mut from = std::mem::take(&mut self.written);
        let written = from;
        for note in std::mem::take(&mut self.notes).into_iter().filter(|note| note.to > written) {
            self.lose(&queue[from..note.from.max(from)]);
            self.untold.lines += note.lost.lines;
            self.untold.bytes += note.lost.bytes;
            from = note.to;
        }
        self.lose(&queue[from..]);
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
            self.push_note(b"\n", Lost::default());
        }
    }

    fn push_note(&mut self, text: &[u8], lost: Lost) {
        let from = self.queue.len();
        self.queue.extend_from_slice(text);
        self.notes.push_back(Note { from, to: self.queue.len(), lost });
    }

    fn lose(&mut self, line: &[u8]) {
        self.lost.add(line);
        self.untold.add(line);
    }

    /// Frees the memory of what has been written.
    fn compact(&mut self) {
        if self.waiting() == 0 {
            self.queue.clear();
            self.queue.shrink_to(KEPT);
        } else if self.written >= CROWDED / 4 {
            self.queue.drain(..self.written);
        } else {
            return;
        }
        let written = std::mem::take(&mut self.written);
        self.notes.retain(|note| note.to > written);
        for note in &mut self.notes {
            (note.from, note.to) = (note.from.saturating_sub(written), note.to - written);
        }
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
        outlet.push(at(0), 0, b"one\n");
        outlet.push(at(0), 0, b"two\n");
        outlet.push(at(0), 0, b"a long one\n");
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
            outlet.push(at(0), 0, &line);
        }
        for step in 1..10 {
            let now = at(step * 10_000);
            outlet.on_time(now);
            assert!(outlet.wants_pause(), "it takes something, and this thread came late");
            outlet.on_written(now, 1024);
            outlet.push(now, 0, &line);
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
            outlet.push(at(last + 3000), 0, b"lost\n");
        }
        assert_eq!(outlet.lost(), Lost { lines: 1000, bytes: 5000 });
        drain(&mut outlet, at(last + 4000));
        outlet.push(at(last + 3000), 7, b"kept\n");
        outlet.push(at(last + 3000), 7, b"too\n");
        assert_eq!(
            drain(&mut outlet, at(last + 3000)),
            "rcluster: 1000 lines (5000 bytes) are missing here: stdout was not read in time\nkept\ntoo\n"
        );
        assert_eq!(outlet.lost().lines, 1000);
    }

    #[test]
    fn what_is_refused_is_lost_and_told_once_it_can_be() {
        let mut outlet = outlet();
        outlet.push(at(0), 0, b"one\n");
        outlet.push(at(0), 0, b"two\n");
        outlet.on_written(at(0), 2);
        outlet.on_refused();
        assert_eq!((outlet.waiting(), outlet.lost().lines), (0, 2));
        outlet.push(at(1), 0, b"three\n");
        assert!(outlet.chunk(4096).starts_with(b"\nrcluster: 2 lines"), "what was torn is ended");
        outlet.on_refused();
        assert_eq!(outlet.lost().lines, 3, "a note is no line of a worker's");
        outlet.push(at(2), 0, b"four\n");
        assert!(outlet.chunk(4096).starts_with(b"\nrcluster: 3 lines"), "what was not told is told again");
        outlet.on_written(at(2), 5);
        outlet.on_refused();
        outlet.push(at(3), 0, b"five\n");
        assert_eq!(outlet.lost().lines, 4);
        assert!(outlet.chunk(4096).starts_with(b"\nrcluster: 4 lines"), "nor is a torn one");
    }

    #[test]
    fn each_line_is_written_or_counted_whatever_comes() {
        for seed in seeds(200).each() {
            let mut random = Random::new(seed.number);
            let mut outlet = outlet();
            let (mut now, mut pushed, mut all) = (0, 0_u64, Vec::new());
            for _ in 0..600 {
                now += u64::from(random.number(0, 300));
                outlet.on_time(at(now));
                match random.below(10) {
                    0..=5 => {
                        let most = if random.one_in(20) { 300_000 } else { 10_000 };
                        let mut line = vec![b'x'; random.below(most)];
                        line.push(b'\n');
                        pushed += 1;
                        outlet.push(at(now), 0, &line);
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
        }
    }
}
