use super::*;
use crate::ids::Slot;

const PEER: Address = Address::V4([127, 0, 0, 1]);

fn by(by: By) -> PrereadRule {
    PrereadRule { by, proxy_protocol: false }
}

fn named(value: &str) -> Verdict {
    Verdict::Decided(Some(Key::named(value.as_bytes())))
}

fn at(address: Address) -> Verdict {
    Verdict::Decided(Some(address.into()))
}

/// Checks all bytes at once, and then every prefix: nothing may be decided too early or differently.
fn look(rule: &PrereadRule, bytes: &[u8]) -> Verdict {
    let verdict = rule.look(bytes, Some(PEER), false);
    for length in 0..bytes.len() {
        let early = rule.look(&bytes[..length], Some(PEER), false);
        assert!(early == Verdict::Undecided || early == verdict, "after {length} bytes: {early:?}");
    }
    assert_ne!(rule.look(bytes, Some(PEER), true), Verdict::Undecided);
    verdict
}

#[test]
fn values_are_found_in_their_places() {
    let head = "GET /socket.io/?EIO=4&transport=polling&sid=s2~abc#x HTTP/1.1\r\nHost: here\r\n\
        X-Session:  blue \r\nCookie: a=1; sticky=green; b=\r\nCookie: second=red\r\n\r\nbody sticky=no";
    let cases = [
        (By::Query("sid".into()), named("s2~abc")),
        (By::Query("EIO".into()), named("4")),
        (By::Query("id".into()), at(PEER)),
        (By::Header("x-session".into()), named("blue")),
        (By::Header("X-SESSION".into()), named("blue")),
        (By::Header("session".into()), at(PEER)),
        (By::Cookie("sticky".into()), named("green")),
        (By::Cookie("second".into()), named("red")),
        (By::Cookie("tick".into()), at(PEER)),
        (By::Cookie("b".into()), at(PEER)),
        (By::Address, at(PEER)),
    ];
    for (what, expected) in cases {
        assert_eq!(look(&by(what.clone()), head.as_bytes()), expected, "{what:?}");
    }
}

#[test]
fn a_client_without_a_valid_request_is_identified_by_its_address() {
    for bytes in [&b"\x16\x03\x01\x02\x00\x01"[..], b"\0\0", b"GET\r\n\r\n", b"GET /\n\n"] {
        for what in [By::Query("sid".into()), By::Cookie("sid".into()), By::Header("sid".into())] {
            assert_eq!(look(&by(what), bytes), at(PEER), "{bytes:?}");
        }
    }
    assert_eq!(by(By::Address).look(b"", None, false), Verdict::Decided(None));
}

#[test]
fn empty_lines_before_the_request_are_ignored() {
    for head in ["\r\nGET /?sid=a HTTP/1.1\r\n", "\n\r\n\nGET /?sid=a HTTP/1.1\nCookie: sid=a\n\n"] {
        assert_eq!(look(&by(By::Query("sid".into())), head.as_bytes()), named("a"), "{head:?}");
    }
    let head = b"\r\n\r\nPOST / HTTP/1.1\r\nCookie: sid=a\r\n\r\n";
    assert_eq!(look(&by(By::Cookie("sid".into())), head), named("a"));
    assert_eq!(look(&by(By::Cookie("sid".into())), b"\r\n"), Verdict::Undecided);
}

#[test]
fn the_wait_for_bytes_is_limited() {
    let rule = by(By::Cookie("sid".into()));
    let endless = [b"GET / HTTP/1.1\r\n".as_slice(), &[b'x'; 2 * LIMIT]].concat();
    assert_eq!(rule.look(&endless[..LIMIT - 1], Some(PEER), false), Verdict::Undecided);
    assert_eq!(rule.look(&endless, Some(PEER), false), at(PEER));
    assert_eq!(rule.look(b"GET / HT", Some(PEER), true), at(PEER));
}

#[test]
fn a_proxy_sends_the_address() {
    let rule = PrereadRule { by: By::Address, proxy_protocol: true };
    let v4 = at(Address::V4([192, 0, 2, 7]));
    let v6 = at(Address::V6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]));
    let v2 = |command: u8, family: u8, addresses: &[u8]| {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [V2, &[0x20 | command, family], &length, addresses].concat()
    };
    let cases = [
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\nGET".to_vec(), v4),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 5000 80\r\n".to_vec(), v6),
        (b"PROXY UNKNOWN\r\n".to_vec(), at(PEER)),
        (b"PROXY TCP4 nonsense\r\n".to_vec(), at(PEER)),
        (b"PROXY\n".to_vec(), at(PEER)),
        ([b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat(), at(PEER)),
        (v2(1, 0x11, &[192, 0, 2, 7, 192, 0, 2, 1, 1, 1, 0, 80]), v4),
        (v2(1, 0x21, &[[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]; 2].concat()), v6),
        // A health check by the proxy itself; a Unix socket; too short for an address.
        (v2(0, 0, &[]), at(PEER)),
        (v2(1, 0x31, &[0; 216]), at(PEER)),
        (v2(1, 0x11, &[1, 2]), at(PEER)),
        // Longer than what is examined.
        (v2(1, 0x11, &[&[192, 0, 2, 7][..], &vec![0; 60_000][..]].concat()), v4),
        (b"GET / HTTP/1.1\r\n".to_vec(), at(PEER)),
    ];
    for (bytes, expected) in cases {
        assert_eq!(look(&rule, &bytes), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn the_request_follows_the_header_of_the_proxy() {
    let rule = PrereadRule { by: By::Query("sid".into()), proxy_protocol: true };
    let with = |request: &str| format!("PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\n{request}");
    assert_eq!(look(&rule, with("GET /?sid=blue HTTP/1.1\r\n").as_bytes()), named("blue"));
    assert_eq!(look(&rule, with("GET / HTTP/1.1\r\n").as_bytes()), at(Address::V4([192, 0, 2, 7])));
}

#[test]
fn a_value_may_name_a_slot() {
    for (value, slot) in [
        ("s0~abc", Some(0)),
        ("s12~abc", Some(12)),
        ("s~abc", None),
        ("s12", None),
        ("s99999999~a", None),
        ("s-1~a", None),
        ("s+1~a", None),
        ("x1~a", None),
    ] {
        assert_eq!(Key::named(value.as_bytes()).slot, slot.map(Slot), "{value}");
    }
}
