//! What the system tells of sockets to which there is no connection.

use std::fs::{metadata, read_dir, read_to_string, symlink_metadata};
use std::os::unix::fs::MetadataExt;

use rcluster_core::control::operator::{Place, THREAD};
use rcluster_sys::listen::private::own_user;

/// The places of listening sockets that may belong to a cluster. The table is not text: any user's socket may have any
/// bytes as its name.
pub(super) fn listening(table: &[u8]) -> Vec<String> {
    let mut places: Vec<String> = table.split(|byte| *byte == b'\n').skip(1).filter_map(place).collect();
    places.sort();
    places.dedup();
    places
}

fn place(line: &[u8]) -> Option<String> {
    // A name that is no text is not ours.
    let mut rest = std::str::from_utf8(line).ok()?;
    // Num RefCount Protocol Flags Type St Inode Path
    let mut fields = [""; 7];
    for field in &mut fields {
        // Small numbers are padded.
        (*field, rest) = rest.trim_start_matches(' ').split_once(' ')?;
    }
    let flags = u32::from_str_radix(fields[3], 16).ok()?;
    let accepts = flags & 0x1_0000 != 0;
    // All of the rest is the name, which may contain spaces.
    (accepts && Place::is_known(rest)).then(|| rest.to_owned())
}

/// The process id of this user's primary at a place whose queue of clients is full; 0 if the place does not tell it.
/// Without a connection the kernel does not say who listens, and another user must not be able to stand in the way, so
/// this is `None` unless there is other evidence: the file of the socket is this user's; or, because anybody can have any
/// abstract name, the process in it is this user's and has the thread of a primary.
pub(super) fn own_primary(place: &str) -> Option<u32> {
    let last = place.rsplit('/').next()?;
    let pid = last.strip_suffix(".sock").unwrap_or(last).parse().ok();
    let is_own = match Place::parse(place) {
        Place::Path(path) => symlink_metadata(path).is_ok_and(|file| file.uid() == own_user()),
        Place::Abstract(_) => pid.is_some_and(|pid| is_own_process(pid) && has_thread(pid, THREAD)),
    };
    is_own.then(|| pid.unwrap_or(0))
}

fn is_own_process(pid: u32) -> bool {
    metadata(format!("/proc/{pid}")).is_ok_and(|process| process.uid() == own_user())
}

fn has_thread(pid: u32, name: &str) -> bool {
    let is_it = |thread: std::fs::DirEntry| {
        read_to_string(thread.path().join("comm")).is_ok_and(|its| its.trim_end() == name)
    };
    read_dir(format!("/proc/{pid}/task")).is_ok_and(|threads| threads.flatten().any(is_it))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn only_sockets_that_accept_at_known_places_are_tried() {
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 22 @rcluster/0/17\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 23 @rcluster/0/17\n\
            0000000000000000: 00000002 00000000 00010000 0001 01    24 /run/user/0/rcluster/18.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 25 /run/dbus/system_bus_socket\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 26\n";
        assert_eq!(listening(table), ["/run/user/0/rcluster/18.sock", "@rcluster/0/17"]);
        assert_eq!(listening(b""), [""; 0]);
    }

    #[test]
    fn names_that_are_no_text_are_skipped_and_spaces_belong_to_the_name() {
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 22 /run/\xff/rcluster.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/my \tapp /rcluster.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 12346 /run/app/rcluster.sock of another\n";
        assert_eq!(listening(table), ["/run/my \tapp /rcluster.sock"]);
    }

    #[test]
    fn a_primary_is_recognized_by_its_file_or_by_its_thread() {
        let abstract_name = format!("@rcluster/{}/{}", own_user(), std::process::id());
        assert_eq!(own_primary(&abstract_name), None, "this process is no primary");
        let (start, end) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            let wait = || (start.wait(), end.wait());
            thread::Builder::new().name(THREAD.into()).spawn_scoped(scope, wait).unwrap();
            // It has its name by then.
            start.wait();
            let found = own_primary(&abstract_name);
            end.wait();
            assert_eq!(found, Some(std::process::id()));
        });
        assert_eq!(own_primary("/nowhere/rcluster/17.sock"), None);
    }
}
