//! The attributes of a child: its signals, its session, its user.

use std::fs;
use std::thread;

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl::{get_dumpable, set_dumpable};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, pthread_sigmask, signal};
use nix::unistd::{getegid, geteuid, getpid, getsid};
use rcluster_sys::spawn::Spawn;

use super::{both_ways, command, failure, output, own_process, share_process};

const SIGNALS: [&str; 4] = ["SigPnd", "SigBlk", "SigIgn", "SigCgt"];
const IDENTITY: [&str; 3] = ["Uid", "Gid", "Groups"];
const NOBODY: u32 = 65_534;

/// The values of these lines in a `/proc/.../status`.
fn status<const N: usize>(text: &str, names: [&str; N]) -> [String; N] {
    names.map(|name| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    })
}

/// The same for the calling thread.
fn our_status<const N: usize>(names: [&str; N]) -> [String; N] {
    status(&fs::read_to_string("/proc/thread-self/status").unwrap(), names)
}

fn cat_status() -> Spawn<'static> {
    command(&["/bin/cat", "/proc/self/status"])
}

/// Makes a system call for this thread only, which the C library would make for all threads.
fn for_this_thread(call: libc::c_long, [first, second, third]: [usize; 3]) {
    // SAFETY: the callers pass numbers, or a list with its length that outlives the call.
    assert_eq!(unsafe { libc::syscall(call, first, second, third) }, 0);
}

#[test]
fn signals_are_back_to_default_in_the_child_only() {
    extern "C" fn handler(_: libc::c_int) {}
    let _shared = share_process();
    // SAFETY: nothing else here uses this signal.
    unsafe { signal(Signal::SIGUSR1, SigHandler::SigIgn) }.unwrap();
    // SAFETY: as above, and the handler does nothing.
    unsafe { signal(Signal::SIGUSR2, SigHandler::Handler(handler)) }.unwrap();
    let mask = SigSet::from_iter([Signal::SIGTERM, Signal::SIGCHLD, Signal::SIGUSR2]);
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&mask), None).unwrap();
    let before = our_status(SIGNALS);
    for spawn in both_ways(&cat_status()) {
        assert_eq!(status(&output(&spawn), SIGNALS), ["0000000000000000"; 4]);
        failure(&Spawn { file: c"/missing".into(), ..spawn });
    }
    assert_eq!(SigSet::thread_get_mask().unwrap(), mask);
    assert_eq!(our_status(SIGNALS), before);
}

#[test]
fn a_detached_child_leads_its_own_session() {
    let _shared = share_process();
    for spawn in both_ways(&command(&["/bin/cat", "/proc/self/stat"])) {
        let numbers = |detached| -> Vec<i32> {
            let text = output(&Spawn { detached, ..spawn.clone() });
            // The process id, and the fields after name and state: parent, process group, session.
            let (head, tail) = (text.split(' ').take(1), text.rsplit(") ").next().unwrap());
            head.chain(tail.split(' ').skip(1).take(3)).map(|field| field.parse().unwrap()).collect()
        };
        let child = numbers(true);
        assert_eq!(child, [child[0], getpid().as_raw(), child[0], child[0]]);
        let child = numbers(false);
        assert_eq!((child[1], child[3]), (getpid().as_raw(), getsid(None).unwrap().as_raw()));
        assert_ne!(child[2], child[0]);
    }
}

#[test]
fn a_child_becomes_somebody_else_alone() {
    // Exclusive, because the dumpable flag belongs to the whole process.
    let _alone = own_process();
    if !geteuid().is_root() {
        eprintln!("SKIPPED: only root can start a process as somebody else");
        return;
    }
    let identity = |uid, gid| status(&output(&Spawn { uid, gid, ..cat_status() }), IDENTITY);
    let four = |id: u32| vec![id.to_string(); 4].join(" ");
    let (root, group, nobody) = (four(0), four(getegid().as_raw()), four(NOBODY));
    thread::scope(|scope| {
        scope.spawn(|| {
            let groups = [7_u32, 8];
            for_this_thread(libc::SYS_setgroups, [2, groups.as_ptr().addr(), 0]);
            let before = our_status(IDENTITY);
            assert_eq!(before, [root.as_str(), &group, "7 8"]);
            assert_eq!(identity(None, None), before);
            assert_eq!(identity(Some(NOBODY), Some(NOBODY)), [nobody.as_str(), &nobody, ""]);
            assert_eq!(identity(Some(NOBODY), None), [nobody.as_str(), &group, ""]);
            assert_eq!(identity(None, Some(NOBODY)), [root.as_str(), &nobody, ""]);
            let invalid = failure(&Spawn { uid: Some(u32::MAX), ..cat_status() });
            assert_eq!(invalid, ("changing the user of a process", Errno::EINVAL));
            // The child's change does not affect this process.
            assert_eq!(our_status(IDENTITY), before);
            assert!(get_dumpable().unwrap());
        });
    });
}

#[test]
fn an_identity_that_is_refused_is_reported() {
    let _alone = own_process();
    thread::scope(|scope| {
        scope.spawn(|| {
            if geteuid().is_root() {
                for_this_thread(libc::SYS_setresuid, [NOBODY as usize; 3]);
            }
            let uid = failure(&Spawn { uid: Some(0), ..cat_status() });
            assert_eq!(uid, ("changing the user of a process", Errno::EPERM));
            let gid = failure(&Spawn { gid: Some(NOBODY - 1), ..cat_status() });
            assert_eq!(gid, ("changing the group of a process", Errno::EPERM));
        });
    });
    // The thread that changed its identity has cleared the process's dumpable flag.
    set_dumpable(true).unwrap();
}
