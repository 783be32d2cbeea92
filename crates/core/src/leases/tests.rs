use super::*;

const TTL: u32 = 1000;

struct Machine {
    leases: Leases,
    out: Vec<Output>,
}

impl Machine {
    /// A connected machine that has requested lease 1 at 1000.
    fn asking(otherwise: Otherwise) -> (Self, Ask) {
        let mut it = Self { leases: Leases::new(1), out: Vec::new() };
        it.input(Input::Tick, 0);
        assert_eq!(it.take(), [Output::Open]);
        it.input(Input::Opened, 0);
        it.input(Input::Beaten, 0);
        let want = Want { name: b"lock:a".to_vec(), ttl: TTL, otherwise };
        it.input(Input::Want(LeaseId(1), want), 900);
        let ask = it.asked();
        (it, ask)
    }

    /// A machine that has the lease until 1800, and renews it at 1233.
    fn holding() -> Self {
        let (mut it, ask) = Self::asking(Otherwise::Wait);
        it.answer(&ask, Answer::Held { token: 7 }, 950);
        assert_eq!(it.take(), [Output::Granted { id: LeaseId(1), token: 7, until: 1800 }]);
        it
    }

    fn input(&mut self, input: Input, now: u64) {
        self.leases.input(input, now, &mut self.out);
    }

    fn answer(&mut self, ask: &Ask, answer: Answer, now: u64) {
        self.input(Input::Answered { id: ask.id, number: ask.number, answer }, now);
    }

    fn take(&mut self) -> Vec<Output> {
        self.take_over();
        std::mem::take(&mut self.out)
    }

    /// The leases that are over.
    fn take_over(&mut self) -> Vec<LeaseId> {
        let mut over = Vec::new();
        self.out.retain(|output| {
            over.extend(if let Output::Over(id) = output { Some(*id) } else { None });
            !matches!(output, Output::Over(_) | Output::Beat)
        });
        over
    }

    fn asked(&mut self) -> Ask {
        match self.take().as_slice() {
            [Output::Ask(ask)] => ask.clone(),
            other => panic!("one question was expected: {other:?}"),
        }
    }
}

/// Until then, the server may still grant it to a request that has ended.
#[test]
fn a_lease_is_over_when_the_server_has_released_it_or_its_time_has_passed() {
    let mut it = Machine::holding();
    it.input(Input::End(LeaseId(1)), 1000);
    assert_eq!(it.take_over(), []);
    let release = it.asked();
    it.answer(&release, Answer::Released, 1010);
    assert_eq!(it.take_over(), [LeaseId(1)]);

    let (mut it, _) = Machine::asking(Otherwise::Wait);
    it.input(Input::End(LeaseId(1)), 1000);
    it.input(Input::Failed("lost".into()), 1100);
    assert_eq!(it.take_over(), []);
    it.input(Input::Tick, 900 + u64::from(TTL));
    assert_eq!(it.take_over(), [LeaseId(1)]);
}

#[test]
fn a_lease_counts_from_its_request_and_ends_early() {
    let mut it = Machine::holding();
    it.input(Input::Tick, 1232);
    assert_eq!(it.take(), []);
    it.input(Input::Tick, 1233);
    let renewal = it.asked();
    assert_eq!((renewal.operation, renewal.token), (Operation::Renew, 7));
    // Requested at 900, it ends at 1900 on the server. There is no answer, so it is lost here 100 ms earlier.
    it.input(Input::Tick, 1799);
    assert_eq!(it.take(), []);
    it.input(Input::Tick, 1800);
    let told = it.take();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(matches!(&told[0], Output::Ask(ask) if ask.operation == Operation::Release));
    assert_eq!(told[1], Output::Lost(LeaseId(1)));
    // The answer to the renewal is too late.
    it.answer(&renewal, Answer::Renewed, 1801);
    assert_eq!(it.take(), []);
}

#[test]
fn a_renewal_counts_from_its_request() {
    let mut it = Machine::holding();
    it.input(Input::Tick, 1233);
    let renewal = it.asked();
    it.answer(&renewal, Answer::Renewed, 1700);
    assert_eq!(it.take(), [Output::Renewed { id: LeaseId(1), until: 2133 }]);
    // At 1233 + 333, which is in the past.
    it.input(Input::Tick, 1701);
    assert_eq!(it.asked().operation, Operation::Renew);
    it.input(Input::Tick, 2132);
    assert_eq!(it.take(), []);
    it.input(Input::Tick, 2133);
    assert!(it.take().contains(&Output::Lost(LeaseId(1))));
}

#[test]
fn an_answer_that_took_too_long_grants_nothing() {
    let (mut it, ask) = Machine::asking(Otherwise::Wait);
    it.answer(&ask, Answer::Held { token: 7 }, 1800);
    let again = it.asked();
    assert_eq!(again.operation, Operation::Acquire);
    it.answer(&again, Answer::Held { token: 7 }, 1801);
    assert_eq!(it.take(), [Output::Granted { id: LeaseId(1), token: 7, until: 2700 }]);
}

