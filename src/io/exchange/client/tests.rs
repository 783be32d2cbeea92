use super::*;
use crate::io::store::{Open, Resource, on_exit, on_slot, on_started, open};
use nix::errno::Errno;
use rcluster_core::exchange::frame::{Kind, Status};
use rcluster_core::exchange::{CallId, MAX_DATA, RequestId, Scope, Target};
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_sys::closer::Closer;
use rcluster_sys::passing::{accept_descriptors, message_pair, wait_for_message};
use rcluster_testing::lingering;

/// An owned copy of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    kind: Kind,
    flag: u8,
    worker: u32,
    number: u64,
    data: Vec<u8>,
}

fn connect(worker: u32) -> ExchangeClient {
    let (ours, theirs) = message_pair().unwrap();
    on_started(WorkerId(worker), Some(Slot(worker)));
    let worker = Some((WorkerId(worker), Closer::new()));
    open(Open::new(Resource::Exchange, theirs, worker)).unwrap();
    ExchangeClient::connect(ours).unwrap()
}

impl ExchangeClient {
    fn await_news(&self) {
        let limit = Duration::from_secs(30);
        assert!(wait_for_message(self.0.borrow().sockets.poller.as_fd(), limit).unwrap(), "something comes");
    }

    fn flush(&self) {
        let Parts { endpoint, sockets } = &mut *self.0.borrow_mut();
        endpoint.flush(sockets);
    }

    /// The number of its pairs, and of those to which it sends directly.
    fn pairs(&self) -> (usize, usize) {
        self.0.borrow().endpoint.pairs()
    }
}

/// The next frame. `None` at the end.
fn next(client: &ExchangeClient) -> Option<Kept> {
    loop {
        client.begin_turn();
        let kept = client.next(|Frame { kind, flag, worker, number, data, .. }| Kept {
            kind,
            flag,
            worker,
            number,
            data: data.to_vec(),
        });
        match kept.unwrap() {
            Incoming::Nothing => client.await_news(),
            Incoming::Frame(frame) => return Some(frame),
            Incoming::End => return None,
        }
    }
}

fn request(client: &ExchangeClient, id: u64, target: Target<'_>, data: &[u8]) {
    client.send(&Ask::Request { id: RequestId(id), target, name: b"name", data }).unwrap();
}

/// Registers a handler for the name. It is in effect on return.
fn handle(client: &ExchangeClient, worker: u32) {
    client.send(&Ask::Handle(b"name")).unwrap();
    // A notice to itself arrives after it.
    client.send(&Ask::Notify { target: Target::Worker(WorkerId(worker)), name: b"name", data: b"" }).unwrap();
    assert_eq!(next(client).unwrap().kind, Kind::Notice);
}

fn outcome(frame: &Kept) -> (Kind, u64, u8) {
    (frame.kind, frame.number, frame.flag)
}

#[test]
fn a_request_is_answered_by_the_worker_that_was_called() {
    let [one, two, other] = [5_000_001, 5_000_002, 5_000_003].map(connect);
    handle(&two, 5_000_002);
    for size in [0, 1, 100_000, MAX_DATA] {
        let data = vec![7; size];
        request(&one, 1, Target::Slot(Slot(5_000_002)), &data);
        let call = next(&two).unwrap();
        assert_eq!((call.kind, call.worker, call.data.len()), (Kind::Request, 5_000_001, size));
        // No other client can answer.
        for number in 0..call.number + 10 {
            other.send(&Ask::Reply { call: CallId(number), status: Status::Value, data: b"forged" }).unwrap();
        }
        request(&other, 1, Target::Worker(WorkerId(5_000_003)), b"");
        assert_eq!(outcome(&next(&other).unwrap()), (Kind::Outcome, 1, Status::NoHandler as u8));
        two.send(&Ask::Reply { call: CallId(call.number), status: Status::Value, data: &call.data }).unwrap();
        let answer = next(&one).unwrap();
        assert_eq!(outcome(&answer), (Kind::Outcome, 1, Status::Value as u8));
        assert_eq!((answer.worker, &answer.data), (5_000_002, &data));
    }
}

#[test]
fn a_request_ends_with_the_worker_that_was_called() {
    let [one, two, three] = [5_000_011, 5_000_012, 5_000_013].map(connect);
    handle(&two, 5_000_012);
    handle(&three, 5_000_013);
    request(&one, 1, Target::Worker(WorkerId(5_000_012)), b"x");
    assert_eq!(next(&two).unwrap().kind, Kind::Request);
    // Its process ends while another process holds its socket.
    on_exit(WorkerId(5_000_012));
    assert_eq!(outcome(&next(&one).unwrap()), (Kind::Outcome, 1, Status::Gone as u8));
    assert_eq!(next(&two), None, "it is cut off");
    request(&one, 2, Target::Worker(WorkerId(5_000_013)), b"x");
    assert_eq!(next(&three).unwrap().kind, Kind::Request);
    drop(three);
    assert_eq!(outcome(&next(&one).unwrap()), (Kind::Outcome, 2, Status::Gone as u8));
    on_slot(WorkerId(5_000_013), None);
    request(&one, 3, Target::Slot(Slot(5_000_013)), b"x");
    assert_eq!(outcome(&next(&one).unwrap()), (Kind::Outcome, 3, Status::Gone as u8));
}

