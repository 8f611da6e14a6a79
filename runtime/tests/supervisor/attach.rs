//! Attached clients: output as it comes, input, terminals.

use std::io::{Read, Write};
use std::os::fd::AsFd;

use rkube_runtime::supervisor::{Attach, Failure, SupervisorError};

use crate::bed::{Pod, Wishes, able, eventually, open_fds};

#[test]
fn output_is_copied_and_input_passed_on() {
    if !able("output_is_copied_and_input_passed_on") {
        return;
    }
    let mut pod = Pod::new();
    pod.run(
        "web",
        "exec cat",
        Wishes {
            stdin: true,
            ..Wishes::default()
        },
    );
    let (mut reader, writer) = std::io::pipe().unwrap();
    let what = Attach {
        stdin: true,
        stdout: true,
        stderr: false,
    };
    let stdin = pod
        .supervisor
        .attach("web", what, &[writer.as_fd()])
        .unwrap()
        .unwrap();
    drop(writer);
    let mut stdin = std::fs::File::from(stdin);
    stdin.write_all(b"hello\n").unwrap();
    let mut line = [0; 6];
    reader.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"hello\n");
    eventually("it is logged too", || {
        pod.lines("web.log") == ["stdout F hello"]
    });
    pod.supervisor.close_stdin("web").unwrap();
    assert!(
        pod.supervisor.snapshot().unwrap()[0].pidfd.is_some(),
        "we still hold the input open"
    );
    drop(stdin);
    assert_eq!(pod.exited("web").exited.code, 0);
    assert_eq!(
        reader.read(&mut line).unwrap(),
        0,
        "the copy ends with the container"
    );
}

#[test]
fn clients_that_go_away_are_let_go() {
    if !able("clients_that_go_away_are_let_go") {
        return;
    }
    let mut pod = Pod::new();
    pod.run("web", "exec sleep 1000", Wishes::default());
    let before = open_fds(pod.supervisor.pid()).len();
    for _ in 0..1000 {
        let (reader, writer) = std::io::pipe().unwrap();
        let both = Attach {
            stdin: false,
            stdout: true,
            stderr: true,
        };
        pod.supervisor
            .attach("web", both, &[writer.as_fd(), writer.as_fd()])
            .unwrap();
        drop((reader, writer));
    }
    eventually("their descriptors are closed", || {
        open_fds(pod.supervisor.pid()).len() == before
    });
    let none = Attach {
        stdin: true,
        ..Attach::default()
    };
    assert!(matches!(
        pod.supervisor.attach("web", none, &[]),
        Err(SupervisorError::Refused {
            failure: Failure::State,
            ..
        })
    ));
}

#[test]
fn a_slow_client_stops_nobody() {
    if !able("a_slow_client_stops_nobody") {
        return;
    }
    let mut pod = Pod::new();
    let script = "read x; yes | head -n 500000; echo end";
    pod.run(
        "web",
        script,
        Wishes {
            stdin: true,
            ..Wishes::default()
        },
    );
    let (_reader, writer) = std::io::pipe().unwrap();
    let what = Attach {
        stdin: true,
        stdout: true,
        stderr: false,
    };
    let stdin = pod
        .supervisor
        .attach("web", what, &[writer.as_fd()])
        .unwrap()
        .unwrap();
    std::fs::File::from(stdin).write_all(b"\n").unwrap();
    assert_eq!(pod.exited("web").exited.code, 0);
    assert!(pod.log("web.log").ends_with("stdout F end\n"));
}

#[test]
fn a_terminal_is_logged_and_resized() {
    if !able("a_terminal_is_logged_and_resized") {
        return;
    }
    let mut pod = Pod::new();
    let script = "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo yes >&2; read x; stty size; exit 2";
    pod.run(
        "web",
        script,
        Wishes {
            tty: true,
            stdin: true,
            ..Wishes::default()
        },
    );
    eventually("it has a terminal", || {
        pod.log("web.log").contains("stdout F yes")
    });
    let what = Attach {
        stdin: true,
        ..Attach::default()
    };
    let master = pod.supervisor.attach("web", what, &[]).unwrap().unwrap();
    let size = rustix::termios::Winsize {
        ws_row: 33,
        ws_col: 101,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&master, size).unwrap();
    std::fs::File::from(master).write_all(b"\n").unwrap();
    assert_eq!(pod.exited("web").exited.code, 2);
    assert!(
        pod.log("web.log").contains("stdout F 33 101"),
        "{}",
        pod.log("web.log")
    );
}

#[test]
fn a_short_lived_terminal_is_logged_too() {
    if !able("a_short_lived_terminal_is_logged_too") {
        return;
    }
    let mut pod = Pod::new();
    for n in 0..20 {
        let name = format!("job{n}");
        let wishes = Wishes {
            tty: true,
            ..Wishes::default()
        };
        pod.run(
            &name,
            "for i in 1 2 3 4 5 6 7 8 9; do echo line $i; done",
            wishes,
        );
        pod.exited(&name);
        let lines = pod.lines(&format!("{name}.log"));
        assert_eq!(lines.len(), 9, "{lines:?}");
    }
}
