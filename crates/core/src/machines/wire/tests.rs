use super::*;
use crate::random::Random;

fn machine() -> MachineId {
    MachineId::new([1, u64::MAX])
}

fn encode(said: Said<'_>) -> Vec<u8> {
    Saying { machine: machine(), session: 7, said }.encode()
}

fn all() -> Vec<Said<'static>> {
    let (call, worker, name) = (CallId(u64::MAX), u32::MAX, &b"name"[..]);
    let (leader, data) = (&b"leader"[..], &b"data"[..]);
    let workers = Some(Workers(&[[1, 0, 0, 0], [255; 4]]));
    vec![
        Said::Beat(7),
        Said::Message { worker, data },
        Said::Message { worker: 0, data: b"" },
        Said::Lost(u64::MAX),
        Said::Ask { call, worker, leader: None, name, data },
        Said::Ask { call, worker: 0, leader: Some(b""), name: b"", data: b"" },
        Said::Ask { call: CallId(0), worker, leader: Some(leader), name, data },
        Said::Cancel(call),
        Said::Announce { call, workers },
        Said::Announce { call, workers: Some(Workers(&[])) },
        Said::Announce { call, workers: None },
        Said::Outcome { call, worker, status: Status::Value, data },
        Said::Outcome { call, worker: 0, status: Status::Gone, data: b"" },
        Said::Tell { worker, leader, name, data },
        Said::Alive,
    ]
}

#[test]
fn what_is_said_is_read_as_it_was_written() {
    for said in all() {
        let mut bytes = encode(said);
        assert_eq!(Saying::decode(&bytes), Some(Saying { machine: machine(), session: 7, said }));
        set_session(&mut bytes, u32::MAX);
        assert_eq!(Saying::decode(&bytes), Some(Saying { machine: machine(), session: u32::MAX, said }));
    }
    let (name, data) = (vec![1; MAX_NAME], vec![2; MAX_DATA]);
    let said = Said::Ask { call: CallId(1), worker: 1, leader: Some(&name), name: &name, data: &data };
    assert_eq!(Saying::decode(&encode(said)).map(|it| it.said), Some(said), "the largest one");
}

#[test]
fn anything_else_is_refused() {
    for said in all() {
        let whole = encode(said);
        for length in 0..HEAD {
            assert_eq!(Saying::decode(&whole[..length]), None, "{length} bytes of {said:?}");
        }
        for (at, value) in [(0, 0), (0, 2), (1, 0), (1, 10), (1, 200), (2, b'g'), (33, b'A')] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            assert_eq!(Saying::decode(&bytes), None, "{value} at {at}");
        }
    }
    let (name, data) = (vec![1; MAX_NAME], vec![2; MAX_DATA + 1]);
    let (call, worker) = (CallId(1), 1);
    let workers = vec![[0; 4]; MAX_CALLS + 1];
    for said in [
        Said::Message { worker, data: &data },
        Said::Ask { call, worker, leader: None, name: &name, data: &data },
        Said::Outcome { call, worker, status: Status::Value, data: &data },
        Said::Tell { worker, leader: &name, name: &name, data: &data },
        Said::Announce { call, workers: Some(Workers(&workers)) },
        Said::Outcome { call, worker, status: Status::Nobody, data: b"" },
    ] {
        assert_eq!(Saying::decode(&encode(said)), None);
    }
    // A name that is longer than it may be, or than what there is.
    for length in [1025, u16::MAX] {
        let mut bytes = encode(Said::Tell { worker, leader: b"", name: b"name", data: &[0; 2000] });
        bytes[HEAD..HEAD + 2].copy_from_slice(&length.to_le_bytes());
        assert_eq!(Saying::decode(&bytes), None, "a name of {length} bytes");
    }
}

#[test]
fn any_bytes_are_refused_or_say_all_that_there_is() {
    let mut random = Random::new(1);
    let mut read = 0;
    for _ in 0..50_000 {
        let length = HEAD - 4 + random.below(30);
        let mut bytes: Vec<u8> =
            (0..length).map(|_| if random.one_in(4) { random.noise().to_le_bytes()[0] } else { 0 }).collect();
        let head = encode(Said::Beat(0));
        for (byte, sound) in bytes.iter_mut().zip(&head[..SESSION]) {
            *byte = *sound;
        }
        bytes.iter_mut().skip(1).take(1).for_each(|kind| *kind = random.bits().to_le_bytes()[0] % 12);
        if let Some(saying) = Saying::decode(&bytes) {
            assert_eq!(saying.encode(), bytes, "what is read says all that there was");
            read += 1;
        }
    }
    assert!(read > 1000, "{read} make sense");
}
