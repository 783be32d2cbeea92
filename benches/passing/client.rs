//! An open loop: connections at a steady rate, whatever becomes of them, at random moments that a seed repeats. With
//! a rate of 0 it is a closed one: as many as there can be.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const TIMEOUT: Duration = Duration::from_secs(10);

/// The clients share the rate. Each waits for its answer, so there have to be enough of them that one is free when
/// the next connection is due: `late` tells when there are not.
const CLIENTS: u32 = 16;

/// A connection that begins later than this after its time does not come at the rate that was asked for.
const LATE: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Counts {
    answered: u32,
    failed: u32,
    late: u32,
    latencies: Vec<Duration>,
}

/// Prints one line of JSON when all is over.
pub(crate) fn run(rate: u32, seconds: u32, seed: u64, ports: &[u16]) {
    let begin = Instant::now();
    let counts = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || connect_repeatedly(begin, rate, seconds, seed + u64::from(client), ports))
            })
            .collect();
        let mut total = Counts::default();
        for client in clients {
            let counts = client.join().expect("a client panicked");
            total.answered += counts.answered;
            total.failed += counts.failed;
            total.late += counts.late;
            total.latencies.extend(counts.latencies);
        }
        total
    });
    let elapsed = begin.elapsed().as_secs_f64();
    let Counts { answered, failed, late, mut latencies } = counts;
    latencies.sort_unstable();
    let percentile = |thousandth: usize| {
        let index = (latencies.len() * thousandth / 1000).min(latencies.len().saturating_sub(1));
        latencies.get(index).map_or(0, Duration::as_micros)
    };
    let (p50, p99) = (percentile(500), percentile(990));
    println!(
        "{{\"answered\":{answered},\"failed\":{failed},\"late\":{late},\"elapsed\":{elapsed},\"p50\":{p50},\"p99\":{p99}}}"
    );
}

fn connect_repeatedly(begin: Instant, rate: u32, seconds: u32, seed: u64, ports: &[u16]) -> Counts {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut counts = Counts::default();
    let mut due = 0.0;
    loop {
        if rate == 0 {
            due = begin.elapsed().as_secs_f64();
        } else {
            due += random.gap(f64::from(CLIENTS) / f64::from(rate));
        }
        if due >= f64::from(seconds) {
            return counts;
        }
        let at = begin + Duration::from_secs_f64(due);
        thread::sleep(at.saturating_duration_since(Instant::now()));
        counts.late += u32::from(at.elapsed() > LATE);
        let port = ports[random.below(ports.len())];
        let started = Instant::now();
        match ask(port) {
            Ok(()) => {
                counts.answered += 1;
                counts.latencies.push(started.elapsed());
            }
            Err(error) => {
                eprintln!("a request failed: {error}");
                counts.failed += 1;
            }
        }
    }
}

fn ask(port: u16) -> std::io::Result<()> {
    let mut conn = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    conn.set_read_timeout(Some(TIMEOUT))?;
    conn.write_all(REQUEST)?;
    let mut answer = [0; 256];
    let mut length = 0;
    loop {
        match conn.read(&mut answer[length..])? {
            0 if answer[..length].ends_with(b"hello\n") => return Ok(()),
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => length += count,
        }
    }
}

/// xorshift64*: the moments have to be the same for all, and no more.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// In (0, 1].
    fn share(&mut self) -> f64 {
        let top = u32::try_from(self.next() >> 32).expect("32 bits");
        (f64::from(top) + 1.0) / (f64::from(u32::MAX) + 1.0)
    }

    /// The time to the next of many independent clients, `mean` on average.
    fn gap(&mut self, mean: f64) -> f64 {
        -self.share().ln() * mean
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).expect("it is below a usize")
    }
}
