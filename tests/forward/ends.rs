//! How connections end: one direction at a time, both at once, or with a reset.

use std::io::{ErrorKind, Read};
use std::net::Shutdown;

use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use super::tools::{Primary, accept, read_some, read_to_end, spec, write};

/// Closes a connection with a reset.
fn abort(stream: std::net::TcpStream) {
    setsockopt(&stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 }).unwrap();
    drop(stream);
}

#[test]
fn a_client_that_has_ended_gets_the_whole_answer() {
    let mut primary = Primary::new(spec());
    let (_, listener) = primary.worker();
    let client = primary.connect();
    write(&client, b"question");
    client.shutdown(Shutdown::Write).unwrap();
    let worker = accept(&listener);
    assert_eq!(read_to_end(&worker), b"question", "the end has come through");
    write(&worker, b"answer");
    assert_eq!(read_some(&client, 6), b"answer", "the other way is still open");
    write(&worker, b", and more");
    worker.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&client), b", and more");
    primary.until("it is over", |report| report.connections == 0);
}

#[test]
fn a_worker_that_has_ended_still_listens() {
    let mut primary = Primary::new(spec());
    let (_, listener) = primary.worker();
    let client = primary.connect();
    let worker = accept(&listener);
    write(&worker, b"hello");
    worker.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&client), b"hello");
    for _ in 0..3 {
        write(&client, b"go on ");
        assert_eq!(read_some(&worker, 6), b"go on ");
    }
    drop(client);
    assert_eq!(read_to_end(&worker), b"");
    primary.until("it is over", |report| report.connections == 0);
}

#[test]
fn a_server_that_closes_without_having_read_all_loses_nothing_of_what_it_said() {
    let mut primary = Primary::new(spec());
    let (_, listener) = primary.worker();
    let client = primary.connect();
    let worker = accept(&listener);
    write(&worker, b"enough");
    worker.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&client), b"enough");
    drop(worker);
    // The worker's kernel answers with a reset. It must not reach a client that may still be reading.
    for _ in 0..3 {
        write(&client, b"more");
    }
    assert_eq!(read_to_end(&client), b"");
    drop(client);
    primary.until("it is over", |report| report.connections == 0);
}

#[test]
fn a_reset_comes_through_as_a_reset() {
    let mut primary = Primary::new(spec());
    let (_, listener) = primary.worker();

    let client = primary.connect();
    write(&client, b"x");
    let worker = accept(&listener);
    read_some(&worker, 1);
    abort(client);
    assert_eq!((&worker).read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);

    let client = primary.connect();
    write(&client, b"x");
    let worker = accept(&listener);
    read_some(&worker, 1);
    abort(worker);
    assert_eq!((&client).read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    primary.until("both are over", |report| report.connections == 0);
}

#[test]
fn a_half_open_connection_on_which_nothing_moves_is_ended() {
    let mut spec = spec();
    spec.config.half_open_timeout = Some(std::time::Duration::from_millis(50));
    let mut primary = Primary::new(spec);
    let (_, listener) = primary.worker();
    let client = primary.connect();
    let worker = accept(&listener);
    worker.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&client), b"");
    // The client never closes; the worker sees the end all the same.
    assert_eq!(read_to_end(&worker), b"");
    assert_eq!(primary.until("it is over", |report| report.connections == 0).counters.timed_out, 1);
}
