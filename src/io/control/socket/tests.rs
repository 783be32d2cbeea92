use std::io::Read;
use std::os::fd::AsFd;
use std::time::Duration;

use super::*;
use crate::io::store::Resource;
use rcluster_core::ids::ListenerId;
use rcluster_sys::descriptor::duplicate;
use rcluster_sys::passing::{message_pair, receive};
use rcluster_testing::lingering;

const WORKER: WorkerId = WorkerId(1);
const QUEUE: usize = 4;

/// Runs a test on a thread like the control thread, and fails if it blocks.
pub(in crate::io::control) fn on_a_thread<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test());
        done.send(()).unwrap();
    });
    wait.recv_timeout(Duration::from_secs(60)).expect("the thread goes on, and nothing has failed on it");
}

fn tell(socket: &OwnedFd, frame: &[u8], fd: &OwnedFd) {
    assert_eq!(send(socket.as_fd(), frame, &[duplicate(fd).unwrap()]).unwrap(), Sent::Done);
}

/// The next event, if the tasks of this thread produce one without external input.
async fn soon(events: &mut mpsc::Receiver<ThreadEvent>) -> Option<ThreadEvent> {
    for _ in 0..2000 {
        if let Ok(event) = events.try_recv() {
            return Some(event);
        }
        tokio::task::yield_now().await;
    }
    None
}

#[test]
fn a_request_to_use_a_store_carries_a_socket() {
    on_a_thread(|| async {
        let (ours, theirs) = message_pair().unwrap();
        let (sender, mut events) = mpsc::channel(QUEUE);
        let (_control, _all_read) = ControlSocket::start(WORKER, ours, &Closer::new(), sender).unwrap();
        let frame = br#"{"act":"share","name":"store","options":{"size":1048576}}"#;
        let (socket, _) = message_pair().unwrap();
        tell(&theirs, frame, &socket);
        let Some(ThreadEvent::OpenShared(open)) = events.recv().await else { panic!("it is understood") };
        let Resource::Store { name, options } = open.resource else { panic!("it is a store") };
        assert_eq!((name.as_str(), options.size), ("store", Some(1 << 20)));
        assert_eq!(open.worker.map(|(worker, _)| worker), Some(WORKER));
        // Its socket is still read.
        tell(&theirs, br#"{"act":"ready"}"#, &socket);
        assert!(matches!(events.recv().await, Some(ThreadEvent::Frame(WORKER, FromWorker::Ready))));
        tell(&theirs, frame, &std::fs::File::open("/dev/null").unwrap().into());
        assert!(matches!(events.recv().await, Some(ThreadEvent::Broke(WORKER, _))), "that is no socket");
    });
}

#[test]
fn unexpected_descriptors_do_not_block_read_or_not() {
    on_a_thread(|| async {
        let (ours, theirs) = message_pair().unwrap();
        let (sender, mut events) = mpsc::channel(QUEUE);
        let (first, _peer) = lingering();
        let (second, _other_peer) = lingering();
        tell(&theirs, br#"{"act":"ready"}"#, &first);
        drop(first);
        let (control, _all_read) = ControlSocket::start(WORKER, ours, &Closer::new(), sender).unwrap();
        assert!(matches!(events.recv().await, Some(ThreadEvent::Frame(WORKER, FromWorker::Ready))));
        // This one is in the socket when the socket is closed.
        tell(&theirs, br#"{"act":"ready"}"#, &second);
        drop(second);
        drop(control);
        tokio::task::yield_now().await;
    });
}

#[test]
fn a_descriptor_that_waits_for_its_worker_does_not_block_when_the_socket_is_dropped() {
    on_a_thread(|| async {
        let (ours, theirs) = message_pair().unwrap();
        let (sender, _events) = mpsc::channel(QUEUE);
        let (control, _all_read) = ControlSocket::start(WORKER, ours, &Closer::new(), sender).unwrap();
        let frame = ToWorker::Promote { slot: rcluster_core::ids::Slot(7) };
        while control.unsent.count() == 0 {
            control.send(&frame, None).unwrap();
        }
        let (fd, mut peer) = lingering();
        control.send(&frame, Some(fd)).unwrap();
        drop((control, theirs));
        // The tasks end, and with them the queue.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        peer.read_to_end(&mut Vec::new()).unwrap();
    });
}

#[test]
fn a_worker_that_does_not_read_its_answers_is_not_read_from_and_keeps_its_link() {
    on_a_thread(|| async {
        let (ours, theirs) = message_pair().unwrap();
        let (sender, mut receiver) = mpsc::channel(QUEUE);
        let (control, _all_read) = ControlSocket::start(WORKER, ours, &Closer::new(), sender).unwrap();
        let answer = ToWorker::Promote { slot: rcluster_core::ids::Slot(7) };
        let question = format!(r#"{{"act":"close","listener":{}}}"#, ListenerId(3).0);
        let mut events = 0;
        let mut asked = 0;
        // It sends requests as long as there is room, and each is answered.
        loop {
            while send(theirs.as_fd(), question.as_bytes(), &[]).unwrap() == Sent::Done {
                asked += 1;
            }
            let Some(event) = soon(&mut receiver).await else { break };
            assert!(matches!(event, ThreadEvent::Frame(..)), "{event:?}");
            events += 1;
            control.send(&answer, None).unwrap();
            assert!(events < 100_000, "it is read on and on");
        }
        // Frames that were read but not received here were answered as well.
        assert!(asked > events && control.unsent.count() <= BEHIND + QUEUE + 1);
        // Once it reads, it gets all answers, and its requests are read.
        let mut answers = 0;
        let mut bytes = [0; 256];
        while answers < asked {
            match receive(theirs.as_fd(), &mut bytes, &mut Vec::new()).unwrap() {
                Received::Message { .. } => answers += 1,
                _ => tokio::task::yield_now().await,
            }
            while let Ok(event) = receiver.try_recv() {
                assert!(matches!(event, ThreadEvent::Frame(..)), "{event:?}");
                control.send(&answer, None).unwrap();
            }
        }
    });
}
