//! A control frame of any bytes is read or refused, and what was read can be answered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rcluster_core::frames::{FromWorker, MAX_DATA, MAX_DETAIL, MAX_FRAME, MAX_REASON, Reply, ToWorker};
use serde_json::value::RawValue;

fuzz_target!(|frame: &[u8]| {
    let reply = match FromWorker::parse(frame) {
        Ok(FromWorker::Listen(request)) => {
            assert!(request.data.len() <= MAX_DATA);
            Some(Reply { data: request.data, ..Reply::refusal(request.seq, 0) })
        }
        Ok(FromWorker::Retire { reason, detail }) => {
            assert!(reason.len() <= MAX_REASON && detail.len() <= MAX_DETAIL);
            None
        }
        Ok(_) => None,
        Err(error) => {
            assert!(error.to_string().len() <= 1200, "{error}");
            error.refusal()
        }
    };
    if let Some(reply) = reply {
        let text = ToWorker::Reply(reply).encode().expect("every listen request can be answered");
        assert!(text.len() <= MAX_FRAME);
        // JSON as JavaScript reads it, where text may hold half of a surrogate pair.
        serde_json::from_str::<Box<RawValue>>(&text).expect("a reply is JSON");
    }
});
