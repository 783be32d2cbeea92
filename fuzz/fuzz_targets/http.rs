//! What clients of the HTTP listener send, and where an operator has it listen.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rcluster_core::http::{Address, Format, HostRule, MAX_HEAD, Parsed, parse};

fuzz_target!(|bytes: &[u8]| {
    for rule in [HostRule::Any, HostRule::Local] {
        match parse(bytes, rule) {
            Parsed::Partial => assert!(bytes.len() < MAX_HEAD, "it does not wait for ever"),
            Parsed::Whole(length, request) => {
                assert!(0 < length && length <= bytes.len().min(MAX_HEAD));
                // What follows is another request.
                assert_eq!(parse(&bytes[..length], rule), Parsed::Whole(length, request.clone()));
                if let Err(response) = request.target {
                    assert!((400..500).contains(&response.status));
                }
            }
            Parsed::Broken(response) => assert!((400..600).contains(&response.status)),
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _any = Format::wanted(text);
        if let Some(address) = Address::parse(text) {
            assert_eq!(Address::parse(&address.to_string()), Some(address));
        }
    }
});
