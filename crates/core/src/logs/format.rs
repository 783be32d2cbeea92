//! How a line of a worker is written to the primary's stdout or stderr.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Line, Lost, Mode, Source, Stream};
use crate::ids::{Slot, WorkerId};

/// Appended to a piece of a line that is too long.
const CONTINUES: &[u8] = b" [continues]";

/// Appends a line as it is to be written, including its end. `time` is in ms since the epoch.
pub fn write_line(mode: Mode, source: Source, time: u64, line: Line<'_>, out: &mut Vec<u8>) {
    if matches!(mode, Mode::Prefix | Mode::Json)
        && let Some((object, named)) = object_of(line)
    {
        return write_object(object, named, &Fields::of(source, time), out);
    }
    match mode {
        Mode::Auto | Mode::Inherit | Mode::Raw => write_text(line, out),
        Mode::Prefix => {
            let place = source.slot.map_or_else(|| "standby".into(), |slot| slot.to_string());
            out.extend_from_slice(format!("[{place}] ").as_bytes());
            write_text(line, out);
        }
        Mode::Json => {
            let message = String::from_utf8_lossy(line.text);
            let continues = line.continues.then_some(true);
            write_json(&Wrapped { fields: Fields::of(source, time), message, continues }, out);
        }
    }
}

/// The note that replaces lines that could not be written. `time` is in ms since the epoch.
#[must_use]
pub fn note(mode: Mode, stream: Stream, time: u64, lost: Lost) -> Vec<u8> {
    let Lost { lines, bytes } = lost;
    let name = stream.name();
    let message =
        format!("rcluster: {lines} lines ({bytes} bytes) are missing here: {name} did not take them in time");
    if mode != Mode::Json {
        return format!("{message}\n").into_bytes();
    }
    let mut out = Vec::new();
    write_json(&Note { stream, time, message, lost: lines }, &mut out);
    out
}

/// The fields that describe a line.
#[derive(Serialize)]
struct Fields {
    worker: WorkerId,
    slot: Option<Slot>,
    stream: Stream,
    time: u64,
}

impl Fields {
    fn of(Source { worker, slot, stream }: Source, time: u64) -> Self {
        Self { worker, slot, stream, time }
    }
}

#[derive(Serialize)]
struct Wrapped<'a> {
    #[serde(flatten)]
    fields: Fields,
    message: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    continues: Option<bool>,
}

#[derive(Serialize)]
struct Note {
    stream: Stream,
    time: u64,
    message: String,
    lost: u64,
}

/// Which of these fields the line's object already has. They stay as they are: readers would see only one of
/// two fields with the same name.
#[derive(Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent of each other")]
struct Named {
    worker: bool,
    slot: bool,
    stream: bool,
    time: bool,
    /// The object has no fields.
    is_empty: bool,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Worker,
    Slot,
    Stream,
    Time,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Named;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Named, A::Error> {
                let mut named = Named { is_empty: true, ..Named::default() };
                while let Some((key, IgnoredAny)) = map.next_entry::<Key, IgnoredAny>()? {
                    named.is_empty = false;
                    match key {
                        Key::Worker => named.worker = true,
                        Key::Slot => named.slot = true,
                        Key::Stream => named.stream = true,
                        Key::Time => named.time = true,
                        Key::Other => {}
                    }
                }
                Ok(named)
            }
        }
        from.deserialize_map(Visitor)
    }
}

/// The JSON object on the line, if it is one.
fn object_of(line: Line<'_>) -> Option<(&[u8], Named)> {
    if line.continues || line.continued {
        return None;
    }
    let text = line.text.trim_ascii();
    if !text.starts_with(b"{") || !text.ends_with(b"}") {
        return None;
    }
    // Text that is not UTF-8 is not JSON.
    std::str::from_utf8(text).ok()?;
    Some((text, serde_json::from_slice(text).ok()?))
}

/// Writes the object with the fields in front. Its own fields stay unchanged, byte by byte.
fn write_object(object: &[u8], named: Named, fields: &Fields, out: &mut Vec<u8>) {
    let slot = fields.slot.map_or_else(|| "null".into(), |slot| slot.0.to_string());
    let ours = [
        (named.worker, "worker", fields.worker.0.to_string()),
        (named.slot, "slot", slot),
        (named.stream, "stream", format!("\"{}\"", fields.stream.name())),
        (named.time, "time", fields.time.to_string()),
    ];
    let ours = ours.into_iter().filter(|(is_named, ..)| !is_named);
    let ours: Vec<String> = ours.map(|(_, name, value)| format!("\"{name}\":{value}")).collect();
    out.push(b'{');
    out.extend_from_slice(ours.join(",").as_bytes());
    if !ours.is_empty() && !named.is_empty {
        out.push(b',');
    }
    out.extend_from_slice(&object[1..]);
    out.push(b'\n');
}

