use serde_json::{Value, json};

use super::*;
use crate::ids::Slot;
use crate::schedule::{By, LONGEST_NAME};

fn parse(frame: &Value) -> Result<FromWorker, FrameError> {
    FromWorker::parse(frame.to_string().as_bytes())
}

fn request(frame: &Value) -> ListenRequest {
    match parse(frame) {
        Ok(FromWorker::Listen(request)) => *request,
        other => panic!("{frame} is read as {other:?}"),
    }
}

#[test]
fn every_act_is_read() {
    let listener = ListenerId(7);
    let cases = [
        (json!({ "act": "hello", "version": 1 }), FromWorker::Hello),
        (json!({ "act": "listening", "listener": 7 }), FromWorker::Listening { listener }),
        (json!({ "act": "close", "listener": 7 }), FromWorker::Close { listener }),
        (json!({ "act": "listensAlone" }), FromWorker::ListensAlone),
        (json!({ "act": "leaving" }), FromWorker::Leaving),
        (json!({ "act": "locks" }), FromWorker::Locks),
        (json!({ "act": "exchange" }), FromWorker::Exchange),
        (json!({ "act": "share", "name": "store" }), share(StoreOptions::default())),
        (
            json!({ "act": "share", "name": "store", "options": { "size": 5, "eviction": "lru" } }),
            share(StoreOptions {
                size: Some(5),
                eviction: Some(EvictionName::Lru),
                ..StoreOptions::default()
            }),
        ),
        (json!({ "act": "ready" }), FromWorker::Ready),
        (json!({ "act": "held", "drained": true, "resources": { "Timeout": 2 } }), held(&[("Timeout", 2)])),
        (json!({ "act": "held", "drained": true, "resources": {} }), held(&[])),
        (json!({ "act": "retire", "reason": "tired" }), retire("tired", "")),
        (json!({ "act": "retire", "reason": "tired", "detail": null }), retire("tired", "")),
        (json!({ "act": "retire", "reason": "", "detail": "at app.js:1" }), retire("", "at app.js:1")),
    ];
    for (frame, meaning) in cases {
        assert_eq!(parse(&frame), Ok(meaning));
    }
}

fn share(options: StoreOptions) -> FromWorker {
    FromWorker::Share(Box::new(Share { name: "store".into(), options }))
}

fn retire(reason: &str, detail: &str) -> FromWorker {
    FromWorker::Retire { reason: reason.into(), detail: detail.into() }
}

fn held(resources: &[(&str, u32)]) -> FromWorker {
    let resources = resources.iter().map(|&(name, count)| (name.to_owned(), count)).collect();
    FromWorker::Held { drained: true, resources }
}

#[test]
fn what_keeps_a_worker_is_cut_short() {
    let many: serde_json::Map<String, Value> =
        (0..99).map(|number| (format!("{number:02}{}", "x".repeat(99)), json!(1))).collect();
    match parse(&json!({ "act": "held", "drained": false, "resources": many })) {
        Ok(FromWorker::Held { drained: false, resources }) => {
            assert_eq!(resources.len(), MAX_RESOURCES);
            assert!(resources.keys().all(|name| name.len() == MAX_RESOURCE));
        }
        other => panic!("it is read as {other:?}"),
    }
    for resources in [json!(null), json!([]), json!({ "Timeout": -1 }), json!({ "Timeout": "2" })] {
        let error = parse(&json!({ "act": "held", "drained": true, "resources": resources })).unwrap_err();
        assert!(matches!(error, FrameError::Fields { act: "held", .. }), "{error}");
    }
}

#[test]
fn a_worker_that_retires_is_brief_or_is_cut_short() {
    let read = parse(&json!({ "act": "retire", "reason": "r".repeat(99), "detail": "d".repeat(9999) }));
    assert_eq!(read, Ok(retire(&"r".repeat(MAX_REASON), &"d".repeat(MAX_DETAIL))));
    // Never in the middle of a character.
    let read = parse(&json!({ "act": "retire", "reason": format!("r{}", "ä".repeat(99)), "detail": "" }));
    assert_eq!(read, Ok(retire(&format!("r{}", "ä".repeat(31)), "")));
    for frame in [
        json!({ "act": "retire" }),
        json!({ "act": "retire", "reason": 1 }),
        json!({ "act": "retire", "reason": "tired", "detail": {} }),
    ] {
        let error = parse(&frame).unwrap_err();
        assert!(matches!(error, FrameError::Fields { act: "retire", .. }), "{error}");
        assert_eq!(error.refusal(), None);
    }
}

