//! All bytes arrive in order, and a slow reader slows down the writer.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;

use rcluster::io::forward::Reach;

use super::tools::{Primary, Sum, accept, listen_unix, noise, read_to_end, spec};

const SIZE: u64 = 100 << 20;

/// Writes this many bytes in pieces of all sizes, closes, and returns their checksum.
fn pour(mut to: impl Write, seed: u64, size: u64) -> Sum {
    let block = noise(seed, 1 << 20);
    let mut sum = Sum::default();
    let mut piece = 1;
    while sum.count < size {
        let length = piece.min(usize::try_from(size - sum.count).unwrap());
        to.write_all(&block[..length]).unwrap();
        sum.add(&block[..length]);
        piece = if piece > block.len() / 2 { 1 } else { piece * 2 + 1 };
    }
    sum
}

fn drink(mut from: impl Read) -> Sum {
    let mut sum = Sum::default();
    let mut buffer = vec![0; 300_000];
    loop {
        match from.read(&mut buffer).unwrap() {
            0 => return sum,
            count => sum.add(&buffer[..count]),
        }
    }
}

fn both_ways(
    client: &TcpStream,
    read: impl Read + Send,
    write: impl Write + Send,
    end: impl FnOnce() + Send,
) {
    thread::scope(|scope| {
        let up = scope.spawn(|| {
            let sum = pour(client, 1, SIZE);
            client.shutdown(Shutdown::Write).unwrap();
            sum
        });
        let down = scope.spawn(|| {
            let sum = pour(write, 2, SIZE);
            end();
            sum
        });
        let (got_up, got_down) = (scope.spawn(|| drink(read)), scope.spawn(|| drink(client)));
        assert_eq!(got_up.join().unwrap(), up.join().unwrap(), "client to worker");
        assert_eq!(got_down.join().unwrap(), down.join().unwrap(), "worker to client");
    });
}

#[test]
fn a_hundred_megabytes_in_both_directions_at_once() {
    let mut primary = Primary::new(spec());
    let (_, listener) = primary.worker();
    let client = primary.connect();
    let worker = accept(&listener);
    both_ways(&client, &worker, &worker, || worker.shutdown(Shutdown::Write).unwrap());
    primary.until("it is over", |report| report.connections == 0);
}

#[test]
fn the_same_to_a_unix_socket() {
    let mut primary =
        Primary::new(rcluster::io::forward::FrontOptions { reach: Some(Reach::Path), ..spec() });
    let (_, target) = primary.reserve();
    let listener = listen_unix(&target);
    let client = primary.connect();
    let worker: UnixStream = listener.accept().unwrap().0;
    both_ways(&client, &worker, &worker, || worker.shutdown(Shutdown::Write).unwrap());
    primary.until("it is over", |report| report.connections == 0);
}

#[test]
fn a_slow_reader_stops_the_writer_and_loses_nothing() {
    let mut primary = Primary::new(spec());
    let (_, listener) = primary.worker();
    let client = primary.connect();
    let worker = accept(&listener);
    worker.set_nonblocking(true).unwrap();
    let block = noise(3, 1 << 16);
    let mut sent = Sum::default();
    // The client reads nothing, so the worker can only write what the sockets and one pipe hold.
    let mut full = 0;
    while full < 20 {
        match (&worker).write(&block) {
            Ok(count) => {
                sent.add(&block[..count]);
                full = 0;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                full += 1;
                thread::sleep(std::time::Duration::from_millis(10));
            }
        }
        assert!(sent.count < 64 << 20, "the writer was never stopped");
    }
    worker.shutdown(Shutdown::Write).unwrap();
    assert_eq!(drink(&client), sent);
    drop(client);
    worker.set_nonblocking(false).unwrap();
    assert_eq!(read_to_end(&worker), b"");
}

#[test]
fn many_connections_do_not_mix_their_bytes() {
    let mut primary = Primary::new(spec());
    let listeners: Vec<_> = (0..3).map(|_| primary.worker().1).collect();
    thread::scope(|scope| {
        for listener in &listeners {
            scope.spawn(move || {
                for _ in 0..20 {
                    let stream = accept(listener);
                    let request = read_to_end(&stream);
                    (&stream).write_all(&request).unwrap();
                }
            });
        }
        for seed in 0..60_u64 {
            let client = primary.connect();
            scope.spawn(move || {
                let text = noise(seed, 1 + (usize::try_from(seed).unwrap() * 7_919) % 200_000);
                (&client).write_all(&text).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                assert!(read_to_end(&client) == text, "client {seed} got other bytes than it sent");
            });
        }
    });
    let report = primary.until("all are over", |report| report.connections == 0);
    assert_eq!(report.counters.accepted, 60);
}
