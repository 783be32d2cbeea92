//! Counters: each process adds to a page of its own, and any process can sum up the pages.
//!
//! # Protocol
//! Each page is written by its process alone, so adding takes no lock. The totals hold what ended processes
//! have added. They have a generation, which changes whenever a page is added or removed. A reader that knows
//! the pages of one generation reads the totals of the same generation; if the generation has changed
//! meanwhile, it discards the sum. There are two sets of totals, so that those of the current generation are
//! never written to and an interrupted writer never makes a reader wait.
//!
//! Pages are not trusted. A process that corrupts its page harms only its own contribution.

use super::atomic::{AtomicU64, Ordering, Words, fence};

/// The largest number of tallies of a store.
pub const TALLIES: usize = 256;

/// Words of a page: one page of the system.
pub const PAGE_WORDS: usize = 512;

const GENERATION: usize = 0;
const FIRST: usize = 8;

/// Words of the totals.
pub const TOTALS_WORDS: usize = 1024;

/// Adds to a counter. Only the process that owns the page may call this.
pub fn add(page: &[AtomicU64], tally: usize, by: f64) {
    if let Some(cell) = page.get(tally).filter(|_| tally < TALLIES) {
        let sum = f64::from_bits(cell.load(Ordering::Relaxed)) + by;
        cell.store(sum.to_bits(), Ordering::Release);
    }
}

/// What a page contributes to a counter; 0 if it is not a finite number.
pub fn added(page: &impl Words, tally: usize) -> f64 {
    let number = f64::from_bits(page.load(tally, Ordering::Acquire));
    if number.is_finite() { number } else { 0.0 }
}

fn totals_at(generation: u64) -> usize {
    if generation.is_multiple_of(2) { FIRST } else { FIRST + TALLIES }
}

/// The totals, for readers.
#[derive(Debug)]
pub struct Totals<W>(pub W);

impl<W: Words> Totals<W> {
    /// The current generation: it identifies the set of pages.
    pub fn generation(&self) -> u64 {
        self.0.load(GENERATION, Ordering::Acquire)
    }

    /// The sum of a counter over the totals and the pages of `generation`; `None` if the generation has
    /// changed.
    pub fn sum<P: Words>(&self, tally: usize, generation: u64, pages: &[P]) -> Option<f64> {
        let sum = self.sum_anyway(tally, generation, pages);
        fence(Ordering::Acquire);
        (self.0.load(GENERATION, Ordering::Relaxed) == generation).then_some(sum)
    }

    /// The sum without the check of the generation, for totals that do not change any more.
    pub fn sum_anyway<P: Words>(&self, tally: usize, generation: u64, pages: &[P]) -> f64 {
        let ended = f64::from_bits(self.0.load(totals_at(generation) + tally, Ordering::Relaxed));
        pages.iter().fold(ended, |sum, page| sum + added(page, tally))
    }
}

/// The totals, for their one writer.
#[derive(Debug)]
pub struct Ledger<W> {
    words: W,
    generation: u64,
    totals: Box<[f64; TALLIES]>,
}

impl<W: AsRef<[AtomicU64]>> Ledger<W> {
    /// Creates the totals in zeroed memory. `None` if it is too small.
    pub fn new(words: W) -> Option<Self> {
        let fits = words.as_ref().len() >= FIRST + 2 * TALLIES;
        fits.then(|| Self { words, generation: 0, totals: Box::new([0.0; TALLIES]) })
    }

    /// The current generation.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// A page was added.
    pub fn on_page(&mut self) {
        self.publish();
    }

    /// The process of a page has ended: its contribution moves to the totals.
    pub fn on_end(&mut self, page: &impl Words) {
        for (tally, total) in self.totals.iter_mut().enumerate() {
            let sum = *total + added(page, tally);
            // A sum that overflows is ignored.
            if sum.is_finite() {
                *total = sum;
            }
        }
        self.publish();
    }

    fn publish(&mut self) {
        self.generation += 1;
        // A reader that sees anything written below also sees that the previous generation has ended.
        fence(Ordering::Release);
        let words = self.words.as_ref();
        for (word, total) in words[totals_at(self.generation)..].iter().zip(self.totals.iter()) {
            word.store(total.to_bits(), Ordering::Relaxed);
        }
        words[GENERATION].store(self.generation, Ordering::Release);
    }
}

#[cfg(all(test, not(rcluster_loom)))]
mod tests {
    use std::sync::Arc;

    use rcluster_testing::seeds;

    use super::*;
    use crate::random::Random;

    type Memory = Arc<[AtomicU64]>;

    fn memory(words: usize) -> Memory {
        (0..words).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn sums_include_ended_processes() {
        for seed in seeds(200).each() {
            let mut random = Random::new(seed.number);
            let words = memory(TOTALS_WORDS);
            let (mut ledger, totals) = (Ledger::new(Arc::clone(&words)).unwrap(), Totals(words));
            let (mut pages, mut expected): (Vec<Memory>, _) = (Vec::new(), [0.0; TALLIES]);
            for _ in 0..200 {
                let tally = usize::try_from(random.bits()).unwrap_or(0) % TALLIES;
                let place = usize::try_from(random.bits() % 1000).unwrap() % pages.len().max(1);
                match random.bits() % 8 {
                    0 => {
                        pages.push(memory(PAGE_WORDS));
                        ledger.on_page();
                    }
                    1 if !pages.is_empty() => {
                        let page = pages.remove(place);
                        ledger.on_end(&page);
                    }
                    _ if !pages.is_empty() => {
                        #[allow(clippy::cast_precision_loss, reason = "small")]
                        let by = (random.bits() % 100) as f64 - 20.0;
                        add(&pages[place], tally, by);
                        expected[tally] += by;
                    }
                    _ => {}
                }
                let generation = totals.generation();
                assert_eq!(generation, ledger.generation());
                for (tally, expected) in expected.iter().enumerate() {
                    assert_eq!(totals.sum(tally, generation, &pages), Some(*expected));
                }
                assert_eq!(totals.sum(0, generation + 1, &pages), None);
            }
        }
    }

    #[test]
    fn garbage_on_a_page_affects_only_that_page() {
        let words = memory(TOTALS_WORDS);
        let (mut ledger, totals) = (Ledger::new(Arc::clone(&words)).unwrap(), Totals(words));
        let pages = [memory(PAGE_WORDS), memory(PAGE_WORDS), memory(3)];
        for _ in &pages {
            ledger.on_page();
        }
        add(&pages[0], 1, 5.0);
        for bits in [f64::NAN.to_bits(), f64::INFINITY.to_bits(), u64::MAX] {
            for cell in pages[1].iter() {
                cell.store(bits, Ordering::Relaxed);
            }
            assert_eq!(totals.sum(1, 3, &pages), Some(5.0));
        }
        for page in &pages {
            ledger.on_end(page);
        }
        assert_eq!(totals.sum::<Memory>(1, 6, &[]), Some(5.0));
        for cell in pages[1].iter() {
            cell.store(f64::MAX.to_bits(), Ordering::Relaxed);
        }
        for _ in 0..3 {
            ledger.on_end(&pages[1]);
        }
        assert!(totals.sum::<Memory>(1, 9, &[]).is_some_and(f64::is_finite));
        // These counters do not exist.
        add(&pages[0], TALLIES, 1.0);
        add(&pages[2], 5, 1.0);
        assert!(Ledger::new(memory(100)).is_none());
    }
}
