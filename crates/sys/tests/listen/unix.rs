//! Unix sockets: paths, modes, abstract names.

use std::fs;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::Mode;
use rcluster_sys::listen::{Access, Kind, Leftover, accept, unix};

use crate::tools::*;

#[test]
fn a_unix_socket_has_a_file_as_long_as_it_is_open() {
    let directory = Directory::new();
    let path = directory.join("socket");
    let bound = unix(&path, Access::default(), Leftover::Keep, BACKLOG).unwrap();
    assert_eq!((bound.kind, bound.sockname), (Kind::Pipe, None));
    assert_nonblocking_and_close_on_exec(&bound.fd);
    UnixStream::connect(&path).unwrap();
    assert!(accept(&bound.fd).unwrap().is_some());
    drop(bound);
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_that_is_only_bound_does_not_listen() {
    let directory = Directory::new();
    let path = directory.join("socket");
    let bound = unix(&path, Access::default(), Leftover::Keep, None).unwrap();
    assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(!getsockopt(&bound.fd, sockopt::AcceptConn).unwrap());
}

#[test]
fn everybody_may_what_was_asked_for_and_the_umask_says_nothing_then() {
    let directory = Directory::new();
    let path = directory.join("socket");
    let cases = [(false, false, 0o700), (true, false, 0o444), (false, true, 0o222), (true, true, 0o666)];
    for (readable, writable, mode) in cases {
        let found = apart(|| {
            nix::sys::stat::umask(Mode::from_bits_retain(0o077));
            let bound = unix(&path, Access { readable, writable }, Leftover::Keep, BACKLOG).unwrap();
            let mode = fs::symlink_metadata(&path).unwrap().mode() & 0o777;
            drop(bound);
            mode
        });
        assert_eq!(found, mode, "readable {readable}, writable {writable}: {found:o}");
    }
}

#[test]
fn a_leftover_socket_is_replaced_only_on_request() {
    let directory = Directory::new();
    let path = directory.join("socket");
    drop(UnixListener::bind(&path).unwrap());
    assert_eq!(errno(unix(&path, Access::default(), Leftover::Keep, BACKLOG)), Errno::EADDRINUSE);
    let bound = unix(&path, Access::default(), Leftover::Remove, BACKLOG).unwrap();
    UnixStream::connect(&path).unwrap();
    assert_eq!(errno(unix(&path, Access::default(), Leftover::Remove, BACKLOG)), Errno::EADDRINUSE);
    drop(bound);
    assert!(!path.exists());
}

#[test]
fn a_taken_path_is_taken_and_left_alone() {
    let directory = Directory::new();
    let path = directory.join("file");
    fs::write(&path, "precious").unwrap();
    let everybody = Access { readable: true, writable: true };
    let before = fs::metadata(&path).unwrap().mode();
    assert_eq!(errno(unix(&path, everybody, Leftover::Remove, BACKLOG)), Errno::EADDRINUSE);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    assert_eq!(fs::metadata(&path).unwrap().mode(), before);
}

#[test]
fn a_directory_that_is_missing_or_closed_denies_access() {
    let directory = Directory::new();
    let missing = directory.join("missing/socket");
    assert_eq!(errno(unix(&missing, Access::default(), Leftover::Keep, BACKLOG)), Errno::EACCES);

    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o500)).unwrap();
    let closed = directory.join("socket");
    as_nobody(|| assert_eq!(errno(unix(&closed, Access::default(), Leftover::Keep, BACKLOG)), Errno::EACCES));
    fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_path_may_fill_the_address_and_no_more() {
    let directory = Directory::new();
    let full = directory.path_of_length(108);
    let bound = unix(&full, Access::default(), Leftover::Keep, BACKLOG).unwrap();
    assert!(full.exists());
    drop(bound);
    assert!(!full.exists());
    let long = directory.path_of_length(109);
    assert_eq!(errno(unix(&long, Access::default(), Leftover::Keep, BACKLOG)), Errno::EINVAL);
    assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 0);
}

#[test]
fn what_is_no_path_is_invalid() {
    let directory = Directory::new();
    for path in [PathBuf::new(), directory.join("a\0b")] {
        assert_eq!(errno(unix(&path, Access::default(), Leftover::Keep, BACKLOG)), Errno::EINVAL);
    }
    assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 0);
}

#[test]
fn an_abstract_name_is_all_of_its_bytes() {
    let name = format!("rcluster-listen-{}", std::process::id());
    for ending in ["", "\0\0", "/../x"] {
        let name = format!("{name}{ending}");
        let bound = unix(
            Path::new(&format!("\0{name}")),
            Access { readable: true, writable: true },
            Leftover::Keep,
            BACKLOG,
        )
        .unwrap();
        assert!(bound.path.is_none());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        UnixStream::connect_addr(&address).unwrap();
        assert!(accept(&bound.fd).unwrap().is_some());
    }
    assert_eq!(
        errno(unix(Path::new(&"\0".repeat(109)), Access::default(), Leftover::Keep, BACKLOG)),
        Errno::EINVAL
    );
}

#[test]
fn the_file_of_another_is_not_removed() {
    let directory = Directory::new();
    let path = directory.join("socket");
    let bound = unix(&path, Access::default(), Leftover::Keep, BACKLOG).unwrap();
    fs::remove_file(&path).unwrap();
    let successor = UnixListener::bind(&path).unwrap();
    drop(bound);
    assert!(path.exists());
    UnixStream::connect(&path).unwrap();
    drop(successor);
}

#[test]
fn a_file_is_removed_from_where_it_was_made() {
    let directory = Directory::new();
    apart(|| {
        std::env::set_current_dir(&directory.0).unwrap();
        let bound =
            unix(Path::new("socket"), Access { readable: true, writable: true }, Leftover::Keep, BACKLOG)
                .unwrap();
        assert!(directory.join("socket").exists());
        std::env::set_current_dir("/").unwrap();
        drop(bound);
    });
    assert!(!directory.join("socket").exists());
}
