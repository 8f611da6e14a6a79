//! Clients that mean no good: the supervisor neither falls nor leaks.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};

use crate::bed::{Pod, Wishes, able, eventually, open_fds};

fn connect(dir: &Path) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    rustix::net::connect(&socket, &SocketAddrUnix::new(dir.join("s")).unwrap()).unwrap();
    socket
}

/// Sends what cannot be refused by the sender's own kernel; the connection may be gone already.
fn send(socket: &OwnedFd, message: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(message)],
        &mut control,
        SendFlags::NOSIGNAL,
    )
    .is_ok()
}

/// A generator good enough for noise, the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// The pod still answers, runs what it ran, and has closed what it was sent.
#[track_caller]
fn unharmed(pod: &mut Pod, fds: usize) {
    let shown = pod.supervisor.snapshot().unwrap();
    assert_eq!(
        shown.iter().filter(|c| c.pidfd.is_some()).count(),
        1,
        "{shown:?}"
    );
    let pid = pod.supervisor.pid();
    // Fewer is as well: when they were counted, the container's start may just have been under way.
    eventually("all descriptors are closed", || open_fds(pid).len() <= fds);
}

#[test]
fn noise_is_thrown_away() {
    if !able("noise_is_thrown_away") {
        return;
    }
    let mut pod = Pod::new();
    pod.run("web", "exec sleep 1000", Wishes::default());
    let before = open_fds(pod.supervisor.pid()).len();
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let null = std::fs::File::open("/dev/null").unwrap();
    for _ in 0..3000 {
        let socket = connect(&pod.dir);
        let len = usize::try_from(noise.next() % 200).unwrap();
        let message: Vec<u8> = (0..len.max(1))
            .map(|_| noise.next().to_le_bytes()[3])
            .collect();
        let fds = vec![null.as_fd(); usize::try_from(noise.next() % 4).unwrap()];
        send(&socket, &message, &fds);
    }
    unharmed(&mut pod, before);
}

#[test]
fn good_headers_with_bad_bodies_are_refused() {
    if !able("good_headers_with_bad_bodies_are_refused") {
        return;
    }
    let mut pod = Pod::new();
    pod.run("web", "exec sleep 1000", Wishes::default());
    let id = pod.supervisor.snapshot().unwrap()[0].id;
    let before = open_fds(pod.supervisor.pid()).len();
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    let null = std::fs::File::open("/dev/null").unwrap();
    let memfd = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let socket = connect(&pod.dir);
    for round in 0..20_000_u32 {
        // Everything but Start, Signal, Forget and Shutdown, which would be carried out.
        let kind = [1, 2, 2, 2, 4, 4, 4, 6, 8, 9, 32, 64, 66, 96, 0, 255]
            [usize::try_from(noise.next() % 16).unwrap()];
        let body: Vec<u8> = (0..noise.next() % 96)
            .map(|_| noise.next().to_le_bytes()[5] % 6)
            .collect();
        let mut message = u32::try_from(16 + body.len())
            .unwrap()
            .to_le_bytes()
            .to_vec();
        message.extend([1, kind, 0, 0]);
        message.extend((round + 1).to_le_bytes());
        message.extend(
            if noise.next().is_multiple_of(2) {
                id
            } else {
                77
            }
            .to_le_bytes(),
        );
        message.extend(&body);
        let fds = [memfd.as_fd(), null.as_fd(), null.as_fd(), null.as_fd()];
        let count = usize::try_from(noise.next() % 5).unwrap();
        let socket = if kind == 0 || kind == 255 {
            &connect(&pod.dir)
        } else {
            &socket
        };
        send(socket, &message, &fds[..count]);
        // Take the answer, or the supervisor will take us for dead.
        let mut answer = [0; 4096];
        while rustix::net::recv(socket, &mut answer, RecvFlags::DONTWAIT)
            .is_ok_and(|(_, len)| len > 0)
        {}
    }
    drop(socket);
    unharmed(&mut pod, before);
}

#[test]
fn messages_that_are_too_large_end_the_connection() {
    if !able("messages_that_are_too_large_end_the_connection") {
        return;
    }
    let mut pod = Pod::new();
    pod.run("web", "exec sleep 1000", Wishes::default());
    let before = open_fds(pod.supervisor.pid()).len();
    let null = std::fs::File::open("/dev/null").unwrap();
    for len in [4097, 65_536, 200_000] {
        let socket = connect(&pod.dir);
        assert!(send(&socket, &vec![0; len], &vec![null.as_fd(); 253]));
        let mut answer = [0; 16];
        let (_, got) =
            rustix::net::recv(&socket, &mut answer, RecvFlags::empty()).unwrap_or_default();
        assert_eq!(got, 0, "{len} bytes");
    }
    unharmed(&mut pod, before);
}

