use super::*;

const NAME: &[u8] = b"name";

fn locks(clients: u64) -> Locks {
    let mut locks = Locks::new(0);
    (0..clients).for_each(|client| locks.join(ClientId(client)));
    locks
}

fn request(mode: Mode, otherwise: Otherwise) -> Request<'static> {
    Request { space: Space::Lock, name: NAME, mode, otherwise }
}

const EXCLUSIVE: Request<'static> =
    Request { space: Space::Lock, name: NAME, mode: Mode::Exclusive, otherwise: Otherwise::Wait };
const SHARED: Request<'static> =
    Request { space: Space::Lock, name: NAME, mode: Mode::Shared, otherwise: Otherwise::Wait };

fn ask(locks: &mut Locks, client: u64, id: u64, what: &Request<'_>) {
    locks.request(ClientId(client), RequestId(id), what).unwrap();
}

/// The messages: the client, the request, and a letter for the kind.
fn told(locks: &mut Locks) -> Vec<(u64, u64, char)> {
    let letter = |notice: &Notice| match notice {
        Notice::Granted { .. } => 'g',
        Notice::Unavailable => 'u',
        Notice::Stolen => 's',
        Notice::Settled(_) => 'f',
        Notice::TooMany => 'm',
    };
    locks.take_events().iter().map(|it| (it.client.0, it.request.0, letter(&it.notice))).collect()
}

#[test]
fn requests_are_granted_in_order_and_shared_ones_together() {
    let mut locks = locks(5);
    ask(&mut locks, 0, 1, &EXCLUSIVE);
    ask(&mut locks, 1, 1, &SHARED);
    ask(&mut locks, 2, 1, &SHARED);
    ask(&mut locks, 3, 1, &EXCLUSIVE);
    ask(&mut locks, 4, 1, &SHARED);
    assert_eq!(told(&mut locks), [(0, 1, 'g')]);
    locks.end(ClientId(0), RequestId(1));
    assert_eq!(told(&mut locks), [(1, 1, 'g'), (2, 1, 'g')]);
    locks.end(ClientId(1), RequestId(1));
    assert_eq!(told(&mut locks), []);
    locks.end(ClientId(2), RequestId(1));
    assert_eq!(told(&mut locks), [(3, 1, 'g')], "a shared one does not pass an exclusive one that waits");
    locks.end(ClientId(3), RequestId(1));
    assert_eq!(told(&mut locks), [(4, 1, 'g')]);
    locks.end(ClientId(4), RequestId(1));
    assert!(locks.queues.is_empty(), "nothing is left of a name");
}

#[test]
fn a_request_with_if_available_is_answered_at_once() {
    let mut locks = locks(3);
    let give_up = |mode| request(mode, Otherwise::GiveUp);
    ask(&mut locks, 0, 1, &give_up(Mode::Shared));
    ask(&mut locks, 1, 1, &give_up(Mode::Shared));
    ask(&mut locks, 1, 2, &give_up(Mode::Exclusive));
    assert_eq!(told(&mut locks), [(0, 1, 'g'), (1, 1, 'g'), (1, 2, 'u')]);
    ask(&mut locks, 2, 1, &EXCLUSIVE);
    ask(&mut locks, 2, 2, &give_up(Mode::Shared));
    assert_eq!(told(&mut locks), [(2, 2, 'u')], "it would have to wait behind the exclusive one");
}

#[test]
fn stealing_ends_the_holders_and_overtakes_the_queue() {
    let mut locks = locks(4);
    ask(&mut locks, 0, 1, &SHARED);
    ask(&mut locks, 1, 1, &SHARED);
    ask(&mut locks, 2, 1, &EXCLUSIVE);
    told(&mut locks);
    ask(&mut locks, 3, 1, &request(Mode::Exclusive, Otherwise::Steal));
    assert_eq!(told(&mut locks), [(0, 1, 's'), (1, 1, 's'), (3, 1, 'g')]);
    // A request that lost its lock has nothing to release, and its number may be reused.
    locks.end(ClientId(0), RequestId(1));
    assert_eq!(told(&mut locks), []);
    ask(&mut locks, 0, 1, &SHARED);
    locks.end(ClientId(3), RequestId(1));
    assert_eq!(told(&mut locks), [(2, 1, 'g')]);
    let shared_steal = request(Mode::Shared, Otherwise::Steal);
    assert_eq!(locks.request(ClientId(1), RequestId(5), &shared_steal), Err(ProtocolViolation));
}

