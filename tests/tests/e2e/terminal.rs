//! `exec -it` as a person at a terminal has it: a real pseudo-terminal of 40 lines and 100 columns.
use crate::support::{pod, sh};
use rkube_tests::{Host, eventually, rkubelet_path};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::json;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

/// A command on a terminal of its own.
struct Terminal {
    master: File,
    child: Child,
    seen: Arc<Mutex<String>>,
}

impl Terminal {
    fn run(host: &Host, arguments: &[&str]) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = rustix::fs::open(
            name,
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .unwrap();
        size(&master, 40, 100);
        let end = |slave: &OwnedFd| Stdio::from(slave.try_clone().unwrap());
        // A session of its own, so that the terminal is the one that controls it.
        let mut command = host.command("setsid");
        command
            .arg("--ctty")
            .arg(rkubelet_path())
            .args(arguments)
            .env("TERM", "xterm");
        let child = command
            .stdin(end(&slave))
            .stdout(end(&slave))
            .stderr(end(&slave))
            .spawn()
            .unwrap();
        let master = File::from(master);
        let seen = Arc::new(Mutex::new(String::new()));
        let (mut reader, shared) = (master.try_clone().unwrap(), seen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // When the last descriptor of the other end is closed, reading fails with EIO.
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                shared
                    .lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        });
        Terminal {
            master,
            child,
            seen,
        }
    }

    #[track_caller]
    fn until(&self, text: &str) {
        eventually(20, &format!("{text:?} on the terminal"), || {
            self.seen.lock().unwrap().contains(text).then_some(())
        });
    }

    /// The shell asks for a line (and, at its end, where the cursor is). What is typed before, it throws away.
    #[track_caller]
    fn prompt(&self) {
        eventually(20, "the shell's prompt", || {
            let seen = self.seen.lock().unwrap();
            seen.trim_end_matches("\u{1b}[6n")
                .ends_with("# ")
                .then_some(())
        });
    }

    fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    fn code(mut self) -> Option<i32> {
        eventually(20, "the end of the command", || {
            self.child.try_wait().unwrap()
        })
        .code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        println!("on the terminal: {:?}", self.seen.lock());
        // It has usually ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(terminal: &impl std::os::fd::AsFd, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}

#[test]
fn a_shell_has_the_terminals_size_keys_and_code() {
    let Some(host) = Host::new() else { return };
    host.detach(&pod(
        "p",
        &[sh("c", "exec sleep 1000")],
        json!({"terminationGracePeriodSeconds": 0}),
    ))
    .ok();
    let mut terminal = Terminal::run(&host, &["exec", "-it", "p", "--", "sh"]);
    terminal.prompt();
    terminal.types("stty size; echo si''ze-$?\n");
    terminal.until("40 100\r\n");
    terminal.until("size-0");
    terminal.prompt();
    size(&terminal.master, 50, 120);
    terminal.types("until [ \"$(stty size)\" = '50 120' ]; do :; done; echo resi''zed\n");
    terminal.until("resized");
    terminal.prompt();
    // Ctrl-C is the container's business: it ends what runs there, not the shell nor us.
    terminal.types("echo be''gun; sleep 1000\n");
    terminal.until("begun");
    terminal.types("\x03");
    terminal.prompt();
    terminal.types("echo co''de $?\n");
    terminal.until("code 130");
    terminal.prompt();
    terminal.types("exit 5\n");
    assert_eq!(terminal.code(), Some(5));
    host.rkubelet(&["rm", "-f", "p"]).run().ok();
}
