//! Finds running clusters by the sockets at default places of the control socket.

use std::path::Path;
use std::time::Duration;

use rcluster_core::control::operator::Place;
use rcluster_sys::listen::private::own_user;

use crate::args::Target;
use crate::connection::Connection;
use crate::output::{Failure, printable, reason};

/// How long each socket may take to answer `hello` while clusters are looked for.
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
    connection: Connection,
    place: String,
    uid: u32,
    pid: u32,
    answers: bool,
}

impl Found {
    fn into_connection(self) -> Result<Connection, Failure> {
        if self.answers { Ok(self.connection) } else { Err(silent(self.pid)) }
    }
}

/// Connects to the cluster that the options select.
pub(crate) fn connect(target: &Target) -> Result<Connection, Failure> {
    if let Some(place) = &target.control {
        let mut connection = Connection::open(&Place::parse(place))?;
        return match connection.hello(NAMED) {
            Err(Failure::TimedOut(_)) => Err(silent(connection.listener())),
            answer => answer.map(|_| connection),
        };
    }
    let mut found = all()?;
    if let Some(pid) = target.pid {
        found.retain(|it| it.pid == pid);
        let none = || {
            Failure::NotRunning(format!(
                "process {pid} is no primary with a control socket that you may use; `rcluster status` finds your clusters"
            ))
        };
        return found.pop().ok_or_else(none)?.into_connection();
    }
    // Root sees the clusters of all users, and its own come first.
    if found.iter().any(|it| it.uid == own_user()) {
        found.retain(|it| it.uid == own_user());
    }
    match found.len() {
        0 => Err(Failure::NotRunning(NONE.into())),
        1 => found.pop().ok_or_else(|| Failure::NotRunning(NONE.into()))?.into_connection(),
        _ => {
            let line = |Found { place, pid, uid, answers, .. }: &Found| {
                let program = program(*pid).unwrap_or_default();
                let state = if *answers { "" } else { "  (does not answer)" };
                format!("\n  --pid {pid:<8} --control {place}  (user {uid})  {program}{state}")
            };
            let lines: String = found.iter().map(line).collect();
            let text = format!("there are several clusters; select one with --pid or --control:{lines}");
            Err(Failure::Usage(text))
        }
    }
}

/// No request has been sent to it.
fn silent(pid: u32) -> Failure {
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

fn all() -> Result<Vec<Found>, Failure> {
    let table = std::fs::read_to_string("/proc/net/unix")
        .map_err(|error| Failure::Refused(format!("cannot read /proc/net/unix: {}", reason(&error))))?;
    let mut found: Vec<Found> = Vec::new();
    for place in listening(&table) {
        // Most failures are other users' clusters.
        let Ok(mut connection) = Connection::open(&Place::parse(&place)) else { continue };
        let (pid, answers) = match connection.hello(HELLO) {
            Ok(pid) => (pid, true),
            Err(Failure::TimedOut(_)) => (connection.listener(), false),
            Err(_) => continue,
        };
        if !found.iter().any(|it| it.pid == pid) {
            found.push(Found { place, uid: connection.owner(), pid, answers, connection });
        }
    }
    found.sort_by_key(|it| it.pid);
    Ok(found)
}

/// The places of listening sockets that may belong to a cluster.
fn listening(table: &str) -> Vec<String> {
    // Num RefCount Protocol Flags Type St Inode Path
    let place = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let flags = fields.nth(3).and_then(|flags| u32::from_str_radix(flags, 16).ok())?;
        let place = fields.nth(3)?;
        let accepts = flags & 0x1_0000 != 0;
        (accepts && Place::is_known(place)).then(|| place.to_owned())
    };
    let mut places: Vec<String> = table.lines().skip(1).filter_map(place).collect();
    places.sort();
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn only_sockets_that_accept_at_known_places_are_tried() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 22 @rcluster/0/17\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 23 @rcluster/0/17\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 24 /run/user/0/rcluster/18.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 25 /run/dbus/system_bus_socket\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 26\n";
        assert_eq!(listening(table), ["/run/user/0/rcluster/18.sock", "@rcluster/0/17"]);
        assert_eq!(listening(""), [""; 0]);
    }
}
