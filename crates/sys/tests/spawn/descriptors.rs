//! The descriptors of a child.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use rcluster_sys::exit::{Exit, wait};
use rcluster_sys::spawn::{Spawn, dev_null, socket_pair};

use super::{both_ways, command, outcome, output, share_process, shell};

/// The descriptors of a child that runs `ls -l /proc/self/fd`, without the one of its listing.
pub(crate) fn descriptors(listing: &str) -> BTreeMap<i32, String> {
    let links = listing.lines().filter_map(|line| line.split_once(" -> "));
    let all =
        links.map(|(head, target)| (head.rsplit(' ').next().unwrap().parse().unwrap(), target.to_owned()));
    let (own, given): (BTreeMap<_, _>, _) = all.partition(|(_, target)| target.starts_with("/proc/"));
    assert_eq!(own.len(), 1, "{listing}");
    given
}

/// A descriptor that can be identified by its name.
pub(crate) fn named(name: &str) -> OwnedFd {
    memfd_create(name, MFdFlags::MFD_CLOEXEC).unwrap()
}

/// The number of descriptors passed to the child, and so the first number it must not have.
const COUNT: i32 = 96;

/// A name for a mapping, and the number in this process for each number in the child.
type Order = (&'static str, fn(i32) -> i32);

#[test]
fn descriptors_get_their_numbers_however_they_overlap() {
    let _shared = share_process();
    let files: Vec<_> = (0..COUNT).map(|index| named(&index.to_string())).collect();
    let numbered: BTreeMap<i32, _> = files.iter().map(|file| (file.as_raw_fd(), file.as_fd())).collect();
    let in_reach = numbered.range(3..COUNT).count();
    assert!(in_reach > 10, "the descriptors of this process are too high to overlap with the targets");
    let filler = files[0].as_fd();
    let orders: [Order; 7] = [
        ("in place", |target| target),
        ("from above", |target| target + 1),
        ("from below", |target| target - 1),
        ("swapped", |target| target ^ 1),
        ("reversed", |target| COUNT + 2 - target),
        ("far away", |target| target + COUNT / 2),
        ("the same", |_| COUNT / 2),
    ];
    for (order, source) in orders {
        let given = |target| *numbered.get(&source(target)).unwrap_or(&filler);
        let more: Vec<_> = (3..COUNT).map(given).collect();
        for spawn in both_ways(&command(&["/bin/ls", "-l", "/proc/self/fd"])) {
            let (exit, listing) = outcome(&spawn, &more);
            assert_eq!(exit, Exit::Code(0), "{listing}");
            let seen = descriptors(&listing);
            assert_eq!(seen.keys().copied().collect::<Vec<_>>(), (0..COUNT).collect::<Vec<_>>());
            assert_eq!(seen[&0], "/dev/null");
            assert!(seen[&1].starts_with("socket:") && seen[&1] == seen[&2], "{listing}");
            for target in 3..COUNT {
                let expected = fs::read_link(format!("/proc/self/fd/{}", given(target).as_raw_fd()));
                assert_eq!(Path::new(&seen[&target]), expected.unwrap(), "{order}: {target}");
            }
        }
    }
    for file in &files {
        assert_eq!(fcntl(file, FcntlArg::F_GETFD).unwrap(), FdFlag::FD_CLOEXEC.bits());
    }
}

#[test]
fn nothing_but_the_given_descriptors_is_inherited() {
    let _shared = share_process();
    let careless = named("careless");
    fcntl(&careless, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    for spawn in both_ways(&command(&["/bin/ls", "-l", "/proc/self/fd"])) {
        let seen = descriptors(&output(&spawn));
        assert_eq!(seen.into_keys().collect::<Vec<_>>(), [0, 1, 2]);
    }
}

#[test]
fn only_the_standard_streams_are_made_blocking() {
    let _shared = share_process();
    let modes = |file: &OwnedFd| OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL).unwrap());
    let (ours, theirs) = socket_pair().unwrap();
    assert!(modes(&ours).contains(OFlag::O_NONBLOCK));
    assert!(!modes(&theirs).contains(OFlag::O_NONBLOCK));
    for file in [&ours, &theirs] {
        assert_eq!(fcntl(file, FcntlArg::F_GETFD).unwrap(), FdFlag::FD_CLOEXEC.bits());
    }
    let (inherited, _peer) = socket_pair().unwrap();
    let null = dev_null().unwrap();
    let fds = vec![inherited.as_fd(), null.as_fd(), null.as_fd(), ours.as_fd()];
    let child = Spawn { fds, ..shell("exit 3") }.spawn().unwrap();
    assert_eq!(wait(child.pidfd.as_fd()).unwrap(), Exit::Code(3));
    assert!(!modes(&inherited).contains(OFlag::O_NONBLOCK));
    assert!(modes(&ours).contains(OFlag::O_NONBLOCK));
}
