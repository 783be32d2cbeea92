//! Refusals: invalid requests, requests about other workers' listeners, and requests beyond limits.

use super::*;

#[test]
fn invalid_requests_are_answered_and_open_nothing() {
    let mut primary = Primary::new(false, &[A]);
    primary.ask(A, request(json!({ "port": 65_536, "addressType": 4 })));
    assert_eq!(primary.out, [refusal(A, EINVAL)]);
}

#[test]
fn only_members_can_close_a_server() {
    let mut primary = Primary::new(false, &[A, B]);
    let listener = primary.listen(A, port(80));
    for worker in [B, C] {
        for listener in [listener, ListenerId(0), ListenerId(2), ListenerId(u32::MAX)] {
            primary.input(Input::Close { worker, listener });
            primary.input(Input::Listening { worker, listener });
        }
    }
    let result = Ok(Opened { kind: Kind::Tcp, sockname: None });
    primary.input(Input::Opened { listener, result });
    primary.input(Input::Opened { listener: ListenerId(9), result: Err(EADDRINUSE) });
    assert_eq!(primary.said(), []);
    assert_eq!(primary.listen(B, port(80)), listener);
}

#[test]
fn a_worker_cannot_close_a_listener_that_is_being_opened() {
    let mut primary = Primary::new(false, &[A]);
    primary.hold = true;
    primary.ask(A, port(80));
    primary.input(Input::Close { worker: A, listener: ListenerId(1) });
    primary.answer(ListenerId(1));
    assert!(matches!(primary.said().as_slice(), [Output::Reply { .. }]));
}

#[test]
fn the_limit_of_a_worker_does_not_affect_others() {
    let mut primary = Primary::new(false, &[A, B]);
    // Without the checks after each step, which would check all listeners every time.
    for number in 1..=u16::try_from(MAX_LISTENERS).unwrap() {
        let listener = ListenerId(number.into());
        let result = Ok(Opened { kind: Kind::Tcp, sockname: None });
        let opened = Input::Opened { listener, result };
        for input in [Input::Listen { worker: A, request: port(number) }, opened] {
            primary.listeners.handle(primary.now, input, &mut primary.out);
        }
    }
    assert_eq!(primary.listeners.len(), MAX_LISTENERS);
    primary.said();
    primary.ask(A, port(9999));
    assert_eq!(primary.out, [refusal(A, EMFILE)]);
    primary.listen(B, port(9999));
    primary.ask(A, port(9999));
    assert_eq!(primary.out, [refusal(A, EMFILE)]);
}

#[test]
fn exhausted_numbers_are_an_error() {
    let mut primary = Primary::new(false, &[A]);
    primary.listeners.next = u32::MAX - 1;
    let last = primary.listen(A, port(80));
    primary.ask(A, port(81));
    assert_eq!(primary.said(), [refusal(A, EMFILE)]);
    primary.input(Input::Close { worker: A, listener: last });
    assert!(primary.closed(last));
}
