use serde_json::{Value, json};

use super::*;
use crate::frames::FromWorker;

fn asked(mut fields: Value) -> ListenRequest {
    fields["act"] = json!("query");
    fields["seq"] = json!(1);
    if fields["index"].is_null() {
        fields["index"] = json!(0);
    }
    match FromWorker::parse(fields.to_string().as_bytes()) {
        Ok(FromWorker::Listen(request)) => *request,
        other => panic!("{fields} is read as {other:?}"),
    }
}

fn resolved(fields: Value) -> ResolvedRequest {
    ResolvedRequest::read(&asked(fields), &Scheduling::default()).unwrap()
}

fn key(fields: Value) -> Key {
    resolved(fields).key
}

#[test]
fn every_kind_of_address_is_parsed() {
    let tcp = |address: &str, ipv6, ipv6_only| ListenAddress::Tcp {
        address: address.into(),
        ipv6,
        port: 80,
        ipv6_only,
    };
    let udp = |address: &str, ipv6, ipv6_only, reuse_address| ListenAddress::Udp {
        address: address.into(),
        ipv6,
        port: 53,
        ipv6_only,
        reuse_address,
    };
    let path = |readable_all, writable_all| ListenAddress::Path {
        path: "/run/app".into(),
        readable_all,
        writable_all,
    };
    let cases = [
        (json!({ "address": "::1", "port": 80, "addressType": 6, "flags": 0 }), tcp("::1", true, false)),
        (json!({ "address": "::1", "port": 80, "addressType": 6, "flags": 1 }), tcp("::1", true, true)),
        (json!({ "address": "10.0.0.1", "port": 80, "addressType": 4 }), tcp("10.0.0.1", false, false)),
        (json!({ "port": 80, "addressType": 4 }), ListenAddress::TcpAnywhere { port: 80, ipv6_only: false }),
        (
            json!({ "port": 80, "addressType": 4, "flags": 1 }),
            ListenAddress::TcpAnywhere { port: 80, ipv6_only: true },
        ),
        (json!({ "address": "/run/app", "port": -1, "addressType": -1 }), path(false, false)),
        (
            json!({ "address": "/run/app", "port": -1, "addressType": -1, "readableAll": true }),
            path(true, false),
        ),
        (
            json!({ "address": "/run/app", "port": -1, "addressType": -1, "writableAll": true }),
            path(false, true),
        ),
        (
            json!({ "address": "1.2.3.4", "port": 53, "addressType": "udp4", "fd": -1, "flags": 4 }),
            udp("1.2.3.4", false, false, true),
        ),
        (
            json!({ "address": "::", "port": 53, "addressType": "udp6", "fd": -1, "flags": 1 }),
            udp("::", true, true, false),
        ),
        (json!({ "fd": 5 }), ListenAddress::Stream { fd: 5 }),
        (json!({ "fd": 0 }), ListenAddress::Stream { fd: 0 }),
        (json!({ "fd": 5, "addressType": "udp6" }), ListenAddress::Datagram { fd: 5 }),
    ];
    for (fields, address) in cases {
        assert_eq!(resolved(fields.clone()).spec.address, address, "{fields}");
    }
}

#[test]
fn invalid_requests_are_refused() {
    let nonsense = [
        json!({}),
        json!({ "fd": -1 }),
        json!({ "fd": 1u64 << 31 }),
        json!({ "port": 80 }),
        json!({ "addressType": 4 }),
        json!({ "addressType": 4, "port": 65_536 }),
        json!({ "addressType": 4, "port": -1 }),
        json!({ "addressType": 6, "port": 65_536, "address": "::1" }),
        json!({ "addressType": "udp4", "port": 65_536, "address": "0.0.0.0" }),
        json!({ "addressType": "udp4", "port": -1, "address": "0.0.0.0" }),
        json!({ "addressType": "udp4", "port": 1 }),
        json!({ "addressType": "udp4", "port": 1, "address": "0.0.0.0", "flags": 2 }),
        json!({ "addressType": "udp4", "port": 1, "address": "0.0.0.0", "flags": -1 }),
        json!({ "addressType": -1, "port": -1 }),
        json!({ "addressType": -1, "port": -1, "address": "" }),
        json!({ "addressType": -1, "port": -1, "address": "run/app" }),
    ];
    for fields in nonsense {
        assert_eq!(
            ResolvedRequest::read(&asked(fields.clone()), &Scheduling::default()),
            Err(EINVAL),
            "{fields}"
        );
    }
}

