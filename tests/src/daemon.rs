//! The daemon of a host: `rkubelet serve`, watched; and its API by the socket that root has.
use crate::host::Host;
use crate::invocation::{Outcome, Running};
use crate::wait::{eventually, patience};
use rustix::process::Signal;
use serde_json::Value;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A daemon that runs. It is killed when the value goes; its pods go with the host.
#[derive(Debug)]
pub struct Daemon {
    running: Running,
    socket: PathBuf,
}

/// What the API answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head: the status line and the headers.
    pub head: String,
    /// What follows.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|err| panic!("{err}: {}\n{}", self.head, self.text()))
    }
    /// Insists on a status.
    ///
    /// # Panics
    /// When it is another.
    #[must_use]
    #[track_caller]
    pub fn status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.text());
        self
    }
}

impl Host {
    /// Where [`Host::manifest`] puts manifests, and where [`Host::serve`] reads them.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        let dir = self.dir().join("manifests");
        std::fs::create_dir_all(&dir).expect("a new directory");
        dir
    }

    /// Puts a manifest into the directory at once, as careful editors do; `name` has no suffix.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn manifest(&self, name: &str, text: &str) {
        let dir = self.manifests();
        let hidden = dir.join(format!(".{name}.new"));
        std::fs::write(&hidden, text).expect("a new file");
        std::fs::rename(hidden, dir.join(format!("{name}.yaml"))).expect("the same directory");
    }

    /// Takes a manifest out of the directory.
    ///
    /// # Panics
    /// When it is not there.
    pub fn remove_manifest(&self, name: &str) {
        std::fs::remove_file(self.manifests().join(format!("{name}.yaml"))).expect("it was there");
    }

    /// Starts `rkubelet serve` with more `arguments` and waits until it says that it is ready.
    #[must_use]
    #[track_caller]
    pub fn serve(&self, arguments: &[&str]) -> Daemon {
        self.serve_env(arguments, &[])
    }

    /// The same with variables of its environment.
    ///
    /// # Panics
    /// When it ends instead of getting ready.
    #[must_use]
    #[track_caller]
    pub fn serve_env(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Daemon {
        self.image();
        let manifests = self.manifests();
        let path = self.dir().join("notify");
        let _ = std::fs::remove_file(&path);
        let notify = UnixDatagram::bind(&path).expect("a new socket");
        notify
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a time above 0");
        let config = manifests.to_string_lossy().into_owned();
        let mut all = vec!["serve", "--config", &config];
        // How full the disk of the machine is that runs the tests is none of their business; the settings that a host
        // has by itself say so already.
        let says = |one: &&str| {
            let file = std::fs::read_to_string(one).unwrap_or_default();
            one.starts_with("--eviction-hard") || file.contains("evictionHard")
        };
        if arguments.contains(&"--config-file") && !arguments.iter().any(says) {
            all.push("--eviction-hard=memory.available<1Mi");
        }
        all.extend(arguments);
        let mut invocation = self.rkubelet(&all).env("NOTIFY_SOCKET", &path);
        for (name, value) in environment {
            invocation = invocation.env(name, value);
        }
        let mut running = invocation.start();
        let mut buffer = [0; 4096];
        eventually(20, "the daemon says that it is ready", || {
            match notify.recv(&mut buffer) {
                Ok(count) => String::from_utf8_lossy(&buffer[..count])
                    .lines()
                    .any(|line| line == "READY=1")
                    .then_some(()),
                Err(_) => {
                    assert!(!running.ended(), "the daemon ended:\n{}", running.stderr());
                    None
                }
            }
        });
        Daemon {
            running,
            socket: self.run_root().join("kubelet.sock"),
        }
    }

    /// The pod called `name` as `rkubelet ps -a -o json` has it.
    ///
    /// # Panics
    /// When `ps` fails.
    #[must_use]
    #[track_caller]
    pub fn listed(&self, name: &str) -> Option<Value> {
        let list = self.rkubelet(&["ps", "-a", "-o", "json"]).run().ok().stdout;
        let mut list: Value = serde_json::from_str(&list).expect("ps writes JSON");
        let pods = list["items"].as_array_mut().map(std::mem::take);
        pods.unwrap_or_default()
            .into_iter()
            .find(|pod| pod["metadata"]["name"] == name)
    }

    /// Waits until the pod called `name` is in `phase`; it then, as `ps` has it.
    ///
    /// # Panics
    /// When it does not come to that.
    #[track_caller]
    pub fn await_phase(&self, name: &str, phase: &str) -> Value {
        eventually(30, &format!("pod {name} is {phase}"), || {
            self.listed(name)
                .filter(|pod| pod["status"]["phase"] == phase)
        })
    }
}

impl Daemon {
    /// The process.
    #[must_use]
    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }
    /// Its id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }
    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.running.stderr()
    }
    /// Asks it to end, and waits for that. Its pods go on.
    #[track_caller]
    pub fn stop(self) -> Outcome {
        self.running.signal(Signal::TERM);
        self.running.wait().ok()
    }
    /// Kills it where it stands.
    #[track_caller]
    pub fn kill(self) -> Outcome {
        self.running.signal(Signal::KILL);
        self.running.wait().code(137)
    }
    /// Where root asks the API.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks the API; `target` is a path with its query.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn ask(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        println!("> {method} {target}");
        ask(&self.socket, method, target, body)
            .unwrap_or_else(|err| panic!("{method} {target}: {err}"))
    }
    /// Gets `target`.
    #[track_caller]
    pub fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, b"")
    }
}

/// One request over a socket; all of the answer.
fn ask(socket: &Path, method: &str, target: &str, body: &[u8]) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patience(30)))?;
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    // It may answer, and hang up, before it has read all of a body that it does not want.
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(err) if bytes.is_empty() => return Err(err),
        _ => {}
    }
    parse(&bytes).ok_or_else(|| io::Error::other(String::from_utf8_lossy(&bytes).into_owned()))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let lower = head.to_ascii_lowercase();
    let body = &bytes[end + 4..];
    let body = if lower.contains("transfer-encoding: chunked") {
        joined(body)?
    } else {
        body.to_vec()
    };
    Some(Answer { status, head, body })
}

/// A body in chunks, without them.
fn joined(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let start = end + 2;
        body.extend_from_slice(rest.get(start..start + size)?);
        rest = rest.get(start + size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let answer = parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n");
        let answer = answer.unwrap().status(200);
        assert_eq!(answer.text(), "hello!");
        let answer = parse(b"HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n{\"code\":404}").unwrap();
        assert_eq!(
            (answer.status, answer.json()["code"].as_u64()),
            (404, Some(404))
        );
        assert_eq!(parse(b"nothing"), None);
    }
}
