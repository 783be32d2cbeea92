//! The destinations of lines: the primary's stdout and stderr, the buffers of last lines, and the followers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::follower::{Follow, Follower};
use super::{Counts, Outputs, Tails, index};
use rcluster_core::ids::Slot;
use rcluster_core::logs::format::write_line;
use rcluster_core::logs::{Line, Mode, Outlet, Recent, Record, Source, Stream};
use rcluster_sys::output::{Output, Wrote};

/// The maximum number of bytes written to one output before others get their turn.
const TURN: usize = 1 << 20;

/// One of the primary's streams.
pub(super) struct Out {
    pub(super) stream: Stream,
    pub(super) output: Output,
    outlet: Outlet,
    /// Whether it has no room now.
    pub(super) is_full: bool,
}

/// See the module documentation.
pub(super) struct Sink {
    mode: Mode,
    start: Instant,
    outs: [Option<Out>; 2],
    recent: Recent,
    followers: Vec<Follower>,
    tails: Tails,
    counts: Arc<Counts>,
    /// The line being formatted.
    line: Vec<u8>,
}

impl Sink {
    pub(super) fn new(mode: Mode, outputs: Outputs, tails: Tails, counts: Arc<Counts>) -> Self {
        let out = |stream, output: Option<Output>| {
            output.map(|output| Out { stream, output, outlet: Outlet::new(mode, stream), is_full: false })
        };
        Self {
            mode,
            start: Instant::now(),
            outs: [out(Stream::Stdout, outputs.stdout), out(Stream::Stderr, outputs.stderr)],
            recent: Recent::default(),
            followers: Vec::new(),
            tails,
            counts,
            line: Vec::new(),
        }
    }

    pub(super) fn out(&mut self, stream: Stream) -> Option<&mut Out> {
        self.outs[index(stream)].as_mut()
    }

    /// Takes a worker's line. `clock` is the time at which it was read, in ms since the epoch.
    pub(super) fn take(&mut self, source: Source, clock: u64, line: Line<'_>) {
        self.counts.lines.fetch_add(1, Ordering::Relaxed);
        self.counts.bytes.fetch_add(line.size(), Ordering::Relaxed);
        if source.stream == Stream::Stderr
            && let Some(tail) = self.tails.lock().get_mut(&source.worker)
        {
            tail.push(line);
        }
        if let Some(out) = &mut self.outs[index(source.stream)] {
            self.line.clear();
            write_line(self.mode, source, clock, line, &mut self.line);
            out.outlet.push(self.start.elapsed(), clock, &self.line, line.size());
        }
        let record = Record::new(source, clock, line);
        for follower in &mut self.followers {
            if follower.wants(&record) {
                follower.push(&record);
            }
        }
        self.recent.push(record);
    }

    pub(super) fn recent(&self, slot: Option<Slot>, lines: usize) -> Vec<Record> {
        self.recent.last(slot, lines).into_iter().cloned().collect()
    }

    pub(super) fn follow(&mut self, follow: Follow) {
        self.followers.push(Follower::new(follow));
    }

    /// Sends what waits to the followers, and removes those that are gone.
    pub(super) fn send(&mut self) {
        self.followers.retain_mut(Follower::send);
    }

    /// Whether lines wait for a follower that has not taken earlier ones.
    pub(super) fn has_followers_behind(&self) -> bool {
        self.followers.iter().any(Follower::is_waiting)
    }

    /// Writes as much as there is room for. Returns true if there may be more room.
    pub(super) fn write(&mut self) -> bool {
        let now = self.start.elapsed();
        let mut more = false;
        for out in self.outs.iter_mut().flatten() {
            let before = out.outlet.waiting();
            // Tried once more before the output is considered blocked.
            out.is_full &= out.outlet.deadline().is_none_or(|at| at > now);
            while !out.is_full && out.outlet.waiting() > 0 && before < out.outlet.waiting() + TURN {
                out.write_some(now);
            }
            if out.is_full {
                out.outlet.on_time(now);
            }
            more |= !out.is_full && out.outlet.waiting() > 0;
            self.counts.set_lost(out.stream, out.outlet.lost());
        }
        more
    }

    /// Reports lost lines even if no further line comes.
    pub(super) fn tell_lost(&mut self) {
        for out in self.outs.iter_mut().flatten() {
            out.outlet.tell_lost(clock());
        }
    }

    /// The number of bytes that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.outs.iter().flatten().map(|out| out.outlet.waiting()).sum()
    }

    /// Whether workers must be paused in writing this stream.
    pub(super) fn wants_pause(&self, stream: Stream) -> bool {
        self.outs[index(stream)].as_ref().is_some_and(|out| out.outlet.wants_pause())
    }

    /// The time until the next deadline.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let deadlines = self.outs.iter().flatten().filter_map(|out| out.outlet.deadline());
        deadlines.min().map(|at| at.saturating_sub(self.start.elapsed()))
    }
}

impl Out {
    fn write_some(&mut self, now: Duration) {
        let chunk = self.outlet.chunk(self.output.piece());
        match self.output.write(chunk) {
            Ok(Wrote::Some(count)) => self.outlet.on_written(now, count),
            Ok(Wrote::Full) => self.is_full = true,
            // There is no reader, or a disk is full. Tried again with the next line.
            Err(_) => self.outlet.on_refused(),
        }
    }
}

/// The time in ms since the epoch.
pub(super) fn clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
