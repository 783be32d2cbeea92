use super::*;
use crate::io::exchange::ExchangeClient;
use rcluster_core::exchange::endpoint::Incoming;
use rcluster_core::exchange::frame::Kind;
use rcluster_core::exchange::{RequestId, Scope, Target};

/// A room whose thread is the test.
struct Rig {
    room: ExchangeRoom,
    poller: Poller,
}

impl Rig {
    fn new() -> Self {
        Self { room: ExchangeRoom::default(), poller: Poller::new().unwrap() }
    }

    /// Workers are read in the order in which they join.
    fn join(&mut self, worker: u32) -> ExchangeClient {
        let (ours, theirs) = message_pair().unwrap();
        let worker = WorkerId(worker);
        self.room.on_started(worker, None);
        let socket = Descriptor::own(theirs);
        let token = u64::from(worker.0) * 2;
        self.room.admit(&self.poller, token, socket, Some(worker)).map_err(|(_, error)| error).unwrap();
        ExchangeClient::connect(ours).unwrap()
    }

    fn work(&mut self) {
        loop {
            self.room.admit_requests();
            if !self.work_once() {
                return;
            }
        }
    }

    fn work_once(&mut self) -> bool {
        self.room.work(&self.poller, &|_, _| None)
    }
}

/// Everything that has arrived. `None` if the client was cut off.
fn arrived(client: &ExchangeClient) -> Option<Vec<Kind>> {
    let mut all = Vec::new();
    loop {
        client.begin_turn();
        match client.next(|frame| frame.kind).unwrap() {
            Incoming::Frame(kind) => all.push(kind),
            Incoming::Nothing => return Some(all),
            Incoming::End => return None,
        }
    }
}

fn request(worker: u32) -> Ask<'static> {
    Ask::Request { id: RequestId(1), target: Target::Worker(WorkerId(worker)), name: b"name", data: b"" }
}

fn post(channel: &'static [u8]) -> Ask<'static> {
    Ask::Post { scope: Scope::Machine, channel, origin: 0, echo: false, data: b"" }
}

#[test]
fn a_message_reaches_processes_that_declared_before_it_was_sent() {
    let mut rig = Rig::new();
    let [one, two, three] = [1, 2, 3].map(|worker| rig.join(worker));
    // Each makes its request after the one below it.
    three.send(&Ask::Handle(b"name")).unwrap();
    three.send(&Ask::Subscribe(Scope::Machine, b"b")).unwrap();
    two.send(&post(b"b")).unwrap();
    two.send(&Ask::Subscribe(Scope::Machine, b"a")).unwrap();
    one.send(&post(b"a")).unwrap();
    one.send(&request(3)).unwrap();
    rig.work();
    assert_eq!(arrived(&two), Some(vec![Kind::Message]));
    assert_eq!(arrived(&three), Some(vec![Kind::Message, Kind::Request]));
    assert_eq!(arrived(&one), Some(vec![]));
}

#[test]
fn concurrent_declarations_do_not_deadlock() {
    let mut rig = Rig::new();
    let [one, two] = [1, 2].map(|worker| rig.join(worker));
    for client in [&one, &two] {
        client.send(&post(b"a")).unwrap();
        client.send(&Ask::Subscribe(Scope::Machine, b"a")).unwrap();
        client.send(&post(b"a")).unwrap();
    }
    rig.work();
    // The ring of the first is read first, and before its first message the subscription of the second.
    assert_eq!(arrived(&one), Some(vec![Kind::Message]));
    assert_eq!(arrived(&two), Some(vec![Kind::Message, Kind::Message]));
}

#[test]
fn many_declarations_are_read_before_a_message() {
    let mut rig = Rig::new();
    let [one, two] = [1, 2].map(|worker| rig.join(worker));
    let names: Vec<String> = (0..WINDOW - 1).map(|number| format!("{number}")).collect();
    for name in &names {
        two.send(&Ask::Handle(name.as_bytes())).unwrap();
    }
    two.send(&Ask::Handle(b"name")).unwrap();
    one.send(&request(2)).unwrap();
    rig.work();
    assert_eq!(arrived(&one), Some(vec![]));
    assert_eq!(arrived(&two), Some(vec![Kind::Request]));
}

#[test]
fn a_process_that_claims_missing_declarations_is_cut_off() {
    let mut rig = Rig::new();
    let [one, two, three] = [1, 2, 3].map(|worker| rig.join(worker));
    two.claim_declarations(7);
    three.send(&Ask::Handle(b"name")).unwrap();
    one.send(&request(3)).unwrap();
    rig.work();
    assert_eq!(arrived(&three), Some(vec![Kind::Request]));
    assert_eq!(arrived(&two), None);
    assert_eq!(arrived(&one), Some(vec![]));
}

#[test]
fn a_request_made_after_a_command_is_carried_out_after_it() {
    let mut rig = Rig::new();
    let [one, two] = [1, 2].map(|worker| rig.join(worker));
    two.send(&Ask::Handle(b"name")).unwrap();
    rig.work();
    rig.room.admit_requests();
    // Here the thread takes commands. The end of a worker comes too late for that, and a request after it.
    one.send(&request(2)).unwrap();
    assert!(!rig.work_once());
    rig.room.on_exit(&rig.poller, WorkerId(2), &|_, _| None);
    rig.work();
    assert_eq!(arrived(&one), Some(vec![Kind::Outcome]));
    assert_eq!(arrived(&two), None);
}
