//! The way from one process to the writer of a store and back: a page of memory that both write to.
//!
//! The process puts requests into a ring and the writer puts an answer for each into another one, in the same order.
//! A counter says how many there are. Whoever is about to sleep says so first, and looks once more; only then has
//! the other one to wake it by a system call. Nothing else on the page is waited for.
//!
//! The writer trusts nothing on the page. Only atomics are on it, its own counters are kept elsewhere, and what it
//! reads is copied before it is looked at. So a process that scribbles on its page spoils its own requests.

use super::atomic::{AtomicU64, Ordering, fence};
use super::ops::{Outcome, Status};

/// How many requests of one process may be unanswered.
pub const WINDOW: u64 = WINDOW_LEN as u64;
const WINDOW_LEN: usize = 1024;

// Words that are written by the process.
const PRODUCED: usize = 0;
const WANTED: usize = 8;
// Words that are written by the writer.
const CONSUMED: usize = 16;
const ANSWERED: usize = 17;
/// Set by the writer, taken by the process.
const ASLEEP: usize = 24;
/// For each of 2^16 groups of keys whether one of them has been read.
const USED: usize = 32;
const USED_WORDS: usize = 1024;
const ANSWERS: usize = USED + USED_WORDS;
const ANSWER_WORDS: usize = 3;
const DATA: usize = ANSWERS + WINDOW_LEN * ANSWER_WORDS;

/// Marks words of the ring that nobody needs.
const PAD: u64 = 1 << 63;

/// As long as the ring is empty it begins anew behind this many words, so that no more memory is touched than needed.
/// Until the writer has passed over the rest there is room for as much as that, which is some hundred short requests.
const NEAR: usize = 8192;

/// What a process wants to be woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// An answer.
    Answers = 1,
    /// A change of the store.
    Changes = 2,
}

/// How many words a page has for requests of up to `longest` words.
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

/// What has become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is on its way.
    Done {
        /// The writer sleeps and has to be woken.
        wake: bool,
    },
    /// There is no room just now. There is some when the next answer comes.
    Full,
    /// It is longer than any that the ring takes.
    TooLong,
}

impl<M: AsRef<[AtomicU64]>> Requests<M> {
    /// On a page that is all zeros. `None` if it is too small.
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
        // What is passed over and what is needed fit together into an empty ring, so that nobody waits for ever.
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
        // The writer says that it sleeps, and then looks for requests. One of the two sees what the other has said.
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

