//! Listeners, receivers, and between them the passing thread of one's choice.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use rcluster::io::dispatcher::{Command, Dispatcher};
use rcluster_core::ids::{ListenerId, Slot, WorkerId};
use rcluster_core::schedule::Plan;
use rcluster_sys::listen;
use rcluster_sys::passing::message_pair;
use rcluster_sys::scoreboard::Scoreboard;

use super::{bare, receiver};

/// What Node listens with.
const BACKLOG: i32 = 511;

/// Tells one line of JSON when it is ready, and ends when its standard input does.
pub(crate) fn run(how: &str, workers: u32, listeners: u32) {
    assert!(workers > 0 && listeners > 0, "there have to be some");
    let mut sockets: Vec<OwnedFd> = Vec::new();
    let mut ports = Vec::new();
    for _ in 0..listeners {
        let bound = listen::tcp("127.0.0.1:0".parse().unwrap(), false, Some(BACKLOG)).unwrap();
        ports.push(bound.sockname.unwrap().port());
        sockets.push(bound.fd);
    }
    let mut children = Vec::new();
    let mut channels = Vec::new();
    let mut ends = Vec::new();
    for _ in 0..workers {
        let (channel, worker_end) = message_pair().unwrap();
        let (board, page) = Scoreboard::create().unwrap();
        let child = receiver::spawn(&worker_end, page);
        channels.push(channel);
        ends.push((i32::try_from(child.id()).unwrap(), worker_end, Arc::new(board)));
        children.push(child);
    }
    // Kept to the end: a dispatcher stops when it is dropped.
    let dispatcher = match how {
        "bare" => {
            assert_eq!(listeners, 1, "who waits in accept4 serves one listener");
            start("bare-accept", move || bare::blocking(&sockets[0], &channels));
            None
        }
        "polled" => {
            start("bare-accept", move || bare::polled(&sockets, &channels));
            None
        }
        "rcluster" => Some(dispatch(sockets, channels, ends)),
        _ => panic!("there is no '{how}'"),
    };
    println!("{{\"pid\":{},\"ports\":{ports:?}}}", std::process::id());
    let _ended = std::io::stdin().read_to_end(&mut Vec::new());
    drop(dispatcher);
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name(name.into()).spawn(run).unwrap();
}

/// The dispatcher, told what the control thread would tell it.
fn dispatch(
    sockets: Vec<OwnedFd>,
    channels: Vec<OwnedFd>,
    ends: Vec<(i32, OwnedFd, Arc<Scoreboard>)>,
) -> Dispatcher {
    let dispatcher = Dispatcher::start(|notice| panic!("{notice:?}")).unwrap();
    let ids: Vec<WorkerId> = (1..).map(WorkerId).take(channels.len()).collect();
    for (index, (channel, (pid, worker_end, board))) in channels.into_iter().zip(ends).enumerate() {
        let slot = Slot(u32::try_from(index).unwrap());
        dispatcher.tell(Command::AddWorker { worker: ids[index], slot, pid, channel, worker_end, board });
    }
    for (socket, listener) in sockets.into_iter().zip((1..).map(ListenerId)) {
        dispatcher.tell(Command::AddListener {
            listener,
            socket: Some(socket),
            path: None,
            name: String::new(),
            plan: Box::new(Plan::default()),
        });
        for worker in &ids {
            dispatcher.tell(Command::Join(*worker, listener));
        }
    }
    dispatcher
}
