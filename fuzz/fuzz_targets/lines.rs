//! Whatever a worker writes, and however it is cut: no line is lost, added or mixed with another, and what is said to be JSON is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::logs::format::write_line;
use rcluster_core::logs::{Framing, Line, MAX_LINE, Mode, Record, Source, Stream, Tail};

const SOURCE: Source = Source { worker: WorkerId(1), slot: Some(Slot(0)), stream: Stream::Stdout };

fuzz_target!(|bytes: &[u8]| {
    let Some((&how, bytes)) = bytes.split_first() else { return };
    // Long lines, of which a fuzzer does not think by itself.
    let text = if how & 1 == 0 { bytes.to_vec() } else { bytes.repeat(1 + MAX_LINE / bytes.len().max(1)) };
    let mut framing = Framing::default();
    let mut tail = Tail::default();
    let mut whole = Vec::new();
    let mut continues = false;
    let mut take = |line: Line<'_>| {
        assert!(line.text.len() <= MAX_LINE && line.continued == continues);
        continues = line.continues;
        whole.extend_from_slice(line.text);
        if !line.continues {
            whole.push(b'\n');
        }
        check(line);
        tail.push(line);
    };
    for piece in text.chunks(1 + usize::from(how) * 500) {
        framing.push(piece, &mut take);
    }
    framing.finish(&mut take);
    let mut expected = text;
    if expected.last().is_some_and(|last| *last != b'\n') {
        expected.push(b'\n');
    }
    assert!(whole == expected);
    assert!(tail.lines().len() <= 50);
});

fn check(line: Line<'_>) {
    let original = serde_json::from_slice::<serde_json::Value>(line.text).ok();
    for mode in [Mode::Raw, Mode::Prefix, Mode::Json] {
        let mut out = Vec::new();
        write_line(mode, SOURCE, 5, line, &mut out);
        assert!(out.iter().filter(|byte| **byte == b'\n').count() == 1 && out.ends_with(b"\n"));
        if mode == Mode::Json {
            assert!(serde_json::from_slice::<Box<serde_json::value::RawValue>>(&out).is_ok());
        }
        if mode == Mode::Prefix
            && !line.continues
            && !line.continued
            && original.as_ref().is_some_and(serde_json::Value::is_object)
        {
            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            for (key, field) in original.as_ref().unwrap().as_object().unwrap() {
                assert_eq!(&value[key], field);
            }
        }
    }
    let record = Record::new(SOURCE, 5, line);
    assert!(record.text.len() <= 3 * 8192);
}
