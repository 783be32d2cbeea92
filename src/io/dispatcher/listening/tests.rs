use std::net::TcpListener;
use std::path::Path;

use super::*;
use rcluster_sys::listen::{Access, Bound, Leftover, unix};

#[test]
fn an_answer_for_a_replaced_socket_is_not_taken_for_one_of_the_new_socket() {
    let poller = Poller::new().unwrap();
    let mut listening = Listening::new(None, None, "80".into(), Plan::default());
    let socket = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    assert!(!listening.add_slot(Slot(0), socket(), &poller));
    let old = listening.latest;
    assert!(listening.add_slot(Slot(0), socket(), &poller), "it replaces one");
    let new = listening.latest;
    assert!(!listening.answered(Slot(0), old));
    assert!(listening.answered(Slot(0), new));
}

#[test]
fn a_socket_whose_file_is_gone_stays_while_a_client_waits_there() {
    let poller = Poller::new().unwrap();
    let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (first, second) = (listener(), listener());
    let _client = std::net::TcpStream::connect(second.local_addr().unwrap()).unwrap();
    let mut listening = Listening::new(Some(first.into()), None, "/a".into(), Plan::default());
    listening.add_socket(second.into(), None, &poller);
    assert_eq!(listening.sockets.len(), 1, "nobody waited at the first");
    listening.add_socket(listener().into(), None, &poller);
    assert_eq!(listening.sockets.len(), 2);
}

#[test]
fn however_often_workers_shut_down_their_sockets_there_is_one_replacement() {
    let poller = Poller::new().unwrap();
    let mut listening = Listening::new(None, None, "80".into(), Plan::default());
    let group = Group::new("127.0.0.1:0".parse().unwrap(), false, REPLACEMENT_BACKLOG).unwrap();
    for _ in 0..3 {
        for slot in [Slot(0), Slot(1)] {
            listening.add_slot(slot, group.open().unwrap(), &poller);
        }
        for slot in [Slot(0), Slot(1)] {
            listening.replace(slot, &poller).unwrap().unwrap();
        }
        assert_eq!(listening.sockets.len(), 1);
    }
    assert!(listening.replace(Slot(0), &poller).is_none(), "the slot has no socket");
}

/// A listener at this path.
fn at_path(path: &Path) -> Listening {
    let Bound { path, fd, .. } = unix(path, Access::default(), Leftover::Keep, Some(1)).unwrap();
    Listening::new(Some(fd), path, "/a".into(), Plan::default())
}

/// Another primary may have listened there by then, with a file of the same inode.
#[test]
fn the_file_is_removed_when_the_socket_is_closed_and_not_when_the_listener_is() {
    let poller = Poller::new().unwrap();
    let path = std::env::temp_dir().join(format!("rcluster-listening-{}", std::process::id()));
    let mut old = at_path(&path);
    old.close_sockets(&poller);
    assert!(!path.exists());
    let new = at_path(&path);
    old.close(std::sync::mpsc::channel().0, &poller);
    assert!(path.exists());
    new.close(std::sync::mpsc::channel().0, &poller);
    assert!(!path.exists());
}
