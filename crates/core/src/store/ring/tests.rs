use std::sync::Arc;

use rcluster_testing::seeds;

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
    // One ring that wraps only at its end, and one that also restarts at the beginning as soon as it is
    // empty.
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
fn padding_without_a_request_behind_it_is_refused() {
    // The first one may be published for ever, the second one is more of the same.
    for words in [1_u64, 2] {
        let (_, mut inbox, page) = pair(4);
        for place in 0..words {
            page[DATA + usize::try_from(place).unwrap()].store(PAD | 1, Ordering::Relaxed);
        }
        page[PRODUCED].store(words, Ordering::Release);
        assert_eq!(inbox.next(&mut Vec::new()), Err(Broken));
    }
}

#[test]
fn the_number_of_unanswered_requests_is_limited() {
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
    assert_eq!(requests.noted(), 0);
    inbox.note(7);
    assert_eq!(requests.noted(), 7);
}

#[test]
fn a_sleeping_side_is_woken_once() {
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
    requests.publish(PUBLISHED_WORDS - 1, 7);
    requests.publish(PUBLISHED_WORDS, 8);
    assert_eq!([30, 31, 32].map(|place| inbox.published(place)), [0, 7, 0]);
    assert!(!inbox.take_used(0), "it is no mark of a key");
}

#[test]
fn garbage_on_the_page_is_refused_or_read_as_a_request() {
    for seed in seeds(300).each() {
        let (mut requests, mut inbox, page) = pair(100);
        let mut random = Random::new(seed.number);
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
