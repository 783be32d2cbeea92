//! Converts the server's answers for the core. They are not trusted to have any particular form.

use std::str::FromStr;

use redis::{ErrorKind, RedisError, Value};

use rcluster_core::frames::shortened;
use rcluster_core::store::remote::failure::{Failure, INVALID_ANSWER};
use rcluster_core::store::remote::messages::{Greeting, Input, Loaded};
use rcluster_core::store::remote::payload::EPOCH;

/// The maximum length of an error's text, in bytes.
const MAX_TEXT: usize = 400;

/// The same for what somebody else has written, which an error cites.
const MAX_FACT: usize = 40;

/// The failure for an answer that cannot be parsed.
pub(super) fn invalid_answer() -> Failure {
    Failure::Refused(INVALID_ANSWER.into())
}

/// The message of an error, with the code that the server gave.
fn text_of(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code}: {detail}"),
        _ => error.to_string(),
    }
}

/// Classifies an error.
pub(super) fn failure(error: &RedisError) -> Failure {
    let text = shortened(text_of(error), MAX_TEXT);
    let has = |word: &str| text.contains(word);
    // An older server wraps the error of a script's command in an error of its own.
    if has("RCLUSTERGREET") {
        return Failure::Unknown;
    }
    if has("RCLUSTERTORN") {
        return Failure::Torn(text);
    }
    if error.code() == Some("OOM") || has("OOM command not allowed") {
        return Failure::Full(text);
    }
    if has("READONLY") || has("MASTERDOWN") {
        return Failure::Lost(text);
    }
    match error.code() {
        Some(
            "READONLY" | "MASTERDOWN" | "LOADING" | "CLUSTERDOWN" | "MOVED" | "ASK" | "TRYAGAIN" | "BUSY"
            | "UNKILLABLE",
        ) => Failure::Lost(text),
        Some("NOAUTH" | "WRONGPASS" | "NOPERM" | "RCLUSTERTYPE") => Failure::Refused(text),
        Some(_) => Failure::Script(text),
        None => match error.kind() {
            ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => Failure::Refused(text),
            ErrorKind::Parse => Failure::Lost("the server does not speak the protocol of Redis".into()),
            _ => Failure::Lost(text),
        },
    }
}

/// Whether the server does not know the script, as after its restart.
pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    error.code() == Some("NOSCRIPT")
}

/// The answers to commands that were sent together, where nothing depends on those that write: the server may refuse all
/// writes for now, because it cannot save them or has too few replicas.
pub(super) fn without_refused_writes(answers: Value) -> Value {
    let is_refusal = |answer: &Value| {
        let error = answer.clone().extract_error().err();
        matches!(error.as_ref().and_then(RedisError::code), Some("MISCONF" | "NOREPLICAS"))
    };
    match answers {
        Value::Array(answers) => {
            let sound = |answer| if is_refusal(&answer) { Value::Nil } else { answer };
            Value::Array(answers.into_iter().map(sound).collect())
        }
        other => other,
    }
}

/// Whether the user may not run a command of a script, or use its key. Servers have no error code for that.
pub(super) fn is_forbidden(error: &RedisError) -> bool {
    let text = error.to_string();
    text.contains("The user executing the script") || text.contains("ACL failure in script")
}

/// Whether the node of a Redis Cluster no longer stores the key.
pub(super) fn is_moved(error: &RedisError) -> bool {
    error.code() == Some("MOVED")
}

pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.into_bytes()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

pub(super) fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes(value)?).ok()
}

pub(super) fn number(value: Value) -> Option<u64> {
    text(value)?.parse().ok()
}

/// The items of an array, or the keys and values of a map.
pub(super) fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items),
        Value::Map(pairs) => Some(pairs.into_iter().flat_map(|(key, value)| [key, value]).collect()),
        _ => None,
    }
}

fn fixed<const COUNT: usize>(value: Value) -> Option<[Value; COUNT]> {
    array(value)?.try_into().ok()
}

/// The answer to `TIME`, in ms since 1970.
fn time(value: Value) -> Option<u64> {
    let [seconds, micros] = fixed(value)?;
    number(seconds)?.checked_mul(1000)?.checked_add(number(micros)? / 1000)
}

pub(super) fn greeting(value: Value) -> Option<Greeting> {
    let [epoch, revision, time, goes_on, batch, answer] = fixed(value)?;
    let (batch, answer) = (text(batch)?, bytes(answer)?);
    let last = if batch.is_empty() { None } else { Some((batch.parse().ok()?, answer)) };
    Some(Greeting {
        epoch: bytes(epoch)?,
        revision: number(revision)?,
        time: number(time)?,
        goes_on: bytes(goes_on)? == b"1",
        last,
    })
}