#[test]
fn a_release_before_the_refusal_is_not_missed() {
    let (mut it, ask) = Machine::asking(Otherwise::Wait);
    it.input(Input::Released(b"lock:b".to_vec()), 910);
    it.input(Input::Released(b"lock:a".to_vec()), 911);
    assert_eq!(it.take(), []);
    it.answer(&ask, Answer::Busy { wait: 10_000 }, 912);
    assert_eq!(it.asked().operation, Operation::Acquire);
}

#[test]
fn a_waiting_request_is_repeated_at_the_end_or_release_of_the_lease() {
    let (mut it, ask) = Machine::asking(Otherwise::Wait);
    it.answer(&ask, Answer::Busy { wait: 500 }, 910);
    it.input(Input::Beaten, 910);
    it.input(Input::Tick, 1409);
    assert_eq!(it.take(), [], "nobody polls");
    it.input(Input::Tick, 1440);
    let ask = it.asked();
    it.answer(&ask, Answer::Busy { wait: 500 }, 1450);
    it.input(Input::Released(b"lock:a".to_vec()), 1460);
    assert_eq!(it.asked().operation, Operation::Acquire);
}

#[test]
fn a_request_that_does_not_wait_is_answered_at_once() {
    let (mut it, ask) = Machine::asking(Otherwise::GiveUp);
    it.answer(&ask, Answer::Busy { wait: 500 }, 910);
    assert_eq!(it.take(), [Output::Unavailable(LeaseId(1))]);
    for otherwise in [Otherwise::GiveUp, Otherwise::Steal] {
        let (mut it, ask) = Machine::asking(otherwise);
        assert_eq!(ask.operation == Operation::Steal, otherwise == Otherwise::Steal);
        it.input(Input::Failed("cut".into()), 910);
        assert_eq!(it.take(), [Output::Close, Output::Disconnected(LeaseId(1), "cut".into())]);
        // The request may have been executed, so the lease is released on the next connection.
        it.input(Input::Tick, 1000);
        assert_eq!(it.take(), [Output::Open]);
        it.input(Input::Opened, 1000);
        assert_eq!(it.asked().operation, Operation::Release);
    }
}

#[test]
fn a_lease_outlives_a_connection() {
    let mut it = Machine::holding();
    it.input(Input::Failed("cut".into()), 1000);
    it.input(Input::Tick, 1100);
    assert_eq!(it.take(), [Output::Close, Output::Open]);
    it.input(Input::Opened, 1700);
    let renewal = it.asked();
    assert_eq!((renewal.operation, renewal.token), (Operation::Renew, 7));
    it.answer(&renewal, Answer::Renewed, 1710);
    it.input(Input::Tick, 2000);
    assert!(!it.take().contains(&Output::Lost(LeaseId(1))));
}

#[test]
fn an_unwanted_lease_is_released() {
    let mut it = Machine::holding();
    it.input(Input::End(LeaseId(1)), 1000);
    let release = it.asked();
    assert_eq!(release.operation, Operation::Release);
    it.answer(&release, Answer::Released, 1010);
    it.input(Input::Tick, 5000);
    assert_eq!(it.take(), []);
    // The same while the request is under way.
    let (mut it, ask) = Machine::asking(Otherwise::Wait);
    it.input(Input::End(LeaseId(1)), 910);
    assert_eq!(it.asked().operation, Operation::Release);
    it.answer(&ask, Answer::Held { token: 7 }, 920);
    assert_eq!(it.take(), []);
}

#[test]
fn a_refusal_of_the_server_is_reported() {
    let (mut it, ask) = Machine::asking(Otherwise::Wait);
    it.answer(&ask, Answer::Refused("NOPERM".into()), 910);
    assert_eq!(it.take(), [Output::Disconnected(LeaseId(1), "NOPERM".into())]);
}

#[test]
fn a_server_that_cannot_execute_a_request_gets_it_again() {
    let (mut it, ask) = Machine::asking(Otherwise::Wait);
    it.answer(&ask, Answer::Unable("MISCONF".into()), 910);
    assert_eq!(it.take(), []);
    it.input(Input::Tick, 1910);
    assert_eq!(it.asked().operation, Operation::Acquire);
    let (mut it, ask) = Machine::asking(Otherwise::GiveUp);
    it.answer(&ask, Answer::Unable("MISCONF".into()), 910);
    assert_eq!(it.take(), [Output::Disconnected(LeaseId(1), "MISCONF".into())]);
    // A renewal is retried while the lease is valid.
    let mut it = Machine::holding();
    it.input(Input::Tick, 1233);
    let renewal = it.asked();
    it.answer(&renewal, Answer::Unable("MISCONF".into()), 1240);
    it.input(Input::Tick, 1340);
    assert_eq!(it.asked().operation, Operation::Renew);
}

#[test]
fn the_margin_is_a_tenth_within_limits() {
    assert_eq!([100, 200, 1000, 10_000, 3_600_000].map(margin), [20, 20, 100, 1000, 1000]);
}
