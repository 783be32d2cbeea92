//! What passing a connection to another process costs at the least, and what it costs the dispatcher: the same
//! receivers, the same messages, the same channels, and a passing thread of one's choice before them.
//!
//! `benchmark/passing.js` runs it, drives it and reads the CPU time of its threads. By hand:
//! `cargo bench --bench passing -- serve bare 4 1` and `… -- client 4000 2 1 <port>`.

mod bare;
mod client;
mod receiver;
mod serve;

use std::process::ExitCode;

fn main() -> ExitCode {
    // `cargo bench` adds an argument for harnesses.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match *args.as_slice() {
        ["serve", how, workers, listeners] => serve::run(how, number(workers), number(listeners)),
        ["receive"] => receiver::run(),
        ["client", rate, seconds, seed, ports] => {
            let ports: Vec<u16> = ports.split(',').map(number).collect();
            client::run(number(rate), number(seconds), number(seed), &ports);
        }
        _ => {
            eprintln!("serve <bare|polled|rcluster> <workers> <listeners>");
            eprintln!("client <connections a second> <seconds> <seed> <port,port,…>");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("'{text}' is not a number that fits"))
}
