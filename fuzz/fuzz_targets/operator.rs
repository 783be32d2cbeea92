//! Any bytes at the control socket are lines, each of which is a request or is refused, and no more than a line waits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rcluster_core::control::operator::{Id, Lines, Place, Request};

fn check(line: &[u8]) {
    assert!(!line.is_empty() && !line.contains(&b'\n'));
    let id: Id = match Request::parse(line) {
        Ok(request) => request.id,
        Err(refusal) => {
            assert!(refusal.code.starts_with("ERR_") && refusal.message.len() < 1024);
            refusal.id
        }
    };
    let shown = serde_json::to_string(&id).expect("a name can be written");
    assert!(shown.len() < 1024);
    let again = format!("{{\"id\":{shown},\"verb\":\"hello\"}}");
    assert_eq!(Request::parse(again.as_bytes()).expect("what we write can be read").id, id);
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&size, bytes)) = bytes.split_first() else { return };
    let mut whole = Lines::default();
    whole.push(bytes);
    let mut all = Vec::new();
    while let Ok(Some(line)) = whole.next_line() {
        check(&line);
        all.push(line);
    }
    // However the bytes are cut, they are the same lines.
    let mut cut = Lines::default();
    let mut found = Vec::new();
    for piece in bytes.chunks(usize::from(size).max(1)) {
        cut.push(piece);
        while let Ok(Some(line)) = cut.next_line() {
            found.push(line);
        }
    }
    assert_eq!(all, found);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _known = Place::is_known(text);
        assert_eq!(Place::parse(&Place::parse(text).to_string()), Place::parse(text));
    }
});
