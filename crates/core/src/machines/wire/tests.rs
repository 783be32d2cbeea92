use super::*;
use crate::random::Random;

fn machine() -> MachineId {
    MachineId::new([1, u64::MAX])
}

fn encode(content: Content<'_>) -> Vec<u8> {
    Publication { machine: machine(), session: 7, content }.encode()
}

fn all() -> Vec<Content<'static>> {
    let (call, worker, name) = (CallId(u64::MAX), u32::MAX, &b"name"[..]);
    let (leader, data) = (&b"leader"[..], &b"data"[..]);
    let workers = Some(Workers(&[[1, 0, 0, 0], [255; 4]]));
    vec![
        Content::Beat(7),
        Content::Message { worker, data },
        Content::Message { worker: 0, data: b"" },
        Content::Lost(u64::MAX),
        Content::Ask { call, worker, leader: None, name, data },
        Content::Ask { call, worker: 0, leader: Some(b""), name: b"", data: b"" },
        Content::Ask { call: CallId(0), worker, leader: Some(leader), name, data },
        Content::Cancel(call),
        Content::Announce { call, workers },
        Content::Announce { call, workers: Some(Workers(&[])) },
        Content::Announce { call, workers: None },
        Content::Outcome { call, worker, status: Status::Value, data },
        Content::Outcome { call, worker: 0, status: Status::Gone, data: b"" },
        Content::LeaderNotice { worker, leader, name, data },
        Content::Alive,
    ]
}

#[test]
fn publications_round_trip() {
    for content in all() {
        let mut bytes = encode(content);
        assert_eq!(
            Publication::decode(&bytes),
            Some(Publication { machine: machine(), session: 7, content })
        );
        set_session(&mut bytes, u32::MAX);
        assert_eq!(
            Publication::decode(&bytes),
            Some(Publication { machine: machine(), session: u32::MAX, content })
        );
    }
    let (name, data) = (vec![1; MAX_NAME], vec![2; MAX_DATA]);
    let content = Content::Ask { call: CallId(1), worker: 1, leader: Some(&name), name: &name, data: &data };
    assert_eq!(Publication::decode(&encode(content)).map(|it| it.content), Some(content), "the largest one");
}

#[test]
fn anything_else_is_refused() {
    for content in all() {
        let whole = encode(content);
        for length in 0..HEAD {
            assert_eq!(Publication::decode(&whole[..length]), None, "{length} bytes of {content:?}");
        }
        for (at, value) in [(0, 0), (0, 2), (1, 0), (1, 10), (1, 200), (2, b'g'), (33, b'A')] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            assert_eq!(Publication::decode(&bytes), None, "{value} at {at}");
        }
    }
    let (name, data) = (vec![1; MAX_NAME], vec![2; MAX_DATA + 1]);
    let (call, worker) = (CallId(1), 1);
    let workers = vec![[0; 4]; MAX_CALLS + 1];
    for content in [
        Content::Message { worker, data: &data },
        Content::Ask { call, worker, leader: None, name: &name, data: &data },
        Content::Outcome { call, worker, status: Status::Value, data: &data },
        Content::LeaderNotice { worker, leader: &name, name: &name, data: &data },
        Content::Announce { call, workers: Some(Workers(&workers)) },
        Content::Outcome { call, worker, status: Status::Nobody, data: b"" },
    ] {
        assert_eq!(Publication::decode(&encode(content)), None);
    }
    // A name that is too long, or longer than the rest.
    for length in [1025, u16::MAX] {
        let mut bytes =
            encode(Content::LeaderNotice { worker, leader: b"", name: b"name", data: &[0; 2000] });
        bytes[HEAD..HEAD + 2].copy_from_slice(&length.to_le_bytes());
        assert_eq!(Publication::decode(&bytes), None, "a name of {length} bytes");
    }
}

#[test]
fn arbitrary_bytes_are_refused_or_round_trip() {
    let mut random = Random::new(1);
    let mut read = 0;
    for _ in 0..50_000 {
        let length = HEAD - 4 + random.below(30);
        let mut bytes: Vec<u8> =
            (0..length).map(|_| if random.one_in(4) { random.noise().to_le_bytes()[0] } else { 0 }).collect();
        let head = encode(Content::Beat(0));
        for (byte, sound) in bytes.iter_mut().zip(&head[..SESSION]) {
            *byte = *sound;
        }
        bytes.iter_mut().skip(1).take(1).for_each(|kind| *kind = random.bits().to_le_bytes()[0] % 12);
        if let Some(publication) = Publication::decode(&bytes) {
            assert_eq!(publication.encode(), bytes, "what is read says all that there was");
            read += 1;
        }
    }
    assert!(read > 1000, "{read} make sense");
}
