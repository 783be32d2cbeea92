//! A message of any bytes on a worker's connection channel is read or refused, and what was read can be written again.
//!
//! The first byte of the input is the number of descriptors that come with the message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rcluster_core::channel::{MAX_CONNECTIONS, MAX_MESSAGE, Message, Writer};

fuzz_target!(|input: &[u8]| {
    let Some((&descriptors, bytes)) = input.split_first() else { return };
    let expected = Message::descriptors(bytes);
    let Ok(message) = Message::parse(bytes, usize::from(descriptors)) else {
        // It may have been refused for its descriptors only.
        if let Ok(message) = Message::parse(bytes, expected) {
            assert_ne!(usize::from(descriptors), expected, "{message:?} is refused although all of it came");
        }
        return;
    };
    assert_eq!(usize::from(descriptors), expected);
    assert!(bytes.len() <= MAX_MESSAGE && expected <= MAX_CONNECTIONS);
    assert!(message.listeners().eq(message.connections().map(|(listener, _)| listener)));
    assert!(expected == 0 || message.listeners().len() == expected);

    let mut writer = Writer::new(message.tag);
    for (listener, kept) in message.connections() {
        writer.push(listener, kept);
    }
    let again = Message::parse(writer.bytes(), expected).expect("what we write can be read");
    assert_eq!(again.tag, message.tag);
    assert!(again.connections().eq(message.connections()));
    assert_eq!(writer.bytes().len(), bytes.len());
});