#[test]
fn a_process_that_does_not_read_loses_only_its_own_messages() {
    const COUNT: u64 = 2000;
    let [sender, reader, blocked] = [5_000_021, 5_000_022, 5_000_023].map(connect);
    for client in [&reader, &blocked] {
        client.send(&Ask::Subscribe(Scope::Machine, b"channel")).unwrap();
    }
    handle(&reader, 5_000_022);
    handle(&blocked, 5_000_023);
    let data = vec![1; 16 << 10];
    for origin in 0..COUNT {
        while sender
            .send(&Ask::Post { scope: Scope::Machine, channel: b"channel", origin, echo: false, data: &data })
            .is_err()
        {
            sender.flush();
        }
        let message = loop {
            sender.flush();
            reader.begin_turn();
            match reader.next(|frame| (frame.kind, frame.number, frame.data.len())).unwrap() {
                Incoming::Frame(frame) => break frame,
                Incoming::Nothing => std::thread::yield_now(),
                Incoming::End => panic!("it is cut off"),
            }
        };
        assert_eq!(message, (Kind::Message, origin, data.len()), "in order, and all of them");
    }
    let (mut read, mut lag) = (0, 0);
    while lag == 0 {
        let frame = next(&blocked).unwrap();
        match frame.kind {
            Kind::Message => {
                assert_eq!(frame.number, read, "in order");
                read += 1;
            }
            Kind::ChannelLag => lag = frame.number,
            kind => panic!("{kind:?}"),
        }
    }
    assert_eq!(read + lag, COUNT, "what was lost is counted");
}

#[test]
fn only_a_process_that_violates_the_protocol_is_cut_off() {
    let [one, two] = [5_000_031, 5_000_032].map(connect);
    handle(&two, 5_000_032);
    let breaks: [&dyn Fn(&ExchangeClient); 3] = [
        &|client| {
            for _ in 0..2 {
                request(client, 1, Target::Worker(WorkerId(5_000_032)), b"the same number twice");
            }
        },
        &|client| assert_eq!(client.0.borrow_mut().sockets.push(&[99, 0, 0]), endpoint::Pushed::Done),
        &|client| client.0.borrow().sockets.line.scribble(usize::MAX),
    ];
    for (worker, break_rules) in (5_000_040..).zip(breaks) {
        let hostile = connect(worker);
        break_rules(&hostile);
        while next(&hostile).is_some() {}
    }
    let call = next(&two).unwrap();
    assert_eq!((call.kind, &call.data[..]), (Kind::Request, &b"the same number twice"[..]));
    assert_eq!(next(&two).unwrap().kind, Kind::Cancelled, "nobody waits any more");
    request(&one, 1, Target::Worker(WorkerId(5_000_032)), b"x");
    let call = next(&two).unwrap();
    two.send(&Ask::Reply { call: CallId(call.number), status: Status::Value, data: b"y" }).unwrap();
    assert_eq!(next(&one).unwrap().data, b"y");
}

/// Makes a request, which is answered.
fn call(from: &ExchangeClient, id: u64, to: &ExchangeClient, worker: u32) {
    request(from, id, Target::Worker(WorkerId(worker)), b"question");
    let call = next(to).unwrap();
    assert_eq!((call.kind, &call.data[..]), (Kind::Request, &b"question"[..]));
    to.send(&Ask::Reply { call: CallId(call.number), status: Status::Value, data: b"answer" }).unwrap();
    let answer = next(from).unwrap();
    assert_eq!((outcome(&answer), answer.worker), ((Kind::Outcome, id, Status::Value as u8), worker));
}

/// Makes calls until both sides send directly. Returns the next request number.
fn pair(from: &ExchangeClient, to: &ExchangeClient, worker: u32) -> u64 {
    handle(to, worker);
    let calls = (1..1000).take_while(|id| {
        call(from, *id, to, worker);
        [from, to].map(ExchangeClient::pairs) != [(1, 1); 2]
    });
    let id = calls.count() as u64 + 2;
    assert!(id < 1000, "they are a pair");
    id
}

/// The first pair's socket.
fn with_socket(client: &ExchangeClient, act: impl FnOnce(&Descriptor)) {
    act(&client.0.borrow().sockets.pairs.values().next().unwrap().socket);
}

/// As if the kernel did not know how to refuse descriptors.
fn open_to_descriptors(client: &ExchangeClient) {
    let sockets = &mut client.0.borrow_mut().sockets;
    let (closer, id) = (sockets.closer.clone(), *sockets.pairs.keys().next().unwrap());
    // Only a kernel that knows the option can have set it.
    let pair = sockets.pairs.get_mut(&id).unwrap();
    let _unknown = accept_descriptors(&pair.socket, true);
    let token = u64::from(id.0) + 1;
    sockets.poller.remove(&pair.socket).unwrap();
    *pair = Pair::new(duplicate(&pair.socket).unwrap(), &closer);
    sockets.poller.add(&pair.socket, token).unwrap();
    assert!(pair.is_open_to_descriptors);
}

