use super::*;

fn verb(line: &str) -> Result<Verb, &'static str> {
    Request::parse(line.as_bytes()).map(|it| it.verb).map_err(|refusal| refusal.code)
}

#[test]
fn each_verb_is_parsed_with_its_fields() {
    let ms = Duration::from_millis;
    let cases = [
        (r#"{"verb":"hello"}"#, Verb::Hello),
        (r#"{"v":1,"id":7,"verb":"status","unknown":{"a":[1]}}"#, Verb::Status),
        (r#"{"verb":"metrics"}"#, Verb::Metrics),
        (r#"{"verb":"watch"}"#, Verb::Watch),
        (r#"{"verb":"unwatch"}"#, Verb::Unwatch),
        (r#"{"verb":"scale","workers":4}"#, Verb::Scale(Workers::Exactly(4))),
        (r#"{"verb":"scale","workers":"+2"}"#, Verb::Scale(Workers::By(2))),
        (r#"{"verb":"scale","workers":"-1"}"#, Verb::Scale(Workers::By(-1))),
        (r#"{"verb":"scale","workers":"auto"}"#, Verb::Scale(Workers::Auto)),
        (r#"{"verb":"reload"}"#, Verb::Reload { concurrency: None }),
        (r#"{"verb":"reload","concurrency":2}"#, Verb::Reload { concurrency: Some(2) }),
        (r#"{"verb":"restart","slot":3}"#, Verb::Restart(Slot(3))),
        (r#"{"verb":"drain","slot":0}"#, Verb::Drain(Slot(0))),
        (r#"{"verb":"stack","slot":1}"#, Verb::Stack(Target::Slot(Slot(1)))),
        (r#"{"verb":"stack","slot":"primary"}"#, Verb::Stack(Target::Primary)),
        (r#"{"verb":"logs"}"#, Verb::Logs(Wanted { slot: None, lines: LINES, follow: false })),
        (
            r#"{"verb":"logs","slot":2,"lines":0,"follow":true}"#,
            Verb::Logs(Wanted { slot: Some(Slot(2)), lines: 0, follow: true }),
        ),
        (
            r#"{"verb":"profile","slot":1}"#,
            Verb::Examine(Target::Slot(Slot(1)), Examination::Profile { duration_ms: DEFAULT_PROFILE }),
        ),
        (
            r#"{"verb":"profile","slot":"primary","duration":5}"#,
            Verb::Examine(Target::Primary, Examination::Profile { duration_ms: 5 }),
        ),
        (r#"{"verb":"heap","slot":0}"#, Verb::Examine(Target::Slot(Slot(0)), Examination::Heap)),
        (r#"{"verb":"inspect","slot":0}"#, Verb::Examine(Target::Slot(Slot(0)), Examination::Inspect)),
        (
            r#"{"verb":"inspect","slot":0,"off":true}"#,
            Verb::Examine(Target::Slot(Slot(0)), Examination::CloseInspector),
        ),
        (r#"{"verb":"env","slot":0}"#, Verb::Examine(Target::Slot(Slot(0)), Examination::Env)),
        (r#"{"verb":"stop"}"#, Verb::Stop { delay: None, timeout: None }),
        (r#"{"verb":"stop","delay":5,"timeout":0}"#, Verb::Stop { delay: Some(ms(5)), timeout: Some(ms(0)) }),
    ];
    for (line, expected) in cases {
        assert_eq!(verb(line), Ok(expected), "{line}");
    }
}

#[test]
fn invalid_requests_are_refused_with_a_code() {
    let cases = [
        ("", "ERR_RCLUSTER_REQUEST"),
        ("[1]", "ERR_RCLUSTER_REQUEST"),
        ("[null,1,\"hello\",null,null,null,null,null,null,null]", "ERR_RCLUSTER_REQUEST"),
        ("\"hello\"", "ERR_RCLUSTER_REQUEST"),
        ("{}", "ERR_RCLUSTER_REQUEST"),
        (r#"{"verb":1}"#, "ERR_RCLUSTER_REQUEST"),
        (r#"{"id":{},"verb":"hello"}"#, "ERR_RCLUSTER_REQUEST"),
        (r#"{"id":1.5,"verb":"hello"}"#, "ERR_RCLUSTER_REQUEST"),
        (r#"{"v":2,"verb":"hello"}"#, "ERR_RCLUSTER_VERSION"),
        (r#"{"v":"1","verb":"hello"}"#, "ERR_RCLUSTER_VERSION"),
        (r#"{"verb":"explode"}"#, "ERR_RCLUSTER_VERB"),
        (r#"{"verb":"scale"}"#, "ERR_INVALID_ARG_VALUE"),
        (r#"{"verb":"scale","workers":"4"}"#, "ERR_INVALID_ARG_VALUE"),
        (r#"{"verb":"scale","workers":-1}"#, "ERR_INVALID_ARG_VALUE"),
        (r#"{"verb":"scale","workers":"+x"}"#, "ERR_INVALID_ARG_VALUE"),
        (r#"{"verb":"reload","concurrency":0}"#, "ERR_INVALID_ARG_VALUE"),
        (r#"{"verb":"restart"}"#, "ERR_INVALID_ARG_VALUE"),
        (r#"{"verb":"restart","slot":"primary"}"#, "ERR_INVALID_ARG_VALUE"),
        (r#"{"verb":"profile","slot":0,"duration":600001}"#, "ERR_INVALID_ARG_VALUE"),
        (r#"{"verb":"profile","slot":0,"duration":0}"#, "ERR_INVALID_ARG_VALUE"),
        (r#"{"verb":"heap","slot":"all"}"#, "ERR_INVALID_ARG_VALUE"),
        (r#"{"verb":"inspect","slot":0,"off":1}"#, "ERR_INVALID_ARG_VALUE"),
        (r#"{"verb":"env"}"#, "ERR_INVALID_ARG_VALUE"),
        (r#"{"verb":"stop","timeout":4294967296}"#, "ERR_INVALID_ARG_VALUE"),
        (r#"{"verb":"logs","slot":"primary"}"#, "ERR_INVALID_ARG_VALUE"),
        (r#"{"verb":"logs","lines":10001}"#, "ERR_INVALID_ARG_VALUE"),
        (r#"{"verb":"logs","follow":1}"#, "ERR_INVALID_ARG_VALUE"),
    ];
    for (line, code) in cases {
        assert_eq!(verb(line), Err(code), "{line}");
    }
}

#[test]
fn a_refusal_carries_the_id_of_the_request() {
    let refusal = Request::parse(br#"{"id":"a","verb":"explode"}"#).unwrap_err();
    assert_eq!(serde_json::to_string(&refusal.id).unwrap(), "\"a\"");
    let long = format!(r#"{{"id":"{}","verb":"hello"}}"#, "x".repeat(MAX_ID + 1));
    assert_eq!(Request::parse(long.as_bytes()).unwrap_err().id, Id::default());
}

#[test]
fn differences_are_relative_to_the_current_number() {
    assert_eq!(Workers::By(-3).count(2, 8), 0, "which scaling refuses");
    assert_eq!((Workers::By(2).count(2, 8), Workers::Auto.count(2, 8)), (4, 8));
}
