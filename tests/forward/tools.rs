//! A forwarder with workers, for tests.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rcluster::io::forward::{
    BoundFront, Forwarder, ForwarderEvent, FrontAddress, FrontOptions, Kind, Own, Reach, Report, Target,
};
use rcluster_core::forward::Config;
use rcluster_core::forward::proxy::Version;
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_core::schedule::Policy;

/// Nothing here takes long: a test that reaches this limit has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) fn spec() -> FrontOptions {
    FrontOptions {
        address: FrontAddress::Tcp { host: Some("127.0.0.1".into()), port: 0 },
        backlog: 511,
        reach: Some(Reach::Port),
        env: "PORT".into(),
        policy: Policy::RoundRobin,
        proxy: None,
        config: Config::default(),
    }
}

pub(crate) fn with_proxy(version: Version, address: FrontAddress) -> FrontOptions {
    FrontOptions { proxy: Some(version), address, ..spec() }
}

pub(crate) struct Primary {
    pub(crate) forwarder: Forwarder,
    pub(crate) events: Receiver<ForwarderEvent>,
    last: u32,
}

impl Primary {
    pub(crate) fn new(spec: FrontOptions) -> Self {
        let (tell, events) = channel();
        let front = BoundFront::open(spec).unwrap();
        let forwarder = Forwarder::start(vec![front], move |event| tell.send(event).unwrap()).unwrap();
        Self { forwarder, events, last: 0 }
    }

    pub(crate) fn report(&self) -> Report {
        self.forwarder.report().remove(0)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let report = self.report();
        SocketAddr::new(report.address.parse().unwrap(), report.port.unwrap())
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address()).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client
    }

    /// Reserves an address, on which nothing listens yet.
    pub(crate) fn reserve(&mut self) -> (WorkerId, Target) {
        self.last += 1;
        let worker = WorkerId(self.last);
        let own = self.forwarder.reserve(worker, Kind::default()).unwrap();
        let target = own[0].target().clone();
        self.add(worker, own);
        (worker, target)
    }

    fn add(&self, worker: WorkerId, own: Vec<Own>) {
        self.forwarder.add_worker(worker, Slot(worker.0), own);
    }

    /// A worker that listens on a port.
    pub(crate) fn worker(&mut self) -> (WorkerId, TcpListener) {
        let (worker, target) = self.reserve();
        (worker, listen(&target))
    }

    /// Waits until the condition holds.
    pub(crate) fn until(&self, what: &str, condition: impl Fn(&Report) -> bool) -> Report {
        let end = Instant::now() + DEADLINE;
        loop {
            let report = self.report();
            if condition(&report) {
                return report;
            }
            assert!(Instant::now() < end, "waited in vain: {what}; {report:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

pub(crate) fn listen(target: &Target) -> TcpListener {
    match target {
        Target::Port { at, .. } => TcpListener::bind(at).unwrap(),
        Target::Path { .. } => panic!("not a port"),
    }
}

pub(crate) fn listen_unix(target: &Target) -> UnixListener {
    match target {
        Target::Path { directory, name } => UnixListener::bind(directory.path_of(name)).unwrap(),
        Target::Port { .. } => panic!("not a path"),
    }
}

pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

pub(crate) fn read_to_end(mut from: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    bytes
}

pub(crate) fn read_some(mut from: &TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes).unwrap();
    bytes
}

pub(crate) fn write(mut to: &TcpStream, bytes: &[u8]) {
    to.write_all(bytes).unwrap();
}

/// Bytes without repeating pieces.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state ^ (state >> 29)).to_le_bytes()
    });
    words.flatten().take(length).collect()
}

/// A checksum that detects missing, duplicated and reordered bytes.
#[derive(Default, PartialEq, Eq, Debug, Clone, Copy)]
pub(crate) struct Sum {
    pub(crate) count: u64,
    hash: u64,
}

impl Sum {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.count += bytes.len() as u64;
        for &byte in bytes {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
