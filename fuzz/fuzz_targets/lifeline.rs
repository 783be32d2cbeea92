//! An answer of any bytes on a worker's lifeline is read or refused; and any stack, however long, makes an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rcluster_core::lifeline::{Answer, MAX_ANSWER, MAX_TEXT};

fn text(answer: &Answer) -> &str {
    match answer {
        Answer::Stack(text) | Answer::Unreachable(text) => text,
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(answer) = Answer::parse(bytes) {
        assert!(text(&answer).len() <= MAX_TEXT);
        assert_eq!(answer.encode(), bytes);
    }
    let Some((&how, stack)) = bytes.split_first() else { return };
    // Long ones, too, which the fuzzer itself would not write.
    let long = String::from_utf8_lossy(stack).repeat(if how >= 128 { 1 + MAX_TEXT / bytes.len() } else { 1 });
    for answer in [Answer::Stack(long.clone()), Answer::Unreachable(long.clone())] {
        let message = answer.encode();
        assert!(message.len() <= MAX_ANSWER);
        let read = Answer::parse(&message).expect("what we write can be read");
        assert!(long.starts_with(text(&read)));
        assert!(long.len() > MAX_TEXT || read == answer);
    }
});
