//! The channel between one process and the writer of a store: a page of memory that both write to.
//!
//! The process puts requests into a ring, and the writer puts an answer to each into another ring, in the
//! same order. Counters give the number of entries. A side that is about to sleep first sets a flag and then
//! checks once more; only then does the other side need a system call to wake it. Nothing else on the page
//! blocks.
//!
//! The writer does not trust the page: it holds only atomics, the writer keeps its own counters elsewhere,
//! and it copies a request before it parses it. A process that corrupts its page harms only its own requests.

use super::atomic::{AtomicU64, Ordering, fence};
use super::ops::{Outcome, Status};

/// The largest number of unanswered requests of one process.
pub const WINDOW: u64 = WINDOW_LEN as u64;
const WINDOW_LEN: usize = 1024;

// Words written by the process.
const PRODUCED: usize = 0;
const WANTED: usize = 8;
// Words written by the writer.
const CONSUMED: usize = 16;
const ANSWERED: usize = 17;
/// Set by the writer, cleared by the process.
const ASLEEP: usize = 24;
/// A number that the writer sets for the process. Its meaning is up to the two.
const NOTED: usize = 25;
/// Numbers that the process publishes. Their meaning is up to the two.
const PUBLISHED: usize = 32;
/// The number of published words.
pub const PUBLISHED_WORDS: usize = 32;
/// One bit for each of 2^16 groups of keys: whether a key of the group has been read.
const USED: usize = PUBLISHED + PUBLISHED_WORDS;
const USED_WORDS: usize = 1024;
const ANSWERS: usize = USED + USED_WORDS;
const ANSWER_WORDS: usize = 3;
const DATA: usize = ANSWERS + WINDOW_LEN * ANSWER_WORDS;

/// Marks padding in the ring.
const PAD: u64 = 1 << 63;

/// While the ring is empty and the position is past this many words, writing restarts at the beginning, so
/// that no more memory is touched than needed. Until the writer has skipped the rest, this much room remains:
/// some hundred short requests.
const NEAR: usize = 8192;

/// The reason for which a process wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// An answer.
    Answers = 1,
    /// A change of the store.
    Changes = 2,
}

/// The number of words of a page for requests of up to `longest` words.
#[must_use]
pub fn page_words(longest: usize) -> usize {
    DATA + data_words(longest)
}

fn data_words(longest: usize) -> usize {
    (2 * (longest + 1)).next_power_of_two().max(4096)
}

/// The process' side of a page.
#[derive(Debug)]
pub struct Requests<M> {
    page: M,
    capacity: usize,
    produced: u64,
    sent: u64,
    taken: u64,
}

/// The result of [`Requests::push`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The request is in the ring.
    Done {
        /// The writer is asleep and must be woken.
        wake: bool,
    },
    /// There is no room now. The next answer makes room.
    Full,
    /// The request is longer than the ring accepts.
    TooLong,
}

impl<M: AsRef<[AtomicU64]>> Requests<M> {
    /// Creates the process' side of a zeroed page. `None` if the page is too small.
    pub fn new(page: M) -> Option<Self> {
        let capacity = page.as_ref().len().checked_sub(DATA).filter(|capacity| *capacity >= 2)?;
        Some(Self { page, capacity, produced: 0, sent: 0, taken: 0 })
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.page.as_ref()[at]
    }

    /// The page.
    pub fn page(&self) -> &M {
        &self.page
    }

    /// Puts a request into the ring.
    pub fn push(&mut self, request: &[u64]) -> Pushed {
        let need = request.len() + 1;
        if need > self.capacity / 2 {
            return Pushed::TooLong;
        }
        let consumed = self.word(CONSUMED).load(Ordering::Acquire);
        let place = self.place();
        let rest = self.capacity - place;
        // Padding and request together fit into an empty ring, so a request never waits forever.
        let again = consumed == self.produced && place > NEAR.max(need);
        let pad = if need > rest || again { rest } else { 0 };
        let room = self.capacity as u64 - self.produced.wrapping_sub(consumed).min(self.capacity as u64);
        if (pad + need) as u64 > room || self.sent - self.taken >= WINDOW {
            return Pushed::Full;
        }
        if pad > 0 {
            self.word(DATA + place).store(PAD | pad as u64, Ordering::Relaxed);
            self.produced += pad as u64;
        }
        let at = DATA + self.place();
        self.word(at).store(request.len() as u64, Ordering::Relaxed);
        for (i, word) in request.iter().enumerate() {
            self.word(at + 1 + i).store(*word, Ordering::Relaxed);
        }
        self.produced += need as u64;
        self.sent += 1;
        self.word(PRODUCED).store(self.produced, Ordering::Release);
        // The writer sets its sleep flag and then checks for requests, so at least one side sees what the
        // other has written.
        fence(Ordering::SeqCst);
        let asleep = self.word(ASLEEP);
        Pushed::Done { wake: asleep.load(Ordering::Relaxed) != 0 && asleep.swap(0, Ordering::Relaxed) != 0 }
    }

