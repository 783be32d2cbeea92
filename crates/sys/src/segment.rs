//! Memory shared with other processes: memory files (memfd), sealed and mapped.
//!
//! There are two kinds. Memory that one process writes and all others read: the seal `F_SEAL_FUTURE_WRITE`
//! refuses all writes and writable mappings except the existing mapping. And memory that two processes write.
//! Neither can be shrunk, so no process is killed by an access beyond the end.

use std::ffi::CStr;
use std::num::NonZeroUsize;
use std::ops::{Deref, Range};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;

use super::descriptor::duplicate;
use super::error::{Doing, SysError};
use super::headroom;

const WORD: usize = size_of::<u64>();

/// A mapping, which is unmapped when the value is dropped.
#[derive(Debug)]
struct Mapping {
    words: NonNull<AtomicU64>,
    bytes: NonZeroUsize,
}

// SAFETY: the value owns the mapping, which stays in place; it contains only atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: &impl AsFd, protection: ProtFlags) -> Result<Self, SysError> {
        let doing = "mapping shared memory";
        let size = usize::try_from(fstat(fd).doing(doing)?.st_size).unwrap_or(0);
        let bytes = NonZeroUsize::new(size).ok_or(Errno::EINVAL).doing(doing)?;
        if size % WORD != 0 {
            return Err(Errno::EINVAL).doing(doing);
        }
        // SAFETY: a new shared mapping of the whole file at an address of the kernel's choice; the Mapping
        // owns it and unmaps it.
        let address = unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, fd, 0) }.doing(doing)?;
        Ok(Self { words: address.cast(), bytes })
    }

    fn len(&self) -> usize {
        self.bytes.get() / WORD
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: created by `new` with this length, and no reference to it outlives self.
        let unmapped = unsafe { munmap(self.words.cast(), self.bytes.get()) };
        debug_assert!(unmapped.is_ok(), "unmapping shared memory: {unmapped:?}");
    }
}

/// Shared memory that this process may write to.
#[derive(Debug)]
pub struct Segment(Mapping);

impl Segment {
    /// Creates zeroed memory of this many words that can only be written through this mapping. The descriptor
    /// is for readers.
    pub fn create_published(name: &CStr, words: usize) -> Result<(Self, OwnedFd), SysError> {
        Self::create(name, words, SealFlag::F_SEAL_FUTURE_WRITE)
    }

    /// Creates zeroed memory of this many words that every holder of the descriptor may write to.
    pub fn create_shared(name: &CStr, words: usize) -> Result<(Self, OwnedFd), SysError> {
        Self::create(name, words, SealFlag::empty())
    }

    fn create(name: &CStr, words: usize, seal: SealFlag) -> Result<(Self, OwnedFd), SysError> {
        let fd = make_file(name, words)?;
        let mapping = Mapping::new(&fd, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL | seal;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).doing("sealing shared memory")?;
        Ok((Self(mapping), fd))
    }

    /// Maps memory from [`Segment::create_shared`].
    pub fn open(fd: &impl AsFd) -> Result<Self, SysError> {
        Mapping::new(fd, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE).map(Self)
    }
}

impl AsRef<[AtomicU64]> for Segment {
    fn as_ref(&self) -> &[AtomicU64] {
        self
    }
}

impl Deref for Segment {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has this length, is page-aligned and writable, and lives as long as self. It
        // contains only atomics, for which every bit pattern is valid, so other processes may write to it at
        // any time.
        unsafe { std::slice::from_raw_parts(self.0.words.as_ptr(), self.0.len()) }
    }
}

fn make_file(name: &CStr, words: usize) -> Result<OwnedFd, SysError> {
    let doing = "making shared memory";
    let bytes = words.checked_mul(WORD).ok_or(Errno::EFBIG).doing(doing)?;
    if bytes > headroom::largest_file() {
        return Err(Errno::EFBIG).doing(doing);
    }
    let length = i64::try_from(bytes).map_err(|_| Errno::EFBIG).doing(doing)?;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd = memfd_create(name, flags).doing(doing)?;
    ftruncate(&fd, length).doing(doing)?;
    Ok(fd)
}

/// Memory that another process will write and many will read. After sealing, it can only be written through
/// mappings that exist by then.
#[derive(Debug)]
pub struct Unsealed(OwnedFd);

impl Unsealed {
    /// Creates zeroed memory of this many words. A process that gets the descriptor may map it for writing.
    pub fn new(name: &CStr, words: usize) -> Result<Self, SysError> {
        let fd = make_file(name, words)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).doing("sealing shared memory")?;
        Ok(Self(fd))
    }

    /// Seals it, reserves its memory, and maps it for reading. The descriptor is for other readers.
    pub fn seal(&self) -> Result<(Published, OwnedFd), SysError> {
        let seals = SealFlag::F_SEAL_FUTURE_WRITE | SealFlag::F_SEAL_SEAL;
        fcntl(&self.0, FcntlArg::F_ADD_SEALS(seals)).doing("sealing shared memory")?;
        let published = Published::open(&self.0)?;
        reserve(&self.0, &(0..published.len()))?;
        Ok((published, duplicate(&self.0)?))
    }
}

impl AsFd for Unsealed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Shared memory that this process reads.
#[derive(Debug)]
pub struct Published(Mapping);

impl Published {
    /// Maps memory from [`Segment::create_published`].
    pub fn open(fd: &impl AsFd) -> Result<Self, SysError> {
        Mapping::new(fd, ProtFlags::PROT_READ).map(Self)
    }