    /// Asks to be woken once. Whoever asks has to look once more before it sleeps.
    pub fn want(&self, wanted: Wanted) {
        self.word(WANTED).fetch_or(wanted as u64, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Lets the writer know that a key with this hash has been read.
    pub fn touch(&self, hash: u64) {
        let (at, bit) = used_at(hash);
        // The plain load keeps the line shared between the cores in the usual case.
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

/// The process has written what makes no sense. It is not read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ring of requests is corrupt")]
pub struct Broken;

impl<M: AsRef<[AtomicU64]>> Inbox<M> {
    /// On a page that is all zeros. `None` if it is too small.
    pub fn new(page: M) -> Option<Self> {
        let capacity = page.as_ref().len().checked_sub(DATA).filter(|capacity| *capacity >= 2)?;
        Some(Self { page, capacity, consumed: 0, answered: 0 })
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.page.as_ref()[at]
    }

    /// Copies the next request, if there is one.
    pub fn next(&mut self, request: &mut Vec<u8>) -> Result<bool, Broken> {
        loop {
            let produced = self.word(PRODUCED).load(Ordering::Acquire);
            let there = usize::try_from(produced.wrapping_sub(self.consumed)).map_err(|_| Broken)?;
            if there == 0 {
                return Ok(false);
            }
            let place = usize::try_from(self.consumed % self.capacity as u64).map_err(|_| Broken)?;
            let rest = (self.capacity - place).min(there);
            let head = self.word(DATA + place).load(Ordering::Relaxed);
            let len = usize::try_from(head & !PAD).map_err(|_| Broken)?;
            let words = if head & PAD == 0 { len.checked_add(1).ok_or(Broken)? } else { len };
            if there > self.capacity || words == 0 || words > rest {
                return Err(Broken);
            }
            let is_pad = head & PAD != 0;
            if !is_pad {
                request.clear();
                for i in 0..len {
                    let word = self.word(DATA + place + 1 + i).load(Ordering::Relaxed);
                    request.extend_from_slice(&word.to_le_bytes());
                }
            }
            self.consumed = self.consumed.wrapping_add(words as u64);
            self.word(CONSUMED).store(self.consumed, Ordering::Release);
            if !is_pad {
                return Ok(true);
            }
        }
    }

    /// Answers the oldest request that has not been answered.
    pub fn answer(&mut self, outcome: Outcome) {
        let at = ANSWERS + usize::try_from(self.answered % WINDOW).unwrap_or(0) * ANSWER_WORDS;
        let words = [outcome.status.number().into(), outcome.revision, outcome.number.to_bits()];
        for (i, word) in words.into_iter().enumerate() {
            self.word(at + i).store(word, Ordering::Relaxed);
        }
        self.answered += 1;
        self.word(ANSWERED).store(self.answered, Ordering::Release);
    }

    /// Whether the process wants to be woken for this. True once for each time that it asks.
    pub fn take_wanted(&self, wanted: Wanted) -> bool {
        fence(Ordering::SeqCst);
        let bit = wanted as u64;
        let word = self.word(WANTED);
        word.load(Ordering::Relaxed) & bit != 0 && word.fetch_and(!bit, Ordering::Relaxed) & bit != 0
    }

    /// Says that the writer is about to sleep. False if there is a request: then it has to go on.
    #[must_use]
    pub fn sleep(&self) -> bool {
        self.word(ASLEEP).store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.word(PRODUCED).load(Ordering::Relaxed) == self.consumed
    }

    /// Says that the writer is awake, and need not be woken.
    pub fn wake(&self) {
        self.word(ASLEEP).store(0, Ordering::Relaxed);
    }

    /// Whether a key with this hash has been read since this was asked last.
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
        _ => Status::Invalid,
    }
}

#[cfg(all(test, not(rcluster_loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::random::Random;

    type Page = Arc<[AtomicU64]>;

    fn pair(longest: usize) -> (Requests<Page>, Inbox<Page>, Page) {
        let page: Page = (0..page_words(longest)).map(|_| AtomicU64::new(0)).collect();
        (Requests::new(Arc::clone(&page)).unwrap(), Inbox::new(Arc::clone(&page)).unwrap(), page)
    }

    fn below(random: &mut Random, limit: u64) -> u64 {
        random.bits() % limit
    }

    fn done(revision: u64) -> Outcome {
        Outcome { status: Status::Done, revision, number: 0.5 }
    }

    #[test]
    fn requests_arrive_whole_and_in_order_and_answers_come_back() {
        // One page on which the ring begins anew only at its end, and one on which it does as soon as it is empty.
        for longest in [1500, 3 * NEAR] {
            requests_arrive(longest);
        }
    }

    fn requests_arrive(longest: usize) {
        let (mut requests, mut inbox, _) = pair(longest);
        assert_eq!(requests.capacity > 2 * NEAR, longest > 1500);
        let mut random = Random::new(1);
        let (mut sent, mut received, mut bytes) = (0_u64, 0_u64, Vec::new());
        for _ in 0..20_000 {
            let length =
                if below(&mut random, 10) == 0 { below(&mut random, 1500) } else { below(&mut random, 40) };
            let request: Vec<u64> = (0..=length).map(|i| sent * 7 + i).collect();
            match requests.push(&request) {
                Pushed::Done { .. } => sent += 1,
                Pushed::Full => assert!(sent > received, "an empty ring takes anything"),
                Pushed::TooLong => panic!("it is not"),
            }
            while below(&mut random, 3) != 0 && inbox.next(&mut bytes).unwrap() {
                let first = u64::from_le_bytes(bytes[..8].try_into().unwrap());
                assert_eq!(first, received * 7);
                received += 1;
                inbox.answer(done(received));
                assert_eq!(requests.answer(), Some(done(received)));
                assert_eq!(requests.answer(), None);
            }
        }
        assert!(received > 5_000);
        assert_eq!(requests.push(&vec![0; requests.capacity / 2]), Pushed::TooLong);
    }

    #[test]
    fn only_so_many_are_unanswered() {
        let (mut requests, mut inbox, _) = pair(4);
        let mut bytes = Vec::new();
        for _ in 0..WINDOW {
            assert!(matches!(requests.push(&[1]), Pushed::Done { .. }));
            assert!(inbox.next(&mut bytes).unwrap());
        }
        assert_eq!(requests.push(&[1]), Pushed::Full);
        inbox.answer(done(1));
        requests.answer().unwrap();
        assert!(matches!(requests.push(&[1]), Pushed::Done { .. }));
    }

    #[test]
    fn who_sleeps_is_woken_once() {
        let (mut requests, mut inbox, _) = pair(4);
        assert_eq!(requests.push(&[1]), Pushed::Done { wake: false });
        assert!(!inbox.sleep(), "there is a request");
        assert!(inbox.next(&mut Vec::new()).unwrap());
        assert!(inbox.sleep());
        assert_eq!(requests.push(&[1]), Pushed::Done { wake: true });
        assert_eq!(requests.push(&[1]), Pushed::Done { wake: false });
        assert!(!inbox.take_wanted(Wanted::Answers));
        requests.want(Wanted::Answers);
        assert!(!inbox.take_wanted(Wanted::Changes));
        assert!(inbox.take_wanted(Wanted::Answers));
        assert!(!inbox.take_wanted(Wanted::Answers));
        assert!(requests.is_waiting() && !requests.is_writer_asleep());
        requests.touch(12345);
        assert!(inbox.take_used(12345) && !inbox.take_used(12345) && !inbox.take_used(99));
    }

    #[test]
    fn rubbish_on_the_page_is_refused_or_read_as_a_request() {
        for seed in 0..300 {
            let (mut requests, mut inbox, page) = pair(100);
            let mut random = Random::new(seed);
            let mut bytes = Vec::new();
            for _ in 0..50 {
                let _ = requests.push(&[random.bits(); 3]);
                for _ in 0..below(&mut random, 4) {
                    let at = below(&mut random, page.len() as u64);
                    let shift = below(&mut random, 64);
                    page[usize::try_from(at).unwrap()].store(random.bits() >> shift, Ordering::Relaxed);
                }
                page[PRODUCED].store(random.bits() >> below(&mut random, 64), Ordering::Relaxed);
                let mut read = 0;
                while inbox.next(&mut bytes) == Ok(true) && read < 10_000 {
                    assert!(bytes.len() <= inbox.capacity * 8);
                    inbox.answer(done(1));
                    read += 1;
                }
            }
        }
    }
}
