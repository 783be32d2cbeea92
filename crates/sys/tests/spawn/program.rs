//! The program that a child executes, or why it cannot.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::errno::Errno;
use rcluster_sys::exit::Exit;
use rcluster_sys::spawn::Spawn;

use super::{
    Directory, both_ways, c_path, command, failure, outcome, output, own_process, share_process, shell,
    strings,
};

#[test]
fn the_step_that_failed_is_named() {
    let _shared = share_process();
    let directory = Directory::new("failures");
    let plain = directory.write("plain", "no program", 0o644);
    let missing = directory.0.join("missing");
    let file = |path: &Path| command(&[path.to_str().unwrap()]);
    let executing = |errno| ("executing a program", errno);
    let entering = |errno| ("entering the working directory", errno);
    let cases = [
        (file(&missing), executing(Errno::ENOENT)),
        (file(&plain), executing(Errno::EACCES)),
        (file(&directory.0), executing(Errno::EACCES)),
        (file(&plain.join("below")), executing(Errno::ENOTDIR)),
        (command(&["no-such-program-anywhere"]), executing(Errno::ENOENT)),
        (command(&[""]), executing(Errno::ENOENT)),
        (Spawn { cwd: Some(c_path(&missing)), ..shell("") }, entering(Errno::ENOENT)),
        (Spawn { cwd: Some(c_path(&plain)), ..shell("") }, entering(Errno::ENOTDIR)),
    ];
    for (spawn, expected) in cases {
        for spawn in both_ways(&spawn) {
            assert_eq!(failure(&spawn), expected, "{spawn:?}");
        }
    }
}

#[test]
fn the_path_of_the_new_environment_is_searched() {
    let _shared = share_process();
    let directory = Directory::new("path");
    let tool = |name: &str, target: Option<&str>| {
        let path = directory.0.join(name);
        fs::create_dir(&path).unwrap();
        match target {
            Some(target) => symlink(target, path.join("tool")).unwrap(),
            None => fs::write(path.join("tool"), "").unwrap(),
        }
        path.to_str().unwrap().to_owned()
    };
    let echo = tool("echo", Some("/bin/echo"));
    let fails = tool("false", Some("/bin/false"));
    let forbidden = tool("forbidden", None);
    let with = |path: &str| Spawn { env: strings(&["A=b", path]), ..command(&["tool", "found"]) };

    assert_eq!(output(&with(&format!("PATH=/missing:{echo}:{fails}"))), "found\n");
    assert_eq!(outcome(&with(&format!("PATH={fails}:{echo}")), &[]).0, Exit::Code(1));
    assert_eq!(output(&with(&format!("PATH={forbidden}:{echo}"))), "found\n");
    assert_eq!(failure(&with(&format!("PATH={forbidden}:/missing"))).1, Errno::EACCES);
    assert_eq!(failure(&with("PATH=/missing")).1, Errno::ENOENT);
    // An empty entry means the working directory, and a relative one is resolved against it.
    for path in ["PATH=:/missing", "PATH="] {
        assert_eq!(output(&Spawn { cwd: Some(CString::new(&*echo).unwrap()), ..with(path) }), "found\n");
    }
    assert_eq!(output(&Spawn { cwd: Some(c_path(&directory.0)), ..with("PATH=echo") }), "found\n");
    assert_eq!(output(&Spawn { env: vec![], ..command(&["echo", "default"]) }), "default\n");
}

#[test]
fn a_script_without_an_interpreter_goes_to_the_shell() {
    let _alone = own_process();
    let directory = Directory::new("script");
    let path = directory.write("script", "echo \"$0 $1 $#\"", 0o755);
    let path = path.to_str().unwrap();
    assert_eq!(output(&command(&[path, "one", "two"])), format!("{path} one 2\n"));
    assert_eq!(output(&command(&[path])), format!("{path}  0\n"));
}

#[test]
fn arguments_environment_and_directory_are_as_given() {
    let _shared = share_process();
    let directory = Directory::new("cwd");
    let args = strings(&["another name", "/proc/self/cmdline"]);
    let cat = Spawn { args, ..command(&["/bin/cat"]) };
    assert_eq!(output(&cat), "another name\0/proc/self/cmdline\0");
    let env = strings(&["Z=last first", "EMPTY=", "A=b=c", "UMLAUT=ä"]);
    let text = output(&Spawn { env, ..command(&["/usr/bin/env"]) });
    assert_eq!(text, "Z=last first\nEMPTY=\nA=b=c\nUMLAUT=ä\n");
    let cwd = Some(c_path(&directory.0));
    let text = output(&Spawn { cwd, ..command(&["/bin/pwd"]) });
    assert_eq!(Path::new(text.trim_end()), directory.0);
    let ours = std::env::current_dir().unwrap();
    assert_eq!(Path::new(output(&command(&["/bin/pwd"])).trim_end()), ours);
}