fn write_text(line: Line<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(line.text);
    if line.continues {
        out.extend_from_slice(CONTINUES);
    }
    out.push(b'\n');
}

fn write_json(value: &impl Serialize, out: &mut Vec<u8>) {
    // It cannot fail: the output is memory, and all keys are text.
    if serde_json::to_writer(&mut *out, value).is_ok() {
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SOURCE: Source = Source { worker: WorkerId(3), slot: Some(Slot(1)), stream: Stream::Stderr };
    const STANDBY: Source = Source { worker: WorkerId(4), slot: None, stream: Stream::Stdout };

    fn written(mode: Mode, source: Source, text: &[u8]) -> String {
        written_piece(mode, source, Line { text, continues: false, continued: false })
    }

    fn written_piece(mode: Mode, source: Source, line: Line<'_>) -> String {
        let mut out = Vec::new();
        write_line(mode, source, 5, line, &mut out);
        let text = String::from_utf8_lossy(&out).into_owned();
        text.strip_suffix('\n').expect("an end").to_owned()
    }

    #[test]
    fn a_raw_line_is_unchanged_and_a_prefixed_one_gets_the_slot() {
        let object = br#"{"a":1}"#;
        assert_eq!(written(Mode::Raw, SOURCE, object), r#"{"a":1}"#);
        assert_eq!(written(Mode::Auto, SOURCE, b"x\r"), "x\r");
        assert_eq!(written(Mode::Prefix, SOURCE, b"x"), "[slot 1] x");
        assert_eq!(written(Mode::Prefix, STANDBY, b""), "[standby] ");
    }

    #[test]
    fn an_object_gets_fields_and_its_own_are_unchanged() {
        for mode in [Mode::Prefix, Mode::Json] {
            let line =
                written(mode, SOURCE, br#" {"msg":"a\u0000","big":12345678901234567890.50,"o":{"slot":9}} "#);
            assert_eq!(
                line,
                r#"{"worker":3,"slot":1,"stream":"stderr","time":5,"msg":"a\u0000","big":12345678901234567890.50,"o":{"slot":9}}"#
            );
            assert_eq!(
                written(mode, STANDBY, br#"{"time":"own","worker":null}"#),
                r#"{"slot":null,"stream":"stdout","time":"own","worker":null}"#
            );
            assert_eq!(written(mode, SOURCE, b"{ }"), r#"{"worker":3,"slot":1,"stream":"stderr","time":5 }"#);
            let deep = [b"{\"a\":".repeat(300), b"1".to_vec(), b"}".repeat(300)].concat();
            assert!(written(mode, SOURCE, &deep).starts_with("{\"worker\":3"));
        }
    }

    #[test]
    fn other_lines_are_wrapped_in_an_object() {
        let texts = ["plain", "[1]", "{\"a\":1}{\"b\":2}", "{\"a\":01}", "{'a':1}", "{", "", "\"\u{1}\u{fc}"];
        for text in texts {
            let line = written(Mode::Json, SOURCE, text.as_bytes());
            let expected = json!({ "worker": 3, "slot": 1, "stream": "stderr", "time": 5, "message": text });
            assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
        }
        let binary = written(Mode::Json, SOURCE, b"\xff{\"a\":\"\xfe\"}");
        let value: Value = serde_json::from_str(&binary).unwrap();
        assert_eq!(value["message"], "\u{fffd}{\"a\":\"\u{fffd}\"}");
        assert_eq!(written(Mode::Prefix, SOURCE, b"{\"a\":\"\xfe\"}"), "[slot 1] {\"a\":\"\u{fffd}\"}");
    }

    #[test]
    fn a_piece_is_marked_and_not_treated_as_an_object() {
        let piece = Line { text: b"{}", continues: true, continued: false };
        assert_eq!(written_piece(Mode::Raw, SOURCE, piece), "{} [continues]");
        let value: Value = serde_json::from_str(&written_piece(Mode::Json, SOURCE, piece)).unwrap();
        assert_eq!((&value["message"], &value["continues"]), (&json!("{}"), &json!(true)));
        let last = Line { text: b"{}", continues: false, continued: true };
        assert_eq!(written_piece(Mode::Prefix, SOURCE, last), "[slot 1] {}");
    }

    #[test]
    fn a_note_is_a_line_of_its_mode() {
        let lost = Lost { lines: 2, bytes: 9 };
        let text = note(Mode::Raw, Stream::Stdout, 5, lost);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "rcluster: 2 lines (9 bytes) are missing here: stdout did not take them in time\n"
        );
        let value: Value = serde_json::from_slice(&note(Mode::Json, Stream::Stderr, 5, lost)).unwrap();
        assert_eq!((&value["lost"], &value["stream"]), (&json!(2), &json!("stderr")));
    }
}
