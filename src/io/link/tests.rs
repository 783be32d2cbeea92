use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use nix::sys::resource::{Resource, setrlimit};

use super::*;
use rcluster_sys::passing::{message_pair, send};
use rcluster_testing::alone_with_limit;

#[test]
fn nothing_is_lost_if_the_limit_is_lowered_in_the_middle_of_a_turn() {
    const MESSAGES: usize = 3;
    const EACH: usize = 5;
    const LIMIT: u64 = 400;
    if !alone_with_limit(
        "io::link::tests::nothing_is_lost_if_the_limit_is_lowered_in_the_middle_of_a_turn",
        400,
    ) {
        return;
    }
    let (control, _theirs) = message_pair().unwrap();
    let (channel, primary) = message_pair().unwrap();
    let (_board, page) = Scoreboard::create().unwrap();
    let link = Link::new(control, channel, &page).unwrap();
    for _ in 0..MESSAGES {
        let mut message = Writer::new(Tag::Connections);
        let fds: Vec<OwnedFd> = (0..EACH).map(|_| UnixStream::pair().unwrap().0.into()).collect();
        for _ in &fds {
            message.push(ListenerId(1), None);
        }
        assert_eq!(send(primary.as_fd(), message.bytes(), &fds).unwrap(), Sent::Done);
    }
    let mut passed = Vec::new();
    let state = link.read_connections(|one| {
        // Only a few more numbers are free below this limit.
        let lowered = u64::try_from(one.fd.as_raw_fd()).unwrap() + 7;
        setrlimit(Resource::RLIMIT_NOFILE, lowered, LIMIT).unwrap();
        passed.push(one);
    });
    assert!(matches!(state, Ok(Connections::NoRoom)));
    assert_eq!(passed.len(), EACH, "the other messages stay in the channel");
    setrlimit(Resource::RLIMIT_NOFILE, LIMIT, LIMIT).unwrap();
    let state = link.read_connections(|one| passed.push(one));
    assert!(matches!(state, Ok(Connections::Open)));
    assert_eq!(passed.len(), MESSAGES * EACH);
}