#[test]
fn a_record_that_can_still_change_is_not_read() {
    if !able("a_record_that_can_still_change_is_not_read") {
        return;
    }
    let mut pod = Pod::new();
    pod.run("web", "exec sleep 1000", Wishes::default());
    let before = open_fds(pod.supervisor.pid()).len();
    let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
    let memfd = rustix::fs::memfd_create("record", flags).unwrap();
    rustix::io::write(&memfd, &[0; 4096]).unwrap();
    // A Prepare without a log, of a record of 4096 bytes: attempt, wiring, size, files, name, no
    // log name, length.
    let mut body = vec![0; 4 + 1 + 8 + 4];
    body.extend(b"\x01\0x\0\0");
    body.extend(4096_u32.to_le_bytes());
    let mut message = u32::try_from(16 + body.len())
        .unwrap()
        .to_le_bytes()
        .to_vec();
    message.extend([1, 2, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    message.extend(&body);
    let socket = connect(&pod.dir);
    let ask = || {
        assert!(send(&socket, &message, &[memfd.as_fd()]));
        let mut answer = [0; 64];
        rustix::net::recv(&socket, &mut answer, RecvFlags::empty()).unwrap();
        // Refused: call with an errno; or why = malformed.
        (
            answer[5],
            answer[16],
            i32::from_le_bytes([answer[17], answer[18], answer[19], answer[20]]),
        )
    };
    assert_eq!(ask(), (65, 6, 1), "not sealed: EPERM");
    let seals = rustix::fs::SealFlags::WRITE | rustix::fs::SealFlags::SHRINK;
    rustix::fs::fcntl_add_seals(&memfd, seals).unwrap();
    assert_eq!(ask(), (65, 1, 0), "sealed, and no record");
    drop(socket);
    unharmed(&mut pod, before);
}

#[test]
fn a_client_that_does_not_read_is_dropped() {
    if !able("a_client_that_does_not_read_is_dropped") {
        return;
    }
    let mut pod = Pod::new();
    pod.run("web", "exec sleep 1000", Wishes::default());
    let before = open_fds(pod.supervisor.pid()).len();
    let socket = connect(&pod.dir);
    let hello = [17, 0, 0, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut sent = 0;
    while send(&socket, &hello, &[]) {
        sent += 1;
        assert!(sent < 1_000_000, "it never let go");
    }
    unharmed(&mut pod, before);
}

#[test]
fn the_socket_is_roots_alone_and_has_no_abstract_name() {
    if !able("the_socket_is_roots_alone_and_has_no_abstract_name") {
        return;
    }
    let pod = Pod::with(|config| config.net = rkube_runtime::supervisor::Namespace::Host);
    let mode = std::fs::metadata(&pod.dir).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let sockets: Vec<_> = open_fds(pod.supervisor.pid())
        .into_iter()
        .filter(|name| name.starts_with("socket:"))
        .collect();
    assert!(sockets.len() >= 2, "{sockets:?}");
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    for socket in sockets {
        let inode = socket.trim_start_matches("socket:[").trim_end_matches(']');
        let line = table
            .lines()
            .find(|line| line.split_whitespace().nth(6) == Some(inode))
            .unwrap();
        let name = line.split_whitespace().nth(7).unwrap_or("");
        assert!(!name.starts_with('@'), "{line}");
    }
}

#[test]
fn a_container_on_the_hosts_network_cannot_reach_the_socket() {
    if !able("a_container_on_the_hosts_network_cannot_reach_the_socket") {
        return;
    }
    let mut pod = Pod::with(|config| config.net = rkube_runtime::supervisor::Namespace::Host);
    let dir = pod.dir.clone();
    let script = format!(
        "[ -e {}/s ] && exit 1; for f in /proc/[0-9]*; do [ -e $f/root{}/s ] && exit 2; done; exit 0",
        dir.display(),
        dir.display()
    );
    pod.run(
        "web",
        &script,
        Wishes {
            share_pid: true,
            ..Wishes::default()
        },
    );
    assert_eq!(pod.exited("web").exited.code, 0);
}

#[test]
fn another_user_is_turned_away() {
    if !able("another_user_is_turned_away") {
        return;
    }
    let mut pod = Pod::new();
    pod.run("web", "exec sleep 1000", Wishes::default());
    // Even one who gets past the directory.
    for path in [pod.logs().join(".."), pod.dir.clone()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::set_permissions(pod.dir.join("s"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let before = open_fds(pod.supervisor.pid()).len();
    let dir = pod.dir.clone();
    let got = std::thread::spawn(move || {
        // The raw calls change this thread only.
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65_534)).unwrap();
        let socket = connect(&dir);
        let mut answer = [0; 16];
        rustix::net::recv(&socket, &mut answer, RecvFlags::empty()).map(|(_, len)| len)
    });
    assert!(matches!(
        got.join().unwrap(),
        Ok(0) | Err(rustix::io::Errno::CONNRESET)
    ));
    unharmed(&mut pod, before);
}

#[test]
fn cve_2019_5736_the_supervisors_program_cannot_be_written_to() {
    if !able("cve_2019_5736") {
        return;
    }
    let mut pod = Pod::new();
    let prepared = pod.prepare("web", "true", Wishes::default());
    for pid in [pod.supervisor.pid(), prepared.pid] {
        let program = std::fs::File::open(format!("/proc/{pid}/exe")).unwrap();
        let seals = rustix::fs::fcntl_get_seals(&program).unwrap();
        let wanted = rustix::fs::SealFlags::WRITE
            | rustix::fs::SealFlags::GROW
            | rustix::fs::SealFlags::SHRINK
            | rustix::fs::SealFlags::SEAL;
        assert!(seals.contains(wanted), "{seals:?}");
    }
}
