//! The control data of a message, which contains its descriptors.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;

use super::{MAX_FDS, MOST_FDS};

/// A buffer for the control data of any message, aligned as the kernel's headers require.
///
/// It is larger than what rcluster sends. The kernel closes descriptors that do not fit on the receiving
/// thread, and close(2) may block, see [`crate::closer`]. Also, every holder of the same socket can make the
/// kernel add credentials, a pidfd, a security label and a timestamp to each message (`SO_PASSCRED`,
/// `SO_PASSPIDFD`, `SO_PASSSEC`, `SO_TIMESTAMP`).
#[repr(C, align(8))]
pub(super) struct Control([MaybeUninit<u8>; CONTROL_LEN]);

const CONTROL_LEN: usize = 16 + MOST_FDS.next_multiple_of(2) * size_of::<RawFd>() + 4096;

/// The type of control data that contains a pidfd of the sender, from `linux/socket.h`.
const SCM_PIDFD: libc::c_int = 4;

impl Control {
    pub(super) const fn new() -> Self {
        Self([MaybeUninit::uninit(); CONTROL_LEN])
    }

    /// Writes the descriptors into this buffer and makes the message point to it. The message must be sent
    /// while this stays in place. The descriptors stay the caller's.
    ///
    /// # Panics
    /// If there are more than [`MAX_FDS`] descriptors.
    pub(super) fn attach(&mut self, message: &mut libc::msghdr, fds: &[impl AsFd]) {
        assert!(fds.len() <= MAX_FDS, "a message carries at most {MAX_FDS} descriptors");
        if fds.is_empty() {
            return;
        }
        let payload = fds.len() * size_of::<RawFd>();
        let payload = u32::try_from(payload).expect("32 descriptors fit into a u32");
        message.msg_control = self.0.as_mut_ptr().cast();
        // SAFETY: pure arithmetic.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(payload) } as usize;
        // SAFETY: msg_control points to CONTROL_LEN aligned bytes, so the first header exists.
        let header = unsafe { libc::CMSG_FIRSTHDR(&raw const *message) };
        // SAFETY: as above; the header lies within `self`.
        let header_ref = unsafe { &mut *header };
        header_ref.cmsg_level = libc::SOL_SOCKET;
        header_ref.cmsg_type = libc::SCM_RIGHTS;
        // SAFETY: pure arithmetic.
        header_ref.cmsg_len = unsafe { libc::CMSG_LEN(payload) } as usize;
        // SAFETY: the data of the first header follows it within `self`.
        let data = unsafe { libc::CMSG_DATA(header) };
        #[allow(clippy::cast_ptr_alignment, reason = "it is written to unaligned")]
        let data = data.cast::<RawFd>();
        for (index, fd) in fds.iter().enumerate() {
            // SAFETY: index < MAX_FDS, for which `self` has room.
            let place = unsafe { data.add(index) };
            // SAFETY: as above. The number is borrowed: the kernel takes a reference of its own
            // and `fds` keeps what it owns.
            unsafe { place.write_unaligned(fd.as_fd().as_raw_fd()) };
        }
    }

    /// Makes the message point to the whole buffer, for what is received with it. The message must be
    /// received while this stays in place.
    pub(super) fn offer(&mut self, message: &mut libc::msghdr) {
        message.msg_control = self.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL_LEN;
    }

    /// Moves the descriptors of a message that `recvmsg` has just filled in into `fds`, and closes unexpected
    /// ones.
    pub(super) fn take(message: &libc::msghdr, fds: &mut Vec<OwnedFd>) {
        // SAFETY: recvmsg has set msg_control and msg_controllen to what it wrote.
        let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a header within the control buffer.
        while let Some(current) = unsafe { header.as_ref() } {
            let rights = current.cmsg_type == libc::SCM_RIGHTS;
            if current.cmsg_level == libc::SOL_SOCKET && (rights || current.cmsg_type == SCM_PIDFD) {
                // SAFETY: pure arithmetic.
                let head = unsafe { libc::CMSG_LEN(0) } as usize;
                let count = current.cmsg_len.saturating_sub(head) / size_of::<RawFd>();
                // SAFETY: the data of a header that the kernel wrote follows it.
                let data = unsafe { libc::CMSG_DATA(header) };
                #[allow(clippy::cast_ptr_alignment, reason = "it is read unaligned")]
                let data = data.cast::<RawFd>();
                for index in 0..count {
                    // SAFETY: the kernel wrote `count` descriptor numbers here.
                    let place = unsafe { data.add(index) };
                    // SAFETY: as above.
                    let number = unsafe { place.read_unaligned() };
                    // The kernel writes an error number if it could not create a pidfd.
                    if number < 0 {
                        continue;
                    }
                    // SAFETY: before: the kernel's message. From here on owned by us alone, and closed by the
                    // OwnedFd.
                    let fd = unsafe { OwnedFd::from_raw_fd(number) };
                    // A pidfd is closed at once, which never blocks.
                    if rights {
                        fds.push(fd);
                    }
                }
            }
            // SAFETY: `header` is a header within the control buffer of `message`.
            header = unsafe { libc::CMSG_NXTHDR(message, header) };
        }
    }
}
