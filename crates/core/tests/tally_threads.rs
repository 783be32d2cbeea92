//! One thread sums up tallies while another one publishes totals.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use rcluster_core::store::atomic::{AtomicU64, Ordering};
use rcluster_core::store::tally::{Ledger, PAGE_WORDS, TOTALS_WORDS, Totals, add};

type Memory = Arc<[AtomicU64]>;

fn memory(words: usize) -> Memory {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}

#[test]
fn sums_never_go_back_while_processes_come_and_go() {
    let words = memory(TOTALS_WORDS);
    let mut ledger = Ledger::new(Arc::clone(&words)).unwrap();
    let page = memory(PAGE_WORDS);
    ledger.on_page();
    add(&page, 7, 1.0);
    thread::scope(|scope| {
        let done = Arc::new(AtomicBool::new(false));
        let (totals, stop) = (Totals(Arc::clone(&words)), Arc::clone(&done));
        let reader = scope.spawn(move || {
            let mut counted = 0;
            while !stop.load(Ordering::Relaxed) || counted == 0 {
                let generation = totals.generation();
                // From the second generation on, the totals contain the page's count once per generation.
                if let Some(sum) = totals.sum::<Memory>(7, generation, &[]) {
                    #[allow(clippy::cast_precision_loss, reason = "small")]
                    let expected = (generation - 1) as f64;
                    assert!((sum - expected).abs() < 0.5, "{sum} in generation {generation}");
                    counted += 1;
                }
            }
        });
        for _ in 0..20_000 {
            ledger.on_end(&page);
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
}
