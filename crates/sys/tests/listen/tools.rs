//! Shared helpers of the tests.

use std::fmt::Debug;
use std::fs;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::libc;
use rcluster_sys::error::SysError;
use rcluster_sys::listen::Bound;

pub(crate) const BACKLOG: Option<i32> = Some(16);
pub(crate) const NOBODY: u32 = 65_534;

pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A loopback address that concurrent tests do not use: for tests that need a port to stay free.
pub(crate) fn apart_from_other_tests(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(127, 77, 0, 1), port))
}

pub(crate) fn port_of(bound: &Bound) -> u16 {
    bound.sockname.unwrap().port()
}

pub(crate) fn errno<T: Debug>(result: Result<T, SysError>) -> Errno {
    result.unwrap_err().errno
}

pub(crate) fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A directory for one test, removed with its content.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rcluster-listen-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A path in it of exactly this length, in bytes.
    pub(crate) fn path_of_length(&self, length: usize) -> PathBuf {
        let path = self.join(&"x".repeat(length - self.0.as_os_str().len() - 1));
        assert_eq!(path.as_os_str().len(), length);
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Runs a function on a thread with its own working directory and umask.
pub(crate) fn apart<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: unshare takes a plain number. It changes this thread only.
            Errno::result(unsafe { libc::unshare(libc::CLONE_FS) }).unwrap();
            run()
        });
        thread.join().unwrap()
    })
}

/// Runs a function on a thread without privileges.
pub(crate) fn as_nobody<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if is_root() {
                // The system call itself, because libc's function would change all threads.
                // SAFETY: the call uses plain numbers, and changes this thread only.
                let answer = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
                Errno::result(answer).unwrap();
            }
            run()
        });
        thread.join().unwrap()
    })
}

/// Runs a function on a thread that cannot create IPv6 sockets, as on a kernel without IPv6: a seccomp filter
/// denies only `socket(AF_INET6, ..)`.
pub(crate) fn without_ipv6<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    const NUMBER: u32 = 0;
    const FIRST_ARGUMENT: u32 = 16;
    let load = |from| libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: from };
    let skip_unless = |skip, value| libc::sock_filter { code: 0x15, jt: 0, jf: skip, k: value };
    let answer = |answer| libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: answer };
    let mut filter = [
        load(NUMBER),
        skip_unless(3, u32::try_from(libc::SYS_socket).unwrap()),
        load(FIRST_ARGUMENT),
        skip_unless(1, libc::AF_INET6.unsigned_abs()),
        answer(libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT.unsigned_abs()),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let length = u16::try_from(filter.len()).unwrap();
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
            // SAFETY: prctl takes plain numbers. It changes this thread only.
            Errno::result(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).unwrap();
            // SAFETY: the program and its filter are ours until after the call, which copies them.
            // It changes this thread only.
            let answer =
                unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
            Errno::result(answer).unwrap();
            run()
        });
        thread.join().unwrap()
    })
}

/// The state of a TCP socket: its backlog if it listens.
pub(crate) fn listens_with(socket: impl AsFd) -> Option<u32> {
    const TCP_LISTEN: u8 = 10;
    // SAFETY: tcp_info consists of numbers, for which zero is valid.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut length = libc::socklen_t::try_from(mem::size_of_val(&info)).unwrap();
    let number = socket.as_fd().as_raw_fd();
    // SAFETY: `info` and `length` are ours until after the call, and `length` is the size of `info`.
    let answer = unsafe {
        libc::getsockopt(number, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut length)
    };
    Errno::result(answer).unwrap();
    // For a listening socket, the kernel returns the backlog in this field.
    (info.tcpi_state == TCP_LISTEN).then_some(info.tcpi_sacked)
}

pub(crate) fn largest_backlog() -> u32 {
    fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap()
}

pub(crate) fn assert_nonblocking_and_close_on_exec(fd: impl AsFd) {
    let status = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL).unwrap());
    assert!(status.contains(OFlag::O_NONBLOCK));
    let flags = FdFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFD).unwrap());
    assert!(flags.contains(FdFlag::FD_CLOEXEC));
}
