//! From the start to the exit.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitPidFlag, waitpid};
use rcluster_sys::exit::{Exit, reap, send_signal, wait};
use rcluster_sys::spawn::Spawn;

use super::descriptors::{descriptors, named};
use super::{both_ways, command, failure, outcome, own_process, share_process, shell, start};

#[test]
fn exit_codes_arrive() {
    let _shared = share_process();
    assert_eq!(outcome(&shell("exit 0"), &[]).0, Exit::Code(0));
    assert_eq!(outcome(&shell("exit 7"), &[]).0, Exit::Code(7));
    assert_eq!(outcome(&shell("exit 255"), &[]).0, Exit::Code(255));
}

#[test]
fn a_child_can_be_watched_signalled_and_reaped_once() {
    let _shared = share_process();
    // Includes a real-time signal, which has no name.
    for number in [libc::SIGTERM, libc::SIGKILL, 40] {
        let (child, _stream) = start(&shell("read line <&1"), &[]).unwrap();
        let pidfd = child.pidfd.as_fd();
        assert_eq!(reap(pidfd).unwrap(), None);
        send_signal(pidfd, 0).unwrap();
        send_signal(pidfd, number).unwrap();
        poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
        send_signal(pidfd, 0).unwrap();
        let Some(Exit::Signal { number: by, .. }) = reap(pidfd).unwrap() else {
            panic!("not ended by a signal");
        };
        assert_eq!(by, number);
        assert_eq!(reap(pidfd).unwrap_err().errno, Errno::ECHILD);
        assert_eq!(wait(pidfd).unwrap_err().errno, Errno::ECHILD);
        assert_eq!(send_signal(pidfd, 0).unwrap_err().errno, Errno::ESRCH);
    }
}

#[test]
fn threads_start_processes_at_the_same_time() {
    let _shared = share_process();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) || count == 0 {
                assert_eq!(Command::new("/bin/sh").args(["-c", "exit 5"]).status().unwrap().code(), Some(5));
                count += 1;
            }
        });
        let starters: Vec<_> = (0..4)
            .map(|thread| {
                scope.spawn(move || {
                    for turn in 0..50 {
                        let name = format!("{thread}-{turn}");
                        let file = named(&name);
                        let script = format!("ls -l /proc/self/fd; exit {turn}");
                        let (exit, listing) = outcome(&shell(&script), &[file.as_fd()]);
                        assert_eq!(exit, Exit::Code(turn));
                        let seen = descriptors(&listing);
                        assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
                        assert_eq!(seen[&3], format!("/memfd:{name} (deleted)"));
                    }
                })
            })
            .collect();
        let results: Vec<_> = starters.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        other.join().unwrap();
        for result in results {
            result.unwrap();
        }
    });
}

#[test]
fn nothing_is_left_after_many_processes() {
    const TURNS: usize = 150;
    let _alone = own_process();
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let mappings = || fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let (descriptors_before, mappings_before) = (descriptors(), mappings());
    for _ in 0..TURNS {
        for spawn in both_ways(&command(&["/bin/true"])) {
            let input = File::open("/dev/null").unwrap();
            assert_eq!(outcome(&spawn, &[input.as_fd()]).0, Exit::Code(0));
            failure(&Spawn { file: c"/missing".into(), ..spawn });
        }
    }
    assert_eq!(descriptors(), descriptors_before);
    // The waiting test threads have mappings too, but not as many.
    assert!(mappings() < mappings_before + TURNS);
    // There is neither a running child nor one that was not reaped.
    assert_eq!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD));
}
