//! Workers that refuse, leave, die, or are not listening yet; and a lack of descriptors.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use rcluster::io::forward::Target;
use rcluster::io::forward::{ForwarderEvent, FrontOptions, Reach};
use rcluster_core::forward::Config;
use rcluster_core::forward::proxy::Version;
use rcluster_core::ids::{Slot, WorkerId};
use rcluster_testing::alone_with_limit;

use super::tools::{
    DEADLINE, Primary, accept, listen, listen_unix, read_some, read_to_end, spec, with_proxy, write,
};

/// The length of a PROXY header, version 2, for IPv4.
const HEADER_V2: usize = 28;

/// Answers with one byte.
fn serve(listener: &TcpListener, byte: u8) {
    write(&accept(listener), &[byte]);
}

fn answer(client: &TcpStream) -> u8 {
    read_some(client, 1)[0]
}

#[test]
fn clients_go_round_in_turn() {
    let mut primary = Primary::new(spec());
    let workers: Vec<_> = (0..3).map(|_| primary.worker().1).collect();
    let mut order = Vec::new();
    for turn in 0..9_u8 {
        let client = primary.connect();
        serve(&workers[usize::from(turn) % 3], turn % 3);
        order.push(answer(&client));
    }
    assert_eq!(order, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

#[test]
fn a_worker_that_refuses_is_passed_over() {
    let mut primary = Primary::new(spec());
    let (_, dead) = primary.worker();
    let (_, alive) = primary.worker();
    drop(dead);
    thread::scope(|scope| {
        scope.spawn(|| (0..20).for_each(|_| serve(&alive, 2)));
        for _ in 0..20 {
            assert_eq!(answer(&primary.connect()), 2);
        }
    });
    assert!(primary.report().counters.refusals > 0);
    assert_eq!(primary.report().counters.turned_away, 0);
}

#[test]
fn clients_wait_for_a_worker_that_is_not_up_yet() {
    for reach in [Reach::Port, Reach::Path] {
        let mut primary = Primary::new(FrontOptions { reach: Some(reach), ..spec() });
        let clients: Vec<_> = (0..50).map(|_| primary.connect()).collect();
        let (_, target) = primary.reserve();
        for client in &clients {
            write(client, b"early");
        }
        primary.until("somebody has tried", |report| report.counters.refusals > 2);
        match reach {
            Reach::Port => {
                let listener = listen(&target);
                for _ in &clients {
                    let worker = accept(&listener);
                    assert_eq!(read_some(&worker, 5), b"early");
                    write(&worker, b"1");
                }
            }
            Reach::Path => {
                let listener = listen_unix(&target);
                for _ in &clients {
                    let (mut worker, _) = listener.accept().unwrap();
                    let mut bytes = [0; 5];
                    worker.read_exact(&mut bytes).unwrap();
                    assert_eq!(&bytes, b"early");
                    worker.write_all(b"1").unwrap();
                }
            }
        }
        for client in &clients {
            assert_eq!(answer(client), b'1');
        }
    }
}

#[test]
fn a_client_that_no_worker_takes_is_reset_in_the_end() {
    let config = Config { connect_timeout: std::time::Duration::from_millis(100), ..Config::default() };
    let mut primary = Primary::new(FrontOptions { config, ..spec() });
    primary.reserve();
    let client = primary.connect();
    assert_eq!((&client).read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(primary.report().counters.turned_away, 1);
}

#[test]
fn who_leaves_gets_no_more_and_keeps_what_it_has() {
    let mut primary = Primary::new(spec());
    let (leaver, first) = primary.worker();
    let (_, second) = primary.worker();
    let old = primary.connect();
    let conversation = accept(&first);
    write(&old, b"hello");
    assert_eq!(read_some(&conversation, 5), b"hello");
    primary.forwarder.worker_leaving_now(leaver);
    for _ in 0..4 {
        let client = primary.connect();
        serve(&second, 2);
        assert_eq!(answer(&client), 2);
    }
    write(&old, b"still there?");
    assert_eq!(read_some(&conversation, 12), b"still there?");
    write(&conversation, b"yes");
    drop(conversation);
    assert_eq!(read_to_end(&old), b"yes");
}

#[test]
fn clients_that_have_said_nothing_are_reclaimed_from_a_worker_that_leaves() {
    let mut primary = Primary::new(spec());
    let (leaver, first) = primary.worker();
    let (_, second) = primary.worker();
    let client = primary.connect();
    primary.until("it is connected", |report| report.workers.contains(&(leaver, 1)));
    let unheard = accept(&first);
    primary.forwarder.worker_leaving_now(leaver);
    serve(&second, 2);
    assert_eq!(answer(&client), 2);
    assert_eq!(read_to_end(&unheard), b"");
}

#[test]
fn what_a_dead_worker_had_not_touched_goes_to_another() {
    let mut primary = Primary::new(spec());
    let (dead, first) = primary.worker();
    let (_, second) = primary.worker();
    // In the backlog of the first worker, without any byte sent.
    let client = primary.connect();
    primary.until("it is connected", |report| report.workers.contains(&(dead, 1)));
    drop(first);
    serve(&second, 2);
    assert_eq!(answer(&client), 2);
}

#[test]
fn a_client_that_was_told_an_end_is_not_given_to_another() {
    // The header shows that the forwarder has confirmed the owner of the listener: a listener that is closed
    // before that has taken no client. The header is not part of the client's data.
    let mut primary = Primary::new(with_proxy(Version::V2, spec().address));
    let (dead, first) = primary.worker();
    let (_, second) = primary.worker();
    let client = primary.connect();
    let accepted = accept(&first);
    read_some(&accepted, HEADER_V2);
    // As if the worker had been killed after accepting.
    drop(accepted);
    drop(first);
    assert_eq!(read_to_end(&client), b"");
    primary.forwarder.worker_leaving_now(dead);
    primary.forwarder.worker_exited(dead);
    let _gone = (&client).write_all(b"once");
    // The next client is the first one that the second worker gets.
    let next = primary.connect();
    write(&next, b"next");
    let conversation = accept(&second);
    read_some(&conversation, HEADER_V2);
    assert_eq!(read_some(&conversation, 4), b"next");
    write(&conversation, &[2]);
    assert_eq!(answer(&next), 2);
}

#[test]
fn a_reserved_port_stays_the_workers() {
    let mut primary = Primary::new(spec());
    let (worker, target) = primary.reserve();
    let Target::Port { at, .. } = target else { panic!("not a port") };
    for _ in 0..3 {
        // Bound, closed, and bound again.
        drop(TcpListener::bind(at).unwrap());
    }
    let listener = TcpListener::bind(("0.0.0.0", at.port())).unwrap();
    let client = primary.connect();
    serve(&listener, 1);
    assert_eq!(answer(&client), 1);
    drop(client);
    primary.forwarder.worker_exited(worker);
    primary.until("it is gone", |report| report.workers.iter().all(|(id, _)| *id != worker));
}

#[test]
fn the_files_of_sockets_are_private_and_go_with_their_workers() {
    use std::os::unix::fs::PermissionsExt;
    let mut primary = Primary::new(FrontOptions { reach: Some(Reach::Path), ..spec() });
    let (worker, target) = primary.reserve();
    let listener = listen_unix(&target);
    let Target::Path { directory: own, .. } = target else { panic!("not a path") };
    let directory = own.path_of("").parent().unwrap().to_owned();
    drop(own);
    assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(directory.read_dir().unwrap().count(), 1);
    drop(listener);
    primary.forwarder.worker_exited(worker);
    primary.until("it is gone", |report| report.workers.is_empty());
    // The report came after the removal.
    assert_eq!(directory.read_dir().unwrap().count(), 0);
    drop(primary);
    assert!(!directory.exists());
}

#[test]
fn a_directory_that_has_disappeared_is_made_again() {
    let mut primary = Primary::new(FrontOptions { reach: Some(Reach::Path), ..spec() });
    let (worker, target) = primary.reserve();
    let old = listen_unix(&target);
    primary.forwarder.worker_listens(worker);
    primary.report();
    let Target::Path { directory, .. } = target else { panic!("not a path") };
    let all = directory.path_of("").parent().unwrap().to_owned();
    std::fs::remove_dir_all(&all).unwrap();
    // A worker that listens already is reached through the file, not its name.
    let client = primary.connect();
    let (mut server, _) = old.accept().unwrap();
    server.write_all(b"1").unwrap();
    assert_eq!(answer(&client), b'1');
    let (_, target) = primary.reserve();
    let new = listen_unix(&target);
    drop(old);
    let client = primary.connect();
    let (mut server, _) = new.accept().unwrap();
    server.write_all(b"2").unwrap();
    assert_eq!(answer(&client), b'2');
}

#[test]
fn more_than_one_address() {
    let (tell, _notices) = std::sync::mpsc::channel();
    let fronts = ["PORT", "ADMIN_PORT"].map(|env| {
        rcluster::io::forward::BoundFront::open(FrontOptions { env: env.into(), ..spec() }).unwrap()
    });
    let forwarder =
        rcluster::io::forward::Forwarder::start(fronts.into(), move |event| tell.send(event).unwrap())
            .unwrap();
    let own = forwarder.reserve(WorkerId(1), rcluster::io::forward::Kind::default()).unwrap();
    assert_eq!(own.iter().map(rcluster::io::forward::Own::name).collect::<Vec<_>>(), ["PORT", "ADMIN_PORT"]);
    let listeners: Vec<_> = own.iter().map(|own| listen(own.target())).collect();
    forwarder.add_worker(WorkerId(1), Slot(1), own);
    for (number, (report, listener)) in forwarder.report().iter().zip(&listeners).enumerate() {
        let client = TcpStream::connect((report.address.as_str(), report.port.unwrap())).unwrap();
        let byte = u8::try_from(number).unwrap();
        serve(listener, byte);
        assert_eq!(answer(&client), byte);
    }
}

#[test]
fn without_descriptors_clients_wait_and_are_served_later() {
    if !alone_with_limit("faults::without_descriptors_clients_wait_and_are_served_later", 200) {
        return;
    }
    let mut primary = Primary::new(spec());
    let (_, listener) = primary.worker();
    // A client, its two ends in the forwarder, and the worker's end: 4 descriptors each.
    let clients: Vec<_> = (0..30).map(|_| primary.connect()).collect();
    let early: Vec<_> = clients.iter().map(|_| accept(&listener)).collect();
    let mut used: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    used.truncate(used.len() - 1);
    let late = primary_connect_raw(&primary, &mut used);
    let event = primary.events.recv_timeout(DEADLINE).unwrap();
    assert!(matches!(event, ForwarderEvent::Exhausted(_)), "{event:?}");
    used.clear();
    serve(&listener, 7);
    assert_eq!(answer(&late), 7);
    assert_eq!(primary.report().counters.turned_away, 0);
    drop((clients, early));
}

/// Connects with the last available descriptor.
fn primary_connect_raw(primary: &Primary, used: &mut Vec<std::fs::File>) -> TcpStream {
    let address = primary.address();
    loop {
        match TcpStream::connect(address) {
            Ok(client) => {
                client.set_read_timeout(Some(DEADLINE)).unwrap();
                return client;
            }
            Err(_) => drop(used.pop()),
        }
    }
}