#[test]
fn equal_text_makes_equal_keys() {
    let anywhere = json!({ "port": 80, "addressType": 4 });
    let v4 = json!({ "port": 80, "addressType": 4, "address": "0.0.0.0" });
    let v6 = json!({ "port": 80, "addressType": 6, "address": "::" });
    let v6_again =
        json!({ "port": 80, "addressType": 6, "address": "::", "index": 3, "backlog": 9, "flags": 1 });
    let other_port = json!({ "port": 81, "addressType": 6, "address": "::" });
    let udp = json!({ "port": 80, "addressType": "udp6", "address": "::" });
    assert_ne!(key(anywhere.clone()), key(v4.clone()));
    assert_ne!(key(anywhere), key(v6.clone()));
    assert_ne!(key(v4), key(v6.clone()));
    assert_ne!(key(v6.clone()), key(other_port));
    assert_ne!(key(v6.clone()), key(udp));
    assert_eq!(key(v6), key(v6_again));
    assert_ne!(key(json!({ "fd": 3 })), key(json!({ "fd": 4 })));
    assert_ne!(key(json!({ "fd": 3 })), key(json!({ "fd": 3, "addressType": "udp4" })));
}

#[test]
fn the_index_is_used_for_port_0_only() {
    for (port, differ) in [(json!(0), true), (json!("0"), true), (json!(80), false)] {
        let at = |index| key(json!({ "port": port, "addressType": 4, "index": index }));
        assert_eq!(at(0) != at(1), differ, "port {port}");
    }
}

#[test]
fn the_backlog_is_for_sockets_that_listen_in_the_primary() {
    let backlog =
        |asked: Value| resolved(json!({ "port": 80, "addressType": 4, "backlog": asked })).spec.backlog;
    assert_eq!(backlog(json!(null)), Some(511));
    assert_eq!(backlog(json!(0)), Some(511));
    assert_eq!(backlog(json!(1)), Some(1));
    assert_eq!(backlog(json!(-1)), Some(-1));
    assert_eq!(backlog(json!(i64::MAX)), Some(i32::MAX));
    assert_eq!(backlog(json!(i64::MIN)), Some(i32::MAX));

    let udp = resolved(json!({ "port": 53, "addressType": "udp4", "address": "0.0.0.0", "backlog": 1 }));
    assert_eq!((udp.spec.sharing, udp.spec.backlog), (Sharing::Shared, None));
    let given = resolved(json!({ "fd": 4, "addressType": "udp4" }));
    assert!(given.spec.sharing == Sharing::Shared);
    let shared = ResolvedRequest::read(
        &asked(json!({ "port": 80, "addressType": 4, "backlog": 1 })),
        &Scheduling::of_node(true),
    )
    .unwrap();
    assert_eq!((shared.spec.sharing, shared.spec.backlog), (Sharing::Shared, None));
}

#[test]
fn each_listener_has_the_plan_of_its_name() {
    let scheduling = Scheduling::parse(
        r#"{"default":{"policy":"kernel"},"listeners":{"81":{"policy":"sticky"},"/run/app":{"policy":"none"}}}"#,
    )
    .unwrap();
    let spec = |fields| ResolvedRequest::read(&asked(fields), &scheduling).unwrap().spec;
    for (fields, policy, sharing) in [
        (json!({ "port": 80, "addressType": 4 }), Policy::Kernel, Sharing::PerSlot),
        (json!({ "port": 81, "addressType": 4 }), Policy::Sticky, Sharing::Passed),
        (json!({ "port": -1, "addressType": -1, "address": "/run/app" }), Policy::None, Sharing::Shared),
        // Sockets that cannot be bound once per slot.
        (json!({ "port": -1, "addressType": -1, "address": "/run/b" }), Policy::Kernel, Sharing::Shared),
        (json!({ "fd": 4 }), Policy::Kernel, Sharing::Shared),
        (json!({ "port": 81, "addressType": "udp4", "address": "::" }), Policy::Sticky, Sharing::Shared),
    ] {
        let spec = spec(fields.clone());
        assert_eq!((spec.plan.policy, spec.sharing), (policy, sharing), "{fields}");
        assert_eq!(spec.backlog.is_some(), sharing != Sharing::Shared);
    }
}

#[test]
fn the_shorter_path_is_used() {
    let cases = [
        ("/srv/app/socket", Some("/srv/app"), "socket"),
        ("/srv/app/run/socket", Some("/srv/app"), "run/socket"),
        ("/srv/socket", Some("/srv/app"), "../socket"),
        ("/srv/app/socket", None, "/srv/app/socket"),
        ("/tmp/s", Some("/srv/app"), "/tmp/s"),
        // Both have the same length.
        ("/a/s", Some("/a/b"), "../s"),
        ("/b/s", Some("/a"), "/b/s"),
        ("/s", Some("/a"), "/s"),
        ("/abc/s", Some("/abc/d"), "../s"),
        ("/ab/s", Some("/ab/d"), "../s"),
        ("/srv/app", Some("/srv/app"), "/srv/app"),
        ("/srv/./app//x/../socket", Some("/srv/app"), "socket"),
        ("/../s", Some("/"), "s"),
        ("\0name", Some("/srv/app"), "\0name"),
        ("/srv/app/\0name", Some("/srv/app"), "\0name"),
        ("/srv/app/\0name", Some("/srv"), "app/\0name"),
    ];
    for (path, directory, expected) in cases {
        let short = shorter(path, directory.map(Path::new));
        assert_eq!(short, Path::new(expected), "{path} seen from {directory:?}");
    }
}