#[test]
fn locks_of_the_dead_are_granted_to_the_next() {
    let mut locks = locks(3);
    ask(&mut locks, 0, 1, &EXCLUSIVE);
    ask(&mut locks, 0, 2, &EXCLUSIVE);
    ask(&mut locks, 1, 1, &EXCLUSIVE);
    told(&mut locks);
    locks.leave(ClientId(0));
    assert_eq!(told(&mut locks), [(1, 1, 'g')], "and not to another request of the dead");
    assert_eq!(locks.request(ClientId(0), RequestId(3), &EXCLUSIVE), Err(ProtocolViolation));
}

#[test]
fn a_process_cannot_end_requests_of_another() {
    let mut locks = locks(2);
    ask(&mut locks, 0, 7, &EXCLUSIVE);
    ask(&mut locks, 1, 1, &EXCLUSIVE);
    told(&mut locks);
    locks.end(ClientId(1), RequestId(7));
    assert_eq!(locks.settle(ClientId(1), RequestId(7), b""), Ok(()));
    assert_eq!(told(&mut locks), []);
    assert_eq!(
        locks.request(ClientId(1), RequestId(1), &EXCLUSIVE),
        Err(ProtocolViolation),
        "the number is in use"
    );
    assert_eq!(locks.settle(ClientId(1), RequestId(1), b""), Err(ProtocolViolation), "it is no flight");
}

#[test]
fn an_aborted_request_lets_later_ones_pass() {
    let mut locks = locks(3);
    ask(&mut locks, 0, 1, &SHARED);
    ask(&mut locks, 1, 1, &EXCLUSIVE);
    ask(&mut locks, 2, 1, &SHARED);
    told(&mut locks);
    locks.end(ClientId(1), RequestId(1));
    assert_eq!(told(&mut locks), [(2, 1, 'g')]);
}

#[test]
fn a_flight_that_is_settled_answers_all_that_wait() {
    let mut locks = locks(4);
    let flight = Request { space: Space::Flight, ..EXCLUSIVE };
    for client in 0..3 {
        ask(&mut locks, client, 1, &flight);
    }
    told(&mut locks);
    assert_eq!(locks.settle(ClientId(1), RequestId(1), b"x"), Err(ProtocolViolation), "only by who holds it");
    let long = vec![0; MAX_OUTCOME + 1];
    assert_eq!(locks.settle(ClientId(0), RequestId(1), &long), Err(ProtocolViolation));
    locks.settle(ClientId(0), RequestId(1), b"outcome").unwrap();
    let events = locks.take_events();
    assert_eq!(events.len(), 2);
    assert!(events.iter().all(|event| event.notice == Notice::Settled(b"outcome"[..].into())));
    assert!(locks.queues.is_empty());
    ask(&mut locks, 3, 1, &flight);
    assert_eq!(told(&mut locks), [(3, 1, 'g')], "who comes later begins anew");
}

#[test]
fn there_is_a_limit_for_each_process() {
    let mut locks = locks(2);
    for id in 0..=MAX_REQUESTS as u64 {
        ask(&mut locks, 0, id, &EXCLUSIVE);
    }
    assert_eq!(told(&mut locks), [(0, 0, 'g'), (0, MAX_REQUESTS as u64, 'm')]);
    ask(&mut locks, 1, 0, &Request { name: b"other", ..EXCLUSIVE });
    assert_eq!(told(&mut locks), [(1, 0, 'g')]);
    let long = vec![b'n'; MAX_NAME + 1];
    assert_eq!(
        locks.request(ClientId(1), RequestId(1), &Request { name: &long, ..SHARED }),
        Err(ProtocolViolation)
    );
}

#[test]
fn the_snapshot_lists_what_is_held_and_then_what_is_pending() {
    let mut locks = locks(3);
    ask(&mut locks, 0, 1, &Request { name: b"b", ..EXCLUSIVE });
    ask(&mut locks, 1, 1, &Request { name: b"a", ..SHARED });
    ask(&mut locks, 2, 1, &Request { name: b"b", ..SHARED });
    ask(&mut locks, 2, 2, &Request { space: Space::Lead, ..EXCLUSIVE });
    let listed: Vec<_> = locks
        .snapshot(Space::Lock)
        .into_iter()
        .map(|it| (it.name.to_vec(), it.mode, it.client.0, it.token))
        .collect();
    assert_eq!(
        listed,
        [
            (b"b".to_vec(), Mode::Exclusive, 0, Some(1)),
            (b"a".to_vec(), Mode::Shared, 1, Some(2)),
            (b"b".to_vec(), Mode::Shared, 2, None),
        ]
    );
}
