//! Executing another program in this process.

use std::env;
use std::ffi::CStr;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{IntoRawFd, RawFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{AccessFlags, access};

use super::error::{Doing, SysError};

/// Finds a program in `PATH`.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let is_program = |file: &PathBuf| file.is_file() && access(file, AccessFlags::X_OK).is_ok();
    env::split_paths(&path).map(|directory| directory.join(name)).find(is_program)
}

/// Whether a file is an ELF file, not a script.
#[must_use]
pub fn is_binary(file: &Path) -> bool {
    let mut start = [0; 4];
    File::open(file).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == *b"\x7fELF"
}

/// Leaves a text to the program that this process executes next, which reads it from this number.
pub fn leave_text(name: &CStr, text: &[u8]) -> Result<RawFd, SysError> {
    let doing = "leaving a text to the next program";
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC).doing(doing)?;
    let mut file = File::from(fd);
    file.write_all(text).and_then(|()| file.rewind()).doing(doing)?;
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).doing(doing)?;
    Ok(file.into_raw_fd())
}

#[cfg(test)]
mod tests {
    use std::os::fd::FromRawFd as _;

    use super::*;

    #[test]
    fn a_program_is_found_and_a_script_is_none() {
        let shell = find("sh").unwrap();
        assert!(shell.is_absolute() && is_binary(&shell.canonicalize().unwrap()));
        assert_eq!(find("there-is-no-such-program"), None);
        let script = env::temp_dir().join(format!("rcluster-program-{}", std::process::id()));
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        assert!(!is_binary(&script));
        std::fs::remove_file(&script).unwrap();
    }

    #[test]
    fn the_next_program_reads_the_text_from_its_beginning() {
        let number = leave_text(c"text", b"a plan").unwrap();
        // SAFETY: the number is new, and this takes ownership of it, as the next program would.
        let mut file = unsafe { File::from_raw_fd(number) };
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "a plan");
        assert_eq!(fcntl(&file, FcntlArg::F_GETFD).unwrap(), 0, "it is inherited");
    }
}
