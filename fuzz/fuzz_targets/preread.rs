//! Whatever a client sends first, it is decided upon in the end, and what was decided early does not change.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rcluster_core::schedule::{Address, By, LIMIT, PrereadRule, Verdict};

const PEER: Option<Address> = Some(Address::V4([127, 0, 0, 1]));

fuzz_target!(|bytes: &[u8]| {
    let Some((&how, bytes)) = bytes.split_first() else { return };
    let by = match how % 4 {
        0 => By::Address,
        1 => By::Cookie("sid".into()),
        2 => By::Header("x-id".into()),
        _ => By::Query("sid".into()),
    };
    let rule = PrereadRule { by, proxy_protocol: how & 4 != 0 };
    let verdict = rule.look(bytes, PEER, true);
    assert_ne!(verdict, Verdict::Undecided);
    let cut = bytes.len() * usize::from(how) / 255;
    let early = rule.look(&bytes[..cut], PEER, false);
    let later = rule.look(bytes, PEER, false);
    if early != Verdict::Undecided {
        assert_eq!(early, later, "after {cut} of {} bytes", bytes.len());
    }
    assert!(later != Verdict::Undecided || bytes.len() < LIMIT);
});