#[test]
fn two_processes_that_call_each_other_get_a_socket() {
    let [one, two] = [5_000_051, 5_000_052].map(connect);
    let id = pair(&one, &two, 5_000_052);
    request(&one, id, Target::Worker(WorkerId(5_000_052)), b"slow");
    assert!(next(&two).unwrap().number > 1 << 50, "it has come directly");
    assert_eq!(one.cancel(RequestId(id), true).unwrap(), Some(5_000_052));
    assert_eq!((next(&two).unwrap().kind, one.cancel(RequestId(id), true).unwrap()), (Kind::Cancelled, None));
    // A long message takes the other way, and arrives in order.
    for (number, size) in [10, 1 << 20, 10, 10].into_iter().enumerate() {
        let target = Target::Worker(WorkerId(5_000_052));
        let mut data = vec![0; size];
        data[0] = u8::try_from(number).unwrap();
        one.send(&Ask::Notify { target, name: b"name", data: &data }).unwrap();
    }
    let order: Vec<u8> = (0..4).map(|_| next(&two).unwrap().data[0]).collect();
    assert_eq!(order, [0, 1, 2, 3]);
}

#[test]
fn a_direct_request_ends_with_the_called_process() {
    let [one, two] = [5_000_061, 5_000_062].map(connect);
    let id = pair(&one, &two, 5_000_062);
    request(&one, id, Target::Worker(WorkerId(5_000_062)), b"x");
    let call = next(&two).unwrap();
    request(&one, id + 1, Target::Worker(WorkerId(5_000_062)), b"x");
    // What it answered before its end is still delivered.
    two.send(&Ask::Reply { call: CallId(call.number), status: Status::Value, data: b"y" }).unwrap();
    on_exit(WorkerId(5_000_062));
    assert_eq!(outcome(&next(&one).unwrap()), (Kind::Outcome, id, Status::Value as u8));
    assert_eq!(outcome(&next(&one).unwrap()), (Kind::Outcome, id + 1, Status::Gone as u8));
    assert_eq!(one.pairs(), (0, 0));
    assert!(one.0.borrow().sockets.pairs.is_empty(), "its descriptor is closed");
}

#[test]
fn a_process_that_writes_garbage_to_a_pair_loses_only_the_pair() {
    let packets = [b"rubbish".to_vec(), vec![0; 24], vec![1; 1 << 15], vec![20, 0, 0, 0, 9]];
    for (number, packet) in (0..).zip(packets) {
        let [one, two] = [5_000_071 + 2 * number, 5_000_072 + 2 * number].map(connect);
        let id = pair(&one, &two, 5_000_072 + 2 * number);
        request(&one, id, Target::Worker(WorkerId(5_000_072 + 2 * number)), b"x");
        with_socket(&two, |socket| assert_eq!(send(socket.as_fd(), &packet, &[]).unwrap(), Sent::Done));
        assert_eq!(outcome(&next(&one).unwrap()), (Kind::Outcome, id, Status::Gone as u8));
        // The request may have arrived, in which case it is cancelled.
        assert_eq!([next(&two), next(&two)].map(|it| it.unwrap().kind), [Kind::Request, Kind::Cancelled]);
        for id in id + 1..id + 10 {
            call(&one, id, &two, 5_000_072 + 2 * number);
        }
        assert_eq!([one.pairs(), two.pairs()], [(0, 0); 2], "by way of the thread");
    }
}

/// Closing one of these would block the event loop for an hour.
#[test]
fn a_process_that_sends_descriptors_over_a_pair_blocks_nobody() {
    let workers = [5_000_091, 5_000_092, 5_000_093];
    let [one, two, three] = workers.map(connect);
    let id = pair(&one, &two, workers[1]);
    // An older kernel passes them, which is what the rest of this test is about.
    if !one.0.borrow().sockets.pairs.values().next().unwrap().is_open_to_descriptors {
        with_socket(&two, |socket| {
            let sent = send(socket.as_fd(), b"x", &[duplicate(socket).unwrap()]);
            assert_eq!(sent.unwrap_err().errno, Errno::EPERM);
        });
        call(&one, id, &two, workers[1]);
        assert_eq!([one.pairs(), two.pairs()], [(1, 1); 2], "nothing has come");
    }
    open_to_descriptors(&one);
    // The second one stays in the queue of the socket.
    let ((first, _reader), (second, _other)) = (lingering(), lingering());
    with_socket(&two, |socket| {
        for fd in [first, second] {
            assert_eq!(send(socket.as_fd(), b"x", &[fd]).unwrap(), Sent::Done);
        }
    });
    request(&one, id + 1, Target::Worker(WorkerId(workers[1])), b"x");
    assert_eq!(outcome(&next(&one).unwrap()), (Kind::Outcome, id + 1, Status::Gone as u8));
    // The other one may or may not have received the request before the socket was closed.
    assert_eq!(one.pairs(), (0, 0));
    handle(&three, workers[2]);
    call(&one, id + 2, &three, workers[2]);
}