    fn place(&self) -> usize {
        usize::try_from(self.produced % self.capacity as u64).unwrap_or(0)
    }

    /// The next answer, if it is there. Answers come in the order of the requests.
    pub fn answer(&mut self) -> Option<Outcome> {
        if self.taken == self.word(ANSWERED).load(Ordering::Acquire) {
            return None;
        }
        let at = ANSWERS + usize::try_from(self.taken % WINDOW).unwrap_or(0) * ANSWER_WORDS;
        self.taken += 1;
        let load = |i: usize| self.word(at + i).load(Ordering::Relaxed);
        Some(Outcome { status: status(load(0)), revision: load(1), number: f64::from_bits(load(2)) })
    }

    /// Whether there are requests that have not been answered.
    pub fn is_waiting(&self) -> bool {
        self.sent != self.taken
    }

    /// Whether the writer sleeps, or is about to.
    pub fn is_writer_asleep(&self) -> bool {
        self.word(ASLEEP).load(Ordering::Relaxed) != 0
    }

    /// Requests one wake-up. The caller must check once more before it sleeps.
    pub fn want(&self, wanted: Wanted) {
        self.word(WANTED).fetch_or(wanted as u64, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The number that the writer has set for this process, initially 0.
    pub fn noted(&self) -> u64 {
        self.word(NOTED).load(Ordering::Acquire)
    }

    /// Publishes a number in one of [`PUBLISHED_WORDS`] places. The writer sees it with the next request. If it sees it
    /// earlier, it finds all requests made before.
    pub fn publish(&self, place: usize, number: u64) {
        if place < PUBLISHED_WORDS {
            self.word(PUBLISHED + place).store(number, Ordering::Release);
        }
    }

    /// Records that a key with this hash has been read.
    pub fn touch(&self, hash: u64) {
        let (at, bit) = used_at(hash);
        // The plain load keeps the cache line shared between cores in the usual case.
        if self.word(at).load(Ordering::Relaxed) & bit == 0 {
            self.word(at).fetch_or(bit, Ordering::Relaxed);
        }
    }
}

/// The writer's side of a page.
#[derive(Debug)]
pub struct Inbox<M> {
    page: M,
    capacity: usize,
    consumed: u64,
    answered: u64,
}

/// What the ring contains at a place.
enum Entry {
    Nothing,
    Padding,
    Request,
}

/// The process has written invalid data. Its ring is not read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ring of requests is corrupt")]
pub struct Broken;

impl<M: AsRef<[AtomicU64]>> Inbox<M> {
    /// Creates the writer's side of a zeroed page. `None` if the page is too small.
    pub fn new(page: M) -> Option<Self> {
        let capacity = page.as_ref().len().checked_sub(DATA).filter(|capacity| *capacity >= 2)?;
        Some(Self { page, capacity, consumed: 0, answered: 0 })
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.page.as_ref()[at]
    }

    /// How far the process has written. Not validated.
    pub fn produced(&self) -> u64 {
        self.word(PRODUCED).load(Ordering::Acquire)
    }

    /// How far that has been read.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Copies the next request, if there is one.
    pub fn next(&mut self, request: &mut Vec<u8>) -> Result<bool, Broken> {
        match self.entry(request)? {
            Entry::Nothing => Ok(false),
            Entry::Request => Ok(true),
            // A process publishes padding together with the request behind it. Anything else could keep this busy for as
            // long as the process goes on.
            Entry::Padding => match self.entry(request)? {
                Entry::Request => Ok(true),
                Entry::Nothing | Entry::Padding => Err(Broken),
            },
        }
    }

    /// Takes the next entry of the ring. Copies it if it is a request.
    fn entry(&mut self, request: &mut Vec<u8>) -> Result<Entry, Broken> {
        let there = usize::try_from(self.produced().wrapping_sub(self.consumed)).map_err(|_| Broken)?;
        if there == 0 {
            return Ok(Entry::Nothing);
        }
        let place = usize::try_from(self.consumed % self.capacity as u64).map_err(|_| Broken)?;
        let rest = (self.capacity - place).min(there);
        let head = self.word(DATA + place).load(Ordering::Relaxed);
        let len = usize::try_from(head & !PAD).map_err(|_| Broken)?;
        let is_pad = head & PAD != 0;
        let words = if is_pad { len } else { len.checked_add(1).ok_or(Broken)? };
        if there > self.capacity || words == 0 || words > rest {
            return Err(Broken);
        }
        if !is_pad {
            request.clear();
            for i in 0..len {
                let word = self.word(DATA + place + 1 + i).load(Ordering::Relaxed);
                request.extend_from_slice(&word.to_le_bytes());
            }
        }
        self.consumed = self.consumed.wrapping_add(words as u64);
        self.word(CONSUMED).store(self.consumed, Ordering::Release);
        Ok(if is_pad { Entry::Padding } else { Entry::Request })
    }

    /// Answers the oldest unanswered request.
    pub fn answer(&mut self, outcome: Outcome) {
        let at = ANSWERS + usize::try_from(self.answered % WINDOW).unwrap_or(0) * ANSWER_WORDS;
        let words = [outcome.status.number().into(), outcome.revision, outcome.number.to_bits()];
        for (i, word) in words.into_iter().enumerate() {
            self.word(at + i).store(word, Ordering::Relaxed);
        }
        self.answered += 1;
        self.word(ANSWERED).store(self.answered, Ordering::Release);
    }

    /// Whether the process requested a wake-up for this reason. Clears the request.
    pub fn take_wanted(&self, wanted: Wanted) -> bool {
        fence(Ordering::SeqCst);
        let bit = wanted as u64;
        let word = self.word(WANTED);
        word.load(Ordering::Relaxed) & bit != 0 && word.fetch_and(!bit, Ordering::Relaxed) & bit != 0
    }

    /// Sets the sleep flag. False if a request is waiting: then the writer must not sleep.
    #[must_use]
    pub fn sleep(&self) -> bool {
        self.word(ASLEEP).store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.word(PRODUCED).load(Ordering::Relaxed) == self.consumed
    }

    /// Clears the sleep flag.
    pub fn wake(&self) {
        self.word(ASLEEP).store(0, Ordering::Relaxed);
    }

    /// Sets the number that the process reads with [`Requests::noted`].
    pub fn note(&self, number: u64) {
        self.word(NOTED).store(number, Ordering::Release);
    }

    /// The number that the process has published in a place. Not validated.
    pub fn published(&self, place: usize) -> u64 {
        if place < PUBLISHED_WORDS { self.word(PUBLISHED + place).load(Ordering::Acquire) } else { 0 }
    }

    /// Whether a key with this hash has been read since the last call.
    pub fn take_used(&self, hash: u64) -> bool {
        let (at, bit) = used_at(hash);
        let word = self.word(at);
        word.load(Ordering::Relaxed) & bit != 0 && word.fetch_and(!bit, Ordering::Relaxed) & bit != 0
    }
}

fn used_at(hash: u64) -> (usize, u64) {
    let word = usize::try_from(hash >> 6 & (USED_WORDS as u64 - 1)).unwrap_or(0);
    (USED + word, 1 << (hash & 63))
}

fn status(number: u64) -> Status {
    match number {
        0 => Status::Done,
        1 => Status::Unmet,
        2 => Status::NotNumber,
        3 => Status::Full,
        4 => Status::TooLarge,
        6 => Status::Disconnected,
        7 => Status::ServerFull,
        8 => Status::ServerRefused,
        _ => Status::Invalid,
    }
}

#[cfg(all(test, not(rcluster_loom)))]
mod tests;
