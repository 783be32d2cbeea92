//! The page on which a process asks the writer for something: what the process keeps the rules with arrives whole and in
//! order, and what it scribbles there spoils its own requests only. Nothing may panic, and nothing is read for ever.

#![no_main]

use std::collections::VecDeque;
use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use rcluster_core::store::atomic::{AtomicU64, Ordering};
use rcluster_core::store::ops::{Outcome, Status};
use rcluster_core::store::ring::{Inbox, PUBLISHED_WORDS, Pushed, Requests, WINDOW, Wanted, page_words};
use rcluster_core::{exchange, locks, store};

const LONGEST: usize = 1500;

#[derive(Arbitrary, Debug)]
enum Step {
    Push { words: u16 },
    Answer,
    Read,
    Sleep,
    Wake,
    Want { changes: bool },
    Publish { place: u8, number: u64 },
    Touch { hash: u64 },
}

/// What whoever reads it makes of a request.
fn decode(request: &[u8]) {
    let _ = store::request::decode(request);
    let _ = exchange::wire::decode(request);
    let _ = locks::wire::decode(request);
}

fn outcome(revision: u64) -> Outcome {
    Outcome { status: Status::Done, revision, number: 0.5 }
}

/// A process that keeps the rules.
fn honest(steps: Vec<Step>) {
    let page: Arc<[AtomicU64]> = (0..page_words(LONGEST)).map(|_| AtomicU64::new(0)).collect();
    let (mut requests, mut inbox) =
        (Requests::new(Arc::clone(&page)).expect("it is large enough"), Inbox::new(page).expect("the same"));
    let (mut sent, mut read, mut answered, mut taken) = (VecDeque::new(), 0_u64, 0_u64, 0_u64);
    let (mut number, mut bytes) = (0, Vec::new());
    for step in steps {
        match step {
            Step::Push { words } => {
                let words = usize::from(words) % (LONGEST + 10);
                let request = vec![number; words];
                match requests.push(&request) {
                    Pushed::Done { .. } => {
                        number += 1;
                        sent.push_back(request);
                    }
                    Pushed::Full => assert!(!sent.is_empty() || number - taken >= WINDOW || words > LONGEST / 2),
                    Pushed::TooLong => assert!(words > LONGEST),
                }
            }
            Step::Read => {
                let there = inbox.next(&mut bytes).expect("it keeps the rules");
                let expected = sent.pop_front();
                assert_eq!(there, expected.is_some());
                if let Some(expected) = expected {
                    let expected: Vec<u8> = expected.iter().flat_map(|word| word.to_le_bytes()).collect();
                    assert_eq!(bytes, expected);
                    read += 1;
                }
            }
            Step::Answer if answered < read => {
                answered += 1;
                inbox.answer(outcome(answered));
            }
            Step::Answer => {
                let answer = requests.answer();
                assert_eq!(answer.is_some(), taken < answered);
                if let Some(answer) = answer {
                    taken += 1;
                    assert_eq!(answer, outcome(taken));
                }
                assert_eq!(requests.is_waiting(), taken < number);
            }
            Step::Sleep => assert_eq!(inbox.sleep(), sent.is_empty()),
            Step::Wake => inbox.wake(),
            Step::Want { changes } => {
                let wanted = if changes { Wanted::Changes } else { Wanted::Answers };
                requests.want(wanted);
                assert!(inbox.take_wanted(wanted) && !inbox.take_wanted(wanted));
            }
            Step::Publish { place, number } => {
                requests.publish(place.into(), number);
                let expected = if usize::from(place) < PUBLISHED_WORDS { number } else { 0 };
                assert_eq!(inbox.published(place.into()), expected);
            }
            Step::Touch { hash } => {
                requests.touch(hash);
                assert!(inbox.take_used(hash) && !inbox.take_used(hash));
            }
        }
    }
}

/// A process that writes what it likes wherever it likes.
fn hostile(scribbles: Vec<(u16, u64, bool)>) {
    let page: Arc<[AtomicU64]> = (0..page_words(LONGEST)).map(|_| AtomicU64::new(0)).collect();
    let mut inbox = Inbox::new(Arc::clone(&page)).expect("it is large enough");
    let mut bytes = Vec::new();
    for (at, word, is_near) in scribbles {
        // Counters that are a little off go further than those that are far off.
        let word = if is_near { word % (2 * page.len() as u64) } else { word };
        page[usize::from(at) % page.len()].store(word, Ordering::Relaxed);
        page[0].fetch_add(word % 64, Ordering::Relaxed);
        let _ = (inbox.sleep(), inbox.published(at.into()), inbox.take_used(word));
        inbox.wake();
        // There are no more requests than words.
        for _ in 0..=page.len() {
            match inbox.next(&mut bytes) {
                Ok(true) => {
                    assert!(bytes.len() <= page.len() * 8);
                    decode(&bytes);
                    inbox.answer(outcome(0));
                }
                Ok(false) => break,
                // It is read no further.
                Err(_) => return,
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    decode(data);
    if let Ok(steps) = Vec::arbitrary(&mut Unstructured::new(data)) {
        honest(steps);
    }
    if let Ok(scribbles) = Vec::arbitrary(&mut Unstructured::new(data)) {
        hostile(scribbles);
    }
});