/// A field of the facts of a store, which are in the key `name`. Others may have written anything there: see `facts.lua`.
fn fact<T>(
    name: &str,
    field: &str,
    found: Value,
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T, Failure> {
    let found = bytes(found).unwrap_or_default();
    read(&found).ok_or_else(|| {
        let shown = shortened(String::from_utf8_lossy(&found).into_owned(), MAX_FACT);
        Failure::Refused(format!("the field {field} of the key {name} was not written by a store: {shown:?}"))
    })
}

fn epoch_of(name: &str, found: Value) -> Result<Vec<u8>, Failure> {
    fact(name, "epoch", found, |bytes| (bytes.len() == EPOCH).then(|| bytes.to_vec()))
}

fn revision_of(name: &str, found: Value) -> Result<u64, Failure> {
    fact(name, "revision", found, parsed)
}

fn parsed<T: FromStr>(bytes: &[u8]) -> Option<T> {
    str::from_utf8(bytes).ok()?.parse().ok()
}

pub(super) fn beat(value: Value, asked_at: u64, name: &str) -> Option<Input> {
    let [_, facts, exists, facts_after, now] = fixed(value)?;
    // What was written in between may have been the first value, or have deleted the last one.
    let exists = number(exists)? == 1 || facts != facts_after;
    let [epoch, revision, used] = fixed(facts)?;
    let time = time(now)?;
    let read = || {
        // A store whose values are gone, or have not been counted, is none: the greeting makes it one. See `greet.lua`.
        let is_counted = [&epoch, &revision, &used].into_iter().all(|fact| *fact != Value::Nil);
        if !is_counted || (!exists && fact(name, "used", used, parsed::<f64>)? > 0.0) {
            return Ok(Input::Beat { epoch: None, revision: 0, time, asked_at });
        }
        let epoch = Some(epoch_of(name, epoch)?);
        Ok(Input::Beat { epoch, revision: revision_of(name, revision)?, time, asked_at })
    };
    Some(read().unwrap_or_else(Input::Failed))
}

pub(super) fn loaded(value: Value, name: &str) -> Option<Input> {
    let [facts, values, last, facts_after] = fixed(value)?;
    if facts != facts_after {
        let why = "the store has changed while it was being loaded";
        return Some(Input::Failed(Failure::Lost(why.into())));
    }
    let [epoch, revision] = fixed(facts)?;
    let values = array(values)?;
    let mut pairs = Vec::with_capacity(values.len() / 2);
    let mut values = values.into_iter();
    while let (Some(key), Some(raw)) = (values.next(), values.next()) {
        pairs.push((bytes(key)?, bytes(raw)?));
    }
    let place = match array(last)?.into_iter().next() {
        None => String::new(),
        Some(entry) => {
            let [id, _] = fixed(entry)?;
            text(id)?
        }
    };
    let read = || {
        let (epoch, revision) = (epoch_of(name, epoch)?, revision_of(name, revision)?);
        Ok(Input::Loaded(Loaded { epoch, revision, place, values: pairs }))
    };
    Some(read().unwrap_or_else(Input::Failed))
}

/// The entries of one stream, as an input of the link.
pub(super) fn entries(value: Value) -> Option<Input> {
    stream(value).map(Input::Entries)
}

/// The entries of one stream: the id and the single value of each.
pub(super) fn stream(value: Value) -> Option<Vec<(String, Vec<u8>)>> {
    if value == Value::Nil {
        return Some(Vec::new());
    }
    // One stream: a pair of its name and its entries.
    let first = array(value)?.into_iter().next()?;
    let stream = match first {
        Value::Array(pair) => pair.into_iter().nth(1)?,
        _ => return None,
    };
    let mut all = Vec::new();
    for entry in array(stream)? {
        let [id, fields] = fixed(entry)?;
        // Another program has added an entry of a different form. Its payload is empty here, which the reader
        // refuses.
        let payload = fixed(fields).and_then(|[_, payload]| bytes(payload)).unwrap_or_default();
        all.push((text(id)?, payload));
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn entries_of_a_stream_are_read() {
        let entry = Value::Array(vec![bulk("1-0"), Value::Array(vec![bulk("d"), bulk("payload")])]);
        let reply = Value::Array(vec![Value::Array(vec![bulk("changes"), Value::Array(vec![entry])])]);
        assert_eq!(entries(reply), Some(Input::Entries(vec![("1-0".into(), b"payload".to_vec())])));
        let other = Value::Array(vec![bulk("2-0"), Value::Array(["a", "b", "c", "d"].map(bulk).to_vec())]);
        let reply = Value::Array(vec![Value::Array(vec![bulk("changes"), Value::Array(vec![other])])]);
        assert_eq!(entries(reply), Some(Input::Entries(vec![("2-0".into(), Vec::new())])));
        assert_eq!(entries(Value::Nil), Some(Input::Entries(Vec::new())));
        assert_eq!(entries(Value::Array(vec![bulk("changes")])), None);
    }

    /// The epoch in the answers to a heartbeat.
    fn epoch_of_beat(
        renewed: Value,
        facts: Value,
        exists: i64,
        after: Value,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let time = Value::Array(vec![bulk("1"), bulk("0")]);
        let answers = Value::Array(vec![renewed, facts, Value::Int(exists), after, time]);
        let answers = without_refused_writes(answers).extract_error().map_err(|error| failure(&error))?;
        match beat(answers, 0, "facts") {
            Some(Input::Beat { epoch, .. }) => Ok(epoch),
            other => panic!("{other:?}"),
        }
    }

    fn error(text: &str) -> Value {
        redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn a_server_that_refuses_all_writes_is_not_lost() {
        let facts = || Value::Array(["0123456789abcdef", "7", "9"].map(bulk).to_vec());
        for refusal in ["MISCONF it cannot save", "NOREPLICAS Not enough good replicas to write."] {
            assert!(epoch_of_beat(error(refusal), facts(), 1, facts()).unwrap().is_some(), "{refusal}");
            let refused = failure(&error(refusal).extract_error().unwrap_err());
            assert!(matches!(refused, Failure::Script(_)), "{refused:?}");
        }
        for refusal in ["READONLY it is a replica", "NOPERM it is forbidden"] {
            assert!(epoch_of_beat(error(refusal), facts(), 1, facts()).is_err(), "{refusal}");
        }
    }

    #[test]
    fn a_write_between_the_commands_of_a_heartbeat_is_no_loss_and_one_during_a_load_repeats_it() {
        let facts = |revision, used| Value::Array(["0123456789abcdef", revision, used].map(bulk).to_vec());
        let epoch = epoch_of_beat(Value::Int(1), facts("7", "9"), 0, facts("8", "0"));
        assert!(epoch.unwrap().is_some());
        let facts = |revision| Value::Array(["0123456789abcdef", revision].map(bulk).to_vec());
        let nothing = || Value::Array(Vec::new());
        let answers = Value::Array(vec![facts("7"), nothing(), nothing(), facts("8")]);
        assert!(matches!(loaded(answers, "facts"), Some(Input::Failed(Failure::Lost(_)))));
    }

    #[test]
    fn a_store_without_values_or_their_size_is_missing() {
        let epoch_of = |used: Value, exists: i64| {
            let facts = Value::Array(vec![bulk("0123456789abcdef"), bulk("7"), used]);
            epoch_of_beat(Value::Int(1), facts.clone(), exists, facts).unwrap()
        };
        let epoch = Some(b"0123456789abcdef".to_vec());
        assert_eq!([epoch_of(bulk("9"), 1), epoch_of(bulk("0"), 0)], [epoch.clone(), epoch]);
        assert_eq!([epoch_of(bulk("9"), 0), epoch_of(Value::Nil, 1)], [None, None]);
    }

    #[test]
    fn a_server_that_became_a_replica_counts_as_lost() {
        let refusal = b"-READONLY You can't write against a read only replica.\r\n";
        let error = match redis::parse_redis_value(refusal) {
            Ok(value) => value.extract_error().expect_err("it is an error"),
            Err(error) => error,
        };
        match failure(&error) {
            Failure::Lost(text) => assert!(text.starts_with("READONLY"), "{text}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn another_protocol_is_named() {
        let error = redis::parse_redis_value(b"HTTP/1.1 400 Bad Request\r\n").expect_err("it is no answer");
        let why = "the server does not speak the protocol of Redis";
        assert_eq!(failure(&error), Failure::Lost(why.into()));
    }

    #[test]
    fn what_there_is_is_read() {
        let read = |epoch, revision| {
            let facts = Value::Array(vec![bulk(epoch), bulk(revision)]);
            let values = Value::Array(vec![bulk("key"), bulk("raw")]);
            let answers = vec![facts.clone(), values, Value::Array(Vec::new()), facts];
            loaded(Value::Array(answers), "facts").unwrap()
        };
        let Input::Loaded(loaded) = read("0123456789abcdef", "7") else { panic!("it is sound") };
        assert_eq!((loaded.revision, loaded.place.as_str(), loaded.values.len()), (7, "", 1));
        assert_eq!(greeting(Value::Okay), None);
        for (epoch, revision, field, found) in
            [("0123456789abcdef", "abc", "revision", "abc"), ("short", "7", "epoch", "short")]
        {
            let why = format!("the field {field} of the key facts was not written by a store: {found:?}");
            assert_eq!(read(epoch, revision), Input::Failed(Failure::Refused(why)));
        }
    }
}
