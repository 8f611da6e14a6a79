//! Terminals: for an engine by the console socket, for a person in the foreground.
use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::json;

use super::lab::{Bundle, Lab, PATIENCE, eventually};

fn with_terminal(bundle: Bundle) -> Bundle {
    bundle.with(|config| {
        config["process"]["terminal"] = true.into();
        config["process"]["consoleSize"] = json!({ "height": 33, "width": 77 });
    })
}

/// What an engine does: listens, and gets the master end.
fn receive(listener: &UnixListener) -> File {
    let mut ready = [PollFd::new(listener, PollFlags::IN)];
    let limit = Timespec::try_from(PATIENCE).unwrap();
    assert_eq!(
        poll(&mut ready, Some(&limit)).unwrap(),
        1,
        "nobody connects"
    );
    let (socket, _) = listener.accept().unwrap();
    let mut name = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut name)];
    let message = recvmsg(&socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    assert!(
        message.bytes > 0,
        "engines expect a name beside the descriptor"
    );
    let mut messages = ancillary.drain();
    let fd = messages.find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    File::from(fd.unwrap())
}

/// Reads until the text has come, the other side has closed, or it takes too long.
fn read_until(master: &mut File, text: &str) -> String {
    let start = std::time::Instant::now();
    let mut seen = String::new();
    let mut buffer = [0; 1024];
    while !seen.contains(text) && start.elapsed() < PATIENCE {
        let mut ready = [PollFd::new(master, PollFlags::IN)];
        let tick = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        if poll(&mut ready, Some(&tick)).unwrap() == 0 {
            continue;
        }
        match master.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => seen.push_str(&String::from_utf8_lossy(&buffer[..length])),
        }
    }
    assert!(seen.contains(text), "{seen:?} should contain {text:?}");
    seen
}

#[test]
fn an_engine_gets_the_master_end() {
    let Some(lab) = Lab::open("an_engine_gets_the_master_end") else {
        return;
    };
    let bundle = with_terminal(lab.bundle("tty; read -r line; echo got $line; sleep 1000"));
    let socket = lab.path("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let path = socket.to_str().unwrap();
    let id = lab.id();
    lab.detached(&[
        "create",
        "--bundle",
        bundle.dir(),
        "--console-socket",
        path,
        &id,
    ]);
    let mut master = receive(&listener);
    lab.ok(&["start", &id]);
    read_until(&mut master, "/dev/pts/0");
    master.write_all(b"word\n").unwrap();
    read_until(&mut master, "got word");
    exec_with_terminal(&lab, &id, &listener, path);
}

fn exec_with_terminal(lab: &Lab, id: &str, listener: &UnixListener, socket: &str) {
    let process = lab.path("process.json");
    let object = json!({
        "terminal": true, "user": { "uid": 0, "gid": 0 }, "cwd": "/", "env": ["PATH=/bin"],
        "args": ["sh", "-c", "tty; stty size; ls -l /proc/self/fd/0"],
        "consoleSize": { "height": 33, "width": 77 },
    });
    std::fs::write(&process, object.to_string()).unwrap();
    let pid_file = lab.path("exec.pid");
    let args = [
        "exec",
        "--detach",
        "--pid-file",
        pid_file.to_str().unwrap(),
        "--console-socket",
        socket,
        "--process",
        process.to_str().unwrap(),
        id,
    ];
    lab.ok(&args);
    let text = read_until(&mut receive(listener), "/dev/pts/");
    if lab.is_ours() {
        assert!(text.contains("/dev/pts/1"), "{text}");
    }
    super::lab::reap(&pid_file);
}

#[test]
fn a_terminal_needs_a_place_to_go() {
    let Some(lab) = Lab::open("a_terminal_needs_a_place_to_go") else {
        return;
    };
    let bundle = with_terminal(lab.bundle("true"));
    lab.fails(&["create", "--bundle", bundle.dir(), &lab.id()]);
    lab.fails(&[
        "create",
        "--bundle",
        bundle.dir(),
        "--console-socket",
        "/no/s",
        &lab.id(),
    ]);
    let bundle = lab.bundle("true");
    let socket = lab.path("s");
    let _listener = UnixListener::bind(&socket).unwrap();
    let path = socket.to_str().unwrap();
    lab.fails(&[
        "create",
        "--bundle",
        bundle.dir(),
        "--console-socket",
        path,
        &lab.id(),
    ]);
}

/// A terminal as a person has it: the master end is the person's.
fn person() -> (File, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
    let size = Winsize {
        ws_row: 21,
        ws_col: 63,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&master, size).unwrap();
    (File::from(master), slave)
}

/// A runtime at a terminal; it does not outlive the test.
struct Foreground(std::process::Child);

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn at_terminal(command: &mut Command, slave: &OwnedFd) -> Foreground {
    let end = || slave.try_clone().unwrap();
    Foreground(
        command
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap(),
    )
}

#[test]
fn a_person_types_into_the_container() {
    let Some(lab) = Lab::open("a_person_types_into_the_container") else {
        return;
    };
    let script = "tty; stty size; read -r line; echo got $line; exit 6";
    let bundle = with_terminal(lab.bundle(script));
    let (mut master, slave) = person();
    let before = rustix::termios::tcgetattr(&slave).unwrap();
    let mut command = lab.command(&["run", "--bundle", bundle.dir(), &lab.id()]);
    let mut child = at_terminal(&mut command, &slave);
    let seen = read_until(&mut master, "21 63");
    assert!(seen.contains("/dev/pts/0"), "{seen}");
    master.write_all(b"word\n").unwrap();
    read_until(&mut master, "got word");
    assert_eq!(child.0.wait().unwrap().code(), Some(6));
    let after = rustix::termios::tcgetattr(&slave).unwrap();
    assert_eq!(
        before.local_modes, after.local_modes,
        "the terminal must be put back"
    );
}

#[test]
fn the_size_follows_the_person() {
    let Some(lab) = Lab::open("the_size_follows_the_person") else {
        return;
    };
    let script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done";
    let bundle = with_terminal(lab.bundle(script));
    let (mut master, slave) = person();
    let mut command = lab.command(&["run", "--bundle", bundle.dir(), &lab.id()]);
    let child = at_terminal(&mut command, &slave);
    read_until(&mut master, "ready");
    let size = Winsize {
        ws_row: 10,
        ws_col: 40,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&master, size).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.0.id()).unwrap()).unwrap();
    // The kernel tells a session that has the terminal; ours is no session leader's.
    rustix::process::kill_process(pid, rustix::process::Signal::WINCH).unwrap();
    read_until(&mut master, "10 40");
}

#[test]
fn exec_relays_a_terminal() {
    let Some(lab) = Lab::open("exec_relays_a_terminal") else {
        return;
    };
    let bundle = lab.bundle("exec sleep 1000");
    let id = lab.id();
    lab.detached(&["run", "--detach", "--bundle", bundle.dir(), &id]);
    let (mut master, slave) = person();
    let mut command = lab.command(&["exec", "--tty", &id, "sh", "-c", "tty; stty size; exit 4"]);
    let mut child = at_terminal(&mut command, &slave);
    let text = read_until(&mut master, "21 63");
    assert!(text.contains("/dev/pts/"), "{text}");
    assert_eq!(child.0.wait().unwrap().code(), Some(4));
    eventually("the console", || Path::new("/dev/pts").exists());
}
