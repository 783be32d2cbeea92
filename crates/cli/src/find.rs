//! Finds running clusters by the sockets at default places of the control socket.
//!
//! Any user can listen at such a place. Only the kernel's word on who listens is trusted, and another user's process must
//! neither delay a command nor be mistaken for a cluster.

mod sockets;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rcluster_core::control::operator::Place;
use rcluster_sys::listen::private::own_user;

use crate::args::Target;
use crate::connection::Connection;
use crate::output::{Failure, printable, reason};

/// How long all sockets together may take to answer `hello` while clusters are looked for.
const HELLO: Duration = Duration::from_secs(2);

/// How long the named cluster may take.
const NAMED: Duration = Duration::from_secs(5);

/// The longest command line that is shown, in characters.
const WIDTH: usize = 100;

const NONE: &str = "your user runs no cluster with a control socket; start one with `rcluster start app.js`, or name its socket with --control";

/// A cluster that listens. If it does not answer at the moment, another cluster must never be mistaken for
/// it.
#[derive(Debug)]
struct Found {
    place: String,
    uid: u32,
    /// 0 if it is not visible here.
    pid: u32,
    /// `None` if it does not answer.
    connection: Option<Connection>,
}

impl Found {
    fn into_connection(self) -> Result<Connection, Failure> {
        self.connection.ok_or_else(|| silent(&self.place, self.pid))
    }
}

/// Connects to the cluster that the options select.
pub(crate) fn connect(target: &Target) -> Result<Connection, Failure> {
    if let Some(place) = &target.control {
        let mut connection = Connection::open(&Place::parse(place))?;
        return match connection.hello(NAMED) {
            Err(Failure::TimedOut(_)) => Err(silent(place, connection.listener())),
            answer => answer.map(|_| connection),
        };
    }
    let mut found = all(target.pid)?;
    if let Some(pid) = target.pid {
        let none = || {
            Failure::NotRunning(format!(
                "process {pid} is no primary with a control socket that you may use; `rcluster status` finds your clusters"
            ))
        };
        return found.pop().ok_or_else(none)?.into_connection();
    }
    match found.len() {
        0 => Err(Failure::NotRunning(NONE.into())),
        1 => found.pop().ok_or_else(|| Failure::NotRunning(NONE.into()))?.into_connection(),
        _ => {
            let line = |Found { place, pid, uid, connection }: &Found| {
                let program = program(*pid).unwrap_or_default();
                let state = if connection.is_some() { "" } else { "  (does not answer)" };
                let pid = if *pid == 0 { String::new() } else { format!("--pid {pid}") };
                format!("\n  {pid:<14} --control {place}  (user {uid})  {program}{state}")
            };
            let lines: String = found.iter().map(line).collect();
            let text = format!("there are several clusters; select one with --pid or --control:{lines}");
            Err(Failure::Usage(text))
        }
    }
}

/// No request has been sent to it.
fn silent(place: &str, pid: u32) -> Failure {
    if pid == 0 {
        return Failure::Refused(format!("the primary at {place} does not answer"));
    }
    let is_stopped = std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['T', 't']))
    });
    let why = if is_stopped {
        format!(": it is stopped; `kill -CONT {pid}` continues it")
    } else {
        "; its control thread does not run".to_owned()
    };
    Failure::Refused(format!("the primary with process id {pid} does not answer{why}"))
}

/// The command line of a primary, without its executable, if this user may read it.
fn program(pid: u32) -> Option<String> {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(shortened(&String::from_utf8_lossy(&words)))
}

/// A command line without its executable. Of the command of this package, however it was found, its name is enough:
/// its path would leave no room for the program.
fn shortened(words: &str) -> String {
    let mut words: Vec<&str> = words.split('\0').skip(1).collect();
    if let Some(first) = words.first_mut()
        && let Some("rcluster" | "rcluster.js") = Path::new(first).file_name().and_then(|name| name.to_str())
    {
        *first = "rcluster";
    }
    let line = printable(words.join(" ").trim_end());
    if line.chars().count() <= WIDTH {
        return line;
    }
    line.chars().take(WIDTH - 1).chain(['…']).collect()
}

