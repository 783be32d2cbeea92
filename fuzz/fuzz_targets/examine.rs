//! Whatever a process answers when it is looked into: each record is read or refused, the same however the stream is cut,
//! and what is left in memory is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rcluster_core::examine::{Examination, MAX_PAYLOAD, Record, RecordError, Records};

fn read(records: &mut Records) -> Result<Vec<Record>, RecordError> {
    let mut found = Vec::new();
    while let Some(record) = records.next_record()? {
        if let Record::Data(bytes) = &record {
            assert!(bytes.len() <= MAX_PAYLOAD);
        }
        found.push(record);
    }
    Ok(found)
}

fuzz_target!(|bytes: &[u8]| {
    let mut whole = Records::default();
    whole.push(bytes);
    let expected = read(&mut whole);
    let mut pieces = Records::default();
    let mut found = Vec::new();
    let mut failure = None;
    for byte in bytes {
        pieces.push(&[*byte]);
        match read(&mut pieces) {
            Ok(more) => found.extend(more),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    match expected {
        Ok(expected) => assert_eq!((expected, None), (found, failure)),
        Err(error) => assert_eq!(Some(error), failure),
    }
    for what in [Examination::Inspect, Examination::CloseInspector, Examination::Env] {
        let _told = what.result(bytes);
    }
});