#[test]
fn half_a_surrogate_pair_does_not_make_a_frame_unreadable() {
    let frame = br#"{"act":"retire","reason":"\ud83d","detail":"Unexpected token '\ud83d', \udc00"}"#;
    assert_eq!(FromWorker::parse(frame), Ok(retire("\u{fffd}", "Unexpected token '\u{fffd}', \u{fffd}")));
}

#[test]
fn a_query_of_net_is_read() {
    let read = request(&json!({
        "act": "query", "seq": 3, "index": 1, "address": "127.0.0.1", "port": 8000, "addressType": 4,
        "flags": 1, "backlog": 10, "data": { "ticketKeys": "00" },
    }));
    let expected = ListenRequest {
        seq: 3,
        index: 1,
        address: Some("127.0.0.1".into()),
        port: Some(8000),
        address_type: Some(AddressType::Tcp4),
        fd: None,
        flags: Some(1),
        backlog: Some(10),
        readable_all: None,
        writable_all: None,
        data: data(r#"{"ticketKeys":"00"}"#),
    };
    assert_eq!(read, expected);
}

#[test]
fn null_is_as_good_as_nothing_and_what_is_unknown_is_ignored() {
    let bare = request(&json!({ "act": "query", "seq": 1, "index": 0 }));
    let full = request(&json!({
        "act": "query", "seq": 1, "index": 0, "address": null, "port": null, "addressType": null, "fd": null,
        "flags": null, "backlog": null, "readableAll": null, "writableAll": null, "data": null,
        "signal": { "added": ["by", "some", "Node"] }, "\u{0}": [],
    }));
    assert_eq!(bare, full);
    assert!(bare.data.is_none());
}

#[test]
fn every_address_type_is_read() {
    let cases = [
        (json!(4), AddressType::Tcp4),
        (json!(6), AddressType::Tcp6),
        (json!(-1), AddressType::Path),
        (json!("udp4"), AddressType::Udp4),
        (json!("udp6"), AddressType::Udp6),
    ];
    for (written, address_type) in cases {
        let read = request(&json!({ "act": "query", "seq": 1, "index": 0, "addressType": written }));
        assert_eq!(read.address_type, Some(address_type));
    }
}

#[test]
fn a_port_may_be_text_and_any_whole_number() {
    for (written, port) in
        [(json!("8125"), 8125), (json!(" 0 "), 0), (json!(-1), -1), (json!(70_000), 70_000)]
    {
        let read = request(&json!({ "act": "query", "seq": 1, "index": 0, "port": written }));
        assert_eq!(read.port, Some(port));
    }
}

#[test]
fn a_query_with_a_wrong_field_gets_an_answer() {
    let wrong = [
        ("port", json!(80.5)),
        ("port", json!(1e30)),
        ("port", json!("http")),
        ("port", json!([])),
        ("addressType", json!(5)),
        ("addressType", json!("udp5")),
        ("address", json!(1)),
        ("fd", json!("3")),
        ("index", json!(-1)),
        ("index", json!(u64::from(u32::MAX) + 1)),
        ("readableAll", json!(1)),
    ];
    for (field, value) in wrong {
        let mut frame = json!({ "act": "query", "seq": 9, "index": 0 });
        frame[field] = value;
        let error = parse(&frame).unwrap_err();
        assert!(matches!(error, FrameError::Fields { act: "query", seq: Some(9), .. }), "{frame}: {error}");
        assert_eq!(error.refusal(), Some(Reply::refusal(9, EINVAL)), "{frame}");
    }
}

fn data(text: &str) -> Data {
    serde_json::from_str(text).unwrap()
}

#[test]
fn custom_data_comes_back_as_the_text_it_was() {
    for text in [r#"{"b":1, "a":[1e3,"\ud800"]}"#, "[[[[]]]]", "0", "\"\""] {
        let frame = format!(r#"{{"act":"query","seq":1,"index":0,"data":{text}}}"#);
        let Ok(FromWorker::Listen(request)) = FromWorker::parse(frame.as_bytes()) else { panic!("{text}") };
        assert_eq!((request.data.text(), request.data.len()), (text, text.len()));
        let reply = Reply { data: request.data, ..Reply::refusal(1, 0) };
        assert!(ToWorker::Reply(reply).encode().unwrap().ends_with(&format!("{text}}}")));
    }
}

#[test]
fn a_lone_surrogate_in_a_path_is_what_node_would_bind() {
    let frame = br#"{"act":"query","seq":5,"index":0,"address":"/tmp/\ud800"}"#;
    let Ok(FromWorker::Listen(request)) = FromWorker::parse(frame) else {
        panic!("no listen request");
    };
    assert_eq!(request.address.as_deref(), Some("/tmp/\u{fffd}"));
}

#[test]
fn a_query_without_a_number_cannot_be_answered() {
    for seq in [json!(null), json!(-1), json!("1"), json!(1.5)] {
        let error = parse(&json!({ "act": "query", "seq": seq, "index": 0 })).unwrap_err();
        assert!(matches!(error, FrameError::Fields { act: "query", seq: None, .. }), "{error}");
        assert_eq!(error.refusal(), None);
    }
}

#[test]
fn custom_data_has_a_limit_that_leaves_room_for_the_reply() {
    let frame = |length| json!({ "act": "query", "seq": 2, "index": 0, "data": "x".repeat(length) });
    let data = request(&frame(MAX_DATA - 2)).data;
    let error = parse(&frame(MAX_DATA - 1)).unwrap_err();
    assert_eq!(error, FrameError::Data { seq: 2, length: MAX_DATA + 1 });
    assert_eq!(error.refusal(), Some(Reply::refusal(2, EMSGSIZE)));

    let longest = Reply {
        seq: u32::MAX,
        errno: i32::MIN,
        listener: Some(ListenerId(u32::MAX)),
        kind: Some(Kind::Pipe),
        shared: false,
        per_slot: false,
        hand_over: Some(By::Header("x".repeat(LONGEST_NAME))),
        sockname: Some(Sockname { address: "x".repeat(64), family: Family::IPv6, port: u16::MAX }),
        data,
    };
    assert!(ToWorker::Reply(longest).encode().unwrap().len() <= MAX_FRAME);
}

#[test]
fn another_version_is_told_from_ours() {
    assert_eq!(parse(&json!({ "act": "hello", "version": 2 })), Err(FrameError::Version { theirs: 2 }));
    let missing = parse(&json!({ "act": "hello" })).unwrap_err();
    assert!(matches!(missing, FrameError::Fields { act: "hello", .. }), "{missing}");
}

#[test]
fn what_is_no_frame_says_what_it_is() {
    for frame in
        [&b""[..], b"{", b"null", b"[]", b"{}", br#"{"act":1}"#, b"\xff\xfe", br#"{"act":"leaving"}x"#]
    {
        let error = FromWorker::parse(frame).unwrap_err();
        assert!(matches!(error, FrameError::Json { .. }), "{frame:?}: {error}");
        assert_eq!(error.refusal(), None);
    }
    let unknown = parse(&json!({ "act": "ä".repeat(1000) })).unwrap_err();
    assert_eq!(unknown, FrameError::UnknownAct { act: "ä".repeat(32) });
    for act in ["listening", "close"] {
        for listener in [json!(null), json!(-1), json!("1"), json!(1u64 << 32)] {
            let error = parse(&json!({ "act": act, "listener": listener })).unwrap_err();
            assert!(matches!(error, FrameError::Fields { seq: None, .. }), "{error}");
        }
    }
}

#[test]
fn a_complaint_quotes_no_novels() {
    let error = parse(&json!({ "act": "hello", "version": "x".repeat(60_000) })).unwrap_err();
    assert!(error.to_string().len() < 300, "{error}");
}

#[test]
fn length_and_depth_have_limits() {
    let length = MAX_FRAME + 1;
    assert_eq!(FromWorker::parse(&vec![b' '; length]), Err(FrameError::TooLong { length }));
    let deep = format!(r#"{{"act":"query","seq":1,"index":0,"data":{}}}"#, "[".repeat(30_000));
    assert!(FromWorker::parse(deep.as_bytes()).is_err());
}

#[test]
fn a_reply_is_written_as_the_worker_reads_it() {
    let reply = Reply {
        seq: 4,
        errno: 0,
        listener: Some(ListenerId(2)),
        kind: Some(Kind::Tcp),
        shared: true,
        per_slot: true,
        hand_over: Some(By::Cookie("id".into())),
        sockname: Some(Sockname { address: "::1".into(), family: Family::IPv6, port: 80 }),
        data: data("[1]"),
    };
    let written: Value = serde_json::from_str(&ToWorker::Reply(reply).encode().unwrap()).unwrap();
    let expected = json!({
        "act": "reply", "seq": 4, "errno": 0, "listener": 2, "kind": "tcp", "shared": true, "perSlot": true,
        "handOver": { "by": "cookie", "name": "id" },
        "sockname": { "address": "::1", "family": "IPv6", "port": 80 }, "data": [1],
    });
    assert_eq!(written, expected);

    let written: Value =
        serde_json::from_str(&ToWorker::Reply(Reply::refusal(1, -98)).encode().unwrap()).unwrap();
    let expected = json!({
        "act": "reply", "seq": 1, "errno": -98, "listener": null, "kind": null, "shared": false, "perSlot": false,
        "handOver": null,
        "sockname": null, "data": null,
    });
    assert_eq!(written, expected);
}

#[test]
fn what_the_supervision_says_is_written_as_the_worker_reads_it() {
    let cases = [
        (
            ToWorker::Drain(Drain { reason: "reload".into(), timeout_ms: 10_000 }),
            json!({ "act": "drain", "reason": "reload", "timeoutMs": 10_000 }),
        ),
        (ToWorker::Promote { slot: Slot(3) }, json!({ "act": "promote", "slot": 3 })),
        (ToWorker::Ping, json!({ "act": "ping" })),
    ];
    for (frame, expected) in cases {
        let written: Value = serde_json::from_str(&frame.encode().unwrap()).unwrap();
        assert_eq!(written, expected);
    }
    assert_eq!(ToWorker::Ping.encode().unwrap(), PING);
    let settings = Settings {
        slot: None,
        standby: true,
        drain_timeout_ms: 500,
        retire_on_exception: false,
        instance_var: Some("INSTANCE".into()),
        retry: true,
    };
    let written: Value = serde_json::from_str(&settings.encode().unwrap()).unwrap();
    let expected = json!({ "slot": null, "standby": true, "drainTimeoutMs": 500, "retireOnException": false, "instanceVar": "INSTANCE", "retry": true });
    assert_eq!(written, expected);
}

#[test]
fn a_frame_that_is_too_long_is_not_written() {
    let data = data(&format!("\"{}\"", "x".repeat(MAX_FRAME)));
    let error = ToWorker::Reply(Reply { data, ..Reply::refusal(1, 0) }).encode().unwrap_err();
    assert!(matches!(error, FrameError::TooLong { .. }), "{error}");
}

#[test]
fn custom_data_that_only_javascript_reads_goes_through_as_it_came() {
    let text = r#"{"half a \ud800 pair":1e999}"#;
    let frame = format!(
        r#"{{"act":"query","seq":1,"index":0,"address":null,"port":1,"addressType":4,"data":{text}}}"#
    );
    let FromWorker::Listen(request) = FromWorker::parse(frame.as_bytes()).unwrap() else {
        panic!("a listen request")
    };
    let reply = Reply { data: request.data, ..Reply::refusal(1, 0) };
    assert!(ToWorker::Reply(reply).encode().unwrap().contains(text));
}