fn all(pid: Option<u32>) -> Result<Vec<Found>, Failure> {
    let table = std::fs::read("/proc/net/unix")
        .map_err(|error| Failure::Refused(format!("cannot read /proc/net/unix: {}", reason(&error))))?;
    Ok(among(&sockets::listening(&table), pid))
}

/// The clusters that listen at these places; with a process id, only that process.
fn among(places: &[String], pid: Option<u32>) -> Vec<Found> {
    let deadline = Instant::now() + HELLO;
    // Root sees the clusters of all users, and its own come first: if there are any, the others are not even asked.
    let mut found = ask(places, pid, true, deadline);
    if found.is_empty() {
        found = ask(places, pid, false, deadline);
    }
    // Somebody else may hold up an abstract name with the id of a primary that answers elsewhere.
    found.sort_by_key(|it| (it.pid, it.connection.is_none()));
    found.dedup_by_key(|it| it.pid);
    found
}

/// Asks all that are selected at the same time, so that one that does not answer takes no time from the others.
fn ask(places: &[String], pid: Option<u32>, own: bool, deadline: Instant) -> Vec<Found> {
    let mut found = Vec::new();
    let mut asked = Vec::new();
    for place in places {
        match Connection::open_at_once(&Place::parse(place)) {
            Ok(Some(connection)) => {
                // What is not visible here can be told only by its answer.
                let is_selected = pid.is_none_or(|pid| [0, pid].contains(&connection.listener()));
                if is_selected && own == (connection.owner() == own_user()) {
                    asked.push((place, connection));
                }
            }
            Ok(None) if own => {
                let unasked = |pid| Found { place: place.clone(), uid: own_user(), pid, connection: None };
                found.extend(sockets::own_primary(place).map(unasked));
            }
            // Most failures are other users' clusters.
            Ok(None) | Err(_) => {}
        }
    }
    let hello =
        |connection: &mut Connection| connection.hello(deadline.saturating_duration_since(Instant::now()));
    let answers: Vec<_> = thread::scope(|scope| {
        let start = |connection| thread::Builder::new().spawn_scoped(scope, move || hello(connection));
        let threads: Vec<_> = asked.iter_mut().map(|(_, connection)| start(connection)).collect();
        threads.into_iter().map(|thread| thread.ok()?.join().ok()).collect()
    });
    for ((place, mut connection), answer) in asked.into_iter().zip(answers) {
        // Where no further thread can be started, one is asked after the other.
        let answer = answer.unwrap_or_else(|| hello(&mut connection));
        let (place, uid, listener) = (place.clone(), connection.owner(), connection.listener());
        match answer {
            // The kernel's word counts, unless the process is not visible here.
            Ok(told) => {
                let pid = if listener == 0 { told } else { listener };
                found.push(Found { place, uid, pid, connection: Some(connection) });
            }
            Err(Failure::TimedOut(_)) => found.push(Found { place, uid, pid: listener, connection: None }),
            Err(_) => {}
        }
    }
    found.retain(|it| pid.is_none_or(|pid| it.pid == pid));
    found
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    use std::sync::mpsc;

    use rcluster_sys::listen::{Access, Leftover};

    use super::*;

    #[test]
    fn a_command_line_is_shown_with_its_program() {
        let path = "/srv/app/node_modules/.bin/rcluster";
        let started = format!("node\0{path}\0start\0--config\0rcluster.json\0app.js\0");
        assert_eq!(shortened(&started), "rcluster start --config rcluster.json app.js");
        assert_eq!(shortened("/usr/bin/node\0/srv/app.js\0--port\x0080"), "/srv/app.js --port 80");
        assert_eq!(shortened("node\0"), "");
        let long = shortened(&format!("node\0{}\0", "x".repeat(WIDTH + 1)));
        assert_eq!((long.chars().count(), long.ends_with("x…")), (WIDTH, true));
    }

    /// A place for a socket of this test.
    fn place(name: &str, number: u32) -> String {
        let folder = std::env::temp_dir().join(format!("rcluster find-{name}-{}", std::process::id()));
        let folder = folder.join("rcluster");
        std::fs::create_dir_all(&folder).unwrap();
        let place = folder.join(format!("{number}.sock")).to_str().unwrap().to_owned();
        let _ = std::fs::remove_file(&place);
        place
    }

    fn remove(place: &str) {
        std::fs::remove_dir_all(Path::new(place).parent().unwrap().parent().unwrap()).unwrap();
    }

    fn answer(client: &mut UnixStream) {
        let line = format!("{{\"id\":1,\"ok\":true,\"result\":{{\"pid\":{}}}}}\n", std::process::id());
        client.write_all(line.as_bytes()).unwrap();
    }

    /// Calls `body`, which must come to an end.
    fn in_time<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || sender.send(body()));
        receiver.recv_timeout(Duration::from_secs(60)).expect("it ends")
    }

    #[test]
    fn sockets_with_any_name_may_exist() {
        let mut name = format!("rcluster-find-{}-", std::process::id()).into_bytes();
        name.push(0xff);
        let _other = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        // No process has this id.
        let found = all(Some(u32::MAX)).unwrap();
        assert!(found.is_empty(), "{found:?}");
    }

    /// None answers before all have been asked.
    #[test]
    fn all_are_asked_together() {
        let places: Vec<String> = (1..=3).map(|number| place("together", number)).collect();
        let listeners: Vec<_> = places.iter().map(|place| UnixListener::bind(place).unwrap()).collect();
        let cluster = thread::spawn(move || {
            let mut clients: Vec<_> = listeners.iter().map(|it| it.accept().unwrap().0).collect();
            for client in &clients {
                BufReader::new(client).read_line(&mut String::new()).unwrap();
            }
            for client in &mut clients {
                answer(client);
            }
        });
        let of_all = places.clone();
        let deadline = Instant::now() + Duration::from_secs(30);
        let found = in_time(move || ask(&of_all, None, true, deadline));
        let answered: Vec<_> = found.iter().map(|it| (&it.place, it.connection.is_some())).collect();
        assert_eq!(answered, places.iter().map(|place| (place, true)).collect::<Vec<_>>());
        cluster.join().unwrap();
        remove(&places[0]);
    }

    #[test]
    fn with_a_process_id_no_other_process_is_asked() {
        let place = place("pid", 1);
        let listener = UnixListener::bind(&place).unwrap();
        let places = vec![place.clone()];
        assert_eq!(in_time(move || among(&places, Some(std::process::id() + 1))).len(), 0);
        // Once for each user.
        for _ in 0..2 {
            let mut asked = String::new();
            listener.accept().unwrap().0.read_to_string(&mut asked).unwrap();
            assert_eq!(asked, "");
        }
        remove(&place);
    }

    #[test]
    fn a_full_queue_does_not_hang_and_the_cluster_is_not_mistaken_for_another() {
        let (full, other) = (place("full", 4_294_967_295), place("full", 2));
        let same = place("full", std::process::id());
        let waiting = [&full, &same].map(|place| {
            let listener =
                rcluster_sys::listen::unix(Path::new(place), Access::default(), Leftover::Keep, Some(0))
                    .unwrap();
            (listener, UnixStream::connect(place).unwrap())
        });
        let listener = UnixListener::bind(&other).unwrap();
        let cluster = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            BufReader::new(&client).read_line(&mut String::new()).unwrap();
            answer(&mut client);
        });
        let places = vec![full.clone(), same, other.clone()];
        let found = in_time(move || among(&places, None));
        cluster.join().unwrap();
        let found: Vec<_> =
            found.iter().map(|it| (it.place.as_str(), it.pid, it.connection.is_some())).collect();
        assert_eq!(found, [(other.as_str(), std::process::id(), true), (full.as_str(), u32::MAX, false)]);
        drop(waiting);
        remove(&full);
    }

    #[test]
    fn a_full_queue_of_anybody_under_an_abstract_name_is_skipped() {
        // No process has this id.
        let name = format!("rcluster/{}/{}", std::process::id(), u32::MAX);
        let address = format!("\0{name}");
        let _listener =
            rcluster_sys::listen::unix(Path::new(&address), Access::default(), Leftover::Keep, Some(0))
                .unwrap();
        let _waits = UnixStream::connect_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let places = vec![format!("@{name}")];
        assert_eq!(in_time(move || among(&places, None)).len(), 0);
        let target = Target { control: Some(format!("@{name}")), pid: None };
        let refused = in_time(move || connect(&target).map(drop));
        assert!(matches!(&refused, Err(Failure::Refused(text)) if text.contains("is full")), "{refused:?}");
    }
}
