//! The HTTP API on 10250 as a client with TLS has it: curl, with certificates and tokens, right and wrong ones.
#[path = "api/doors.rs"]
mod doors;
#[path = "api/logs.rs"]
mod logs;
#[path = "api/numbers.rs"]
mod numbers;
#[path = "api/pods.rs"]
mod pods;
#[path = "api/verbs.rs"]
mod verbs;

use rkube_tests::Host;
use serde_json::Value;
use std::net::TcpStream;

/// The address of the daemon on its own host.
const URL: &str = "https://127.0.0.1:10250";

/// What curl got.
struct Got {
    code: u16,
    head: String,
    body: Vec<u8>,
    stderr: String,
}

impl Got {
    #[track_caller]
    fn code(self, code: u16) -> Self {
        let text = self.text();
        assert_eq!(self.code, code, "{}{text}{}", self.head, self.stderr);
        self
    }
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|err| panic!("{err}: {}", self.text()))
    }
    /// A v1 Status with this reason; its message.
    #[track_caller]
    fn status(&self, reason: &str) -> String {
        let status = self.json();
        assert_eq!(status["kind"], "Status", "{status}");
        assert_eq!(status["reason"], reason, "{status}");
        status["message"].as_str().unwrap().to_owned()
    }
}

/// `curl` on the host with these arguments; a path is one of the daemon's.
#[track_caller]
fn curl(host: &Host, arguments: &[&str]) -> Got {
    let head = host.dir().join("head");
    let _ = std::fs::remove_file(&head);
    let mut command = host.command("curl");
    command.args([
        "--silent",
        "--show-error",
        "--max-time",
        "60",
        "--path-as-is",
    ]);
    command.arg("--dump-header").arg(&head);
    let mut before = "";
    for argument in arguments {
        let file = matches!(before, "--cacert" | "--cert" | "--key" | "--unix-socket");
        match argument.starts_with('/') && !file {
            true => command.arg(format!("{URL}{argument}")),
            false => command.arg(argument),
        };
        before = argument;
    }
    println!("> curl {arguments:?}");
    let output = command.output().unwrap();
    let head = std::fs::read_to_string(head).unwrap_or_default();
    // After a 100 there is a second one.
    let last = head
        .split("\r\n\r\n")
        .filter(|part| !part.is_empty())
        .last();
    let last = last.unwrap_or_default().to_owned();
    let code = last.split(' ').nth(1).and_then(|code| code.parse().ok());
    Got {
        code: code.unwrap_or(0),
        head: last,
        body: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The file of the daemon's own authority.
fn ca(host: &Host) -> String {
    path(host, "ca.crt")
}

fn path(host: &Host, name: &str) -> String {
    host.root()
        .join("pki")
        .join(name)
        .to_string_lossy()
        .into_owned()
}

/// The header with root's own token.
fn token(host: &Host) -> String {
    let token = std::fs::read_to_string(path(host, "token")).unwrap();
    format!("Authorization: Bearer {}", token.trim())
}

/// Asks with root's own token.
#[track_caller]
fn ask(host: &Host, arguments: &[&str]) -> Got {
    let (ca, token) = (ca(host), token(host));
    let mut all = vec!["--cacert", &ca, "-H", &token];
    all.extend(arguments);
    curl(host, &all)
}

/// A connection to the port that says nothing of TLS.
fn connect(host: &Host) -> TcpStream {
    let stream = host
        .netns()
        .inside(|| TcpStream::connect("127.0.0.1:10250"))
        .unwrap();
    let limit = rkube_tests::limit(std::time::Duration::from_secs(60));
    stream.set_read_timeout(Some(limit)).unwrap();
    stream
}
