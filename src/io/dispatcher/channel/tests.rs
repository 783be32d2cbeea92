use std::fs::File;
use std::os::unix::net::UnixStream;

use super::*;
use rcluster_testing::alone_with_limit;

#[test]
fn what_a_worker_hands_over_waits_until_there_is_room_for_all_of_it() {
    if !alone_with_limit(
        "io::dispatcher::channel::tests::what_a_worker_hands_over_waits_until_there_is_room_for_all_of_it",
        100,
    ) {
        return;
    }
    let (mut channel, worker) = WorkerChannel::with_worker();
    let mut message = Writer::new(Tag::NotListening);
    message.push(ListenerId(1), None);
    message.push(ListenerId(1), None);
    let clients: Vec<OwnedFd> = (0..2).map(|_| UnixStream::pair().unwrap().0.into()).collect();
    assert_eq!(send(worker.as_fd(), message.bytes(), &clients).unwrap(), Sent::Done);
    drop(clients);

    let mut all: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    all.pop();
    let (mut bytes, mut fds) = ([0; MAX_MESSAGE], Vec::new());
    assert!(matches!(channel.read(false, &mut false, &mut bytes, &mut fds), Read::NoRoom));
    all.truncate(all.len() - 10);
    let Read::Message(read) = channel.read(false, &mut false, &mut bytes, &mut fds) else {
        panic!("no message")
    };
    assert_eq!((read.descriptors, fds.len()), (2, 2));
    assert!(Message::parse(&bytes[..read.length], read.descriptors).is_ok());
}

#[test]
fn what_comes_back_is_the_latest_and_keeps_what_the_app_has_chosen() {
    let (mut channel, worker) = WorkerChannel::with_worker();
    let send = |channel: &mut WorkerChannel, chosen: &[Option<u32>]| {
        for chosen in chosen {
            let conn = Descriptor::own(UnixStream::pair().unwrap().0.into());
            channel.push(ListenerId(1), conn, chosen.map(WorkerId), None);
        }
    };
    send(&mut channel, &[Some(1), None]);
    assert!(channel.send_batch().unsent.is_empty());
    send(&mut channel, &[Some(2), None, Some(3)]);
    assert!(channel.send_batch().unsent.is_empty());
    send(&mut channel, &[Some(4)]);
    let mut received = Vec::new();
    assert!(matches!(
        receive(worker.as_fd(), &mut [0; MAX_MESSAGE], &mut received),
        Ok(Received::Message { .. })
    ));
    assert_eq!(received.len(), 2);
    let chosen =
        |back: Reclaimed| back.conns.into_iter().map(|it| it.chosen.map(|it| it.0)).collect::<Vec<_>>();
    assert_eq!(chosen(channel.reclaim(false)), [Some(2), None, Some(3), Some(4)]);
    send(&mut channel, &[None, Some(5)]);
    assert_eq!(chosen(channel.reclaim(false)), [None, Some(5)]);
    // More connections than are remembered: only the choices of the latest are known.
    send(&mut channel, &[Some(6)]);
    channel.chosen.clear();
    send(&mut channel, &[Some(7)]);
    assert_eq!(chosen(channel.reclaim(false)), [None, Some(7)]);
}