    /// The number of words.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no words, which is never the case.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the word at `at`; 0 beyond the end.
    ///
    /// # Panics
    /// If `order` is not valid for loads.
    #[must_use]
    #[inline]
    pub fn load(&self, at: usize, order: Ordering) -> u64 {
        if at >= self.len() {
            return 0;
        }
        // SAFETY: within the mapping.
        let word = unsafe { self.0.words.add(at) };
        // SAFETY: aligned, readable, and alive as long as self. It is an atomic that is only loaded, and
        // loads of 64 bits never write on the platforms that there are binaries for.
        unsafe { word.as_ref() }.load(order)
    }

    /// Copies the words from `at` on (relaxed), in little-endian order; zeros beyond the end.
    #[inline]
    pub fn copy(&self, at: usize, into: &mut [[u8; WORD]]) {
        // SAFETY: the mapping has this length and lives as long as self. It contains atomics that are only
        // loaded, as above.
        let all = unsafe { std::slice::from_raw_parts(self.0.words.as_ptr(), self.len()) };
        let there = all.get(at..).unwrap_or_default();
        let (whole, beyond) = into.split_at_mut(into.len().min(there.len()));
        for (word, from) in whole.iter_mut().zip(there) {
            *word = from.load(Ordering::Relaxed).to_le_bytes();
        }
        beyond.fill([0; WORD]);
    }
}

/// Reserves the memory of some words now, so that a lack of memory is an error. Otherwise the first access
/// would kill the process.
pub fn reserve(fd: &impl AsFd, words: &Range<usize>) -> Result<(), SysError> {
    let doing = "reserving shared memory";
    let offset = i64::try_from(words.start * WORD).map_err(|_| Errno::EFBIG).doing(doing)?;
    let length = i64::try_from(words.len() * WORD).map_err(|_| Errno::EFBIG).doing(doing)?;
    loop {
        match fallocate(fd, FallocateFlags::empty(), offset, length) {
            Err(Errno::EINTR) => {}
            result => return result.doing(doing),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn reopened(fd: &OwnedFd) -> std::io::Result<std::fs::File> {
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        std::fs::OpenOptions::new().read(true).write(true).open(path)
    }

    #[test]
    fn readers_see_what_the_owner_writes_and_cannot_write() {
        let (segment, fd) = Segment::create_published(c"test", 1024).unwrap();
        let reader = Published::open(&fd).unwrap();
        segment.as_ref()[7].store(42, Ordering::Release);
        assert_eq!(reader.load(7, Ordering::Acquire), 42);
        assert_eq!((reader.len(), reader.load(1024, Ordering::Acquire)), (1024, 0));
        for (at, expected) in [(6, [[0; 8], 42_u64.to_le_bytes()]), (1023, [[0; 8]; 2]), (1024, [[0; 8]; 2])]
        {
            let mut copy = [[9; 8]; 2];
            reader.copy(at, &mut copy);
            assert_eq!(copy, expected, "from {at}");
        }
        assert_eq!(Segment::open(&fd).unwrap_err().errno, Errno::EPERM);
        assert_eq!(nix::sys::uio::pwrite(&fd, &[1; 8], 0), Err(Errno::EPERM));
        assert_eq!(ftruncate(&fd, 0), Err(Errno::EPERM));
        let again = reopened(&fd).unwrap();
        assert_eq!(Segment::open(&again).unwrap_err().errno, Errno::EPERM);
        assert_eq!(nix::sys::uio::pwrite(&again, &[1; 8], 0), Err(Errno::EPERM));
    }

    #[test]
    fn memory_is_reserved_after_sealing_and_not_beyond_the_end() {
        let (_segment, fd) = Segment::create_published(c"test", 1024).unwrap();
        reserve(&fd, &(512..1024)).unwrap();
        assert_eq!(fstat(&fd).unwrap().st_blocks, 8, "a page, in blocks of 512 bytes");
        assert_eq!(reserve(&fd, &(1024..2048)).unwrap_err().errno, Errno::EPERM);
    }

    #[test]
    fn only_mappings_from_before_the_seal_can_be_written_to() {
        let unsealed = Unsealed::new(c"test", 512).unwrap();
        let theirs = Segment::open(&unsealed).unwrap();
        let (ours, fd) = unsealed.seal().unwrap();
        theirs.as_ref()[1].store(5, Ordering::Release);
        assert_eq!(ours.load(1, Ordering::Acquire), 5);
        assert_eq!(Segment::open(&fd).unwrap_err().errno, Errno::EPERM);
        assert_eq!(Segment::open(&reopened(&fd).unwrap()).unwrap_err().errno, Errno::EPERM);
        let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        assert_eq!(fallocate(&fd, punch, 0, 4096), Err(Errno::EPERM));
        assert_eq!(ftruncate(&fd, 0), Err(Errno::EPERM));
    }

    #[test]
    fn both_sides_write_to_shared_memory() {
        let (ours, fd) = Segment::create_shared(c"test", 512).unwrap();
        let theirs = Segment::open(&fd).unwrap();
        theirs.as_ref()[1].store(5, Ordering::Release);
        assert_eq!(ours.as_ref()[1].load(Ordering::Acquire), 5);
        assert_eq!(ftruncate(&fd, 0), Err(Errno::EPERM));
    }

    #[test]
    fn other_descriptors_than_memory_are_refused() {
        assert!(Published::open(&std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
