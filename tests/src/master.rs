//! A master of a test's own: `rkube-master` in a network namespace, and the clients of a cluster beside it.
use crate::host::{Host, beside};
use crate::invocation::{Invocation, Outcome, Running};
use crate::netns::NetNs;
use crate::wait::eventually;
use rustix::process::Signal;
use serde_json::Value;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// An `rkube-master` with its data in a directory of its own, on 127.0.0.1:6443 of a namespace of its own.
#[derive(Debug)]
pub struct Master {
    running: Option<Running>,
    arguments: Vec<String>,
    netns: NetNs,
    dir: TempDir,
}

/// A client of `hack/clients.sh`; without it, a line of why the test is skipped.
#[must_use]
pub fn client(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/clients/bin")
        .join(name);
    if path.exists() {
        return Some(path);
    }
    let thread = std::thread::current();
    println!(
        "SKIP {}: needs {name} of hack/clients.sh",
        thread.name().unwrap_or("?")
    );
    None
}

impl Master {
    /// Starts one and waits until it serves; `None` and a line of why where there can be no network namespace.
    #[must_use]
    #[track_caller]
    pub fn start() -> Option<Self> {
        Master::with(&[])
    }

    /// The same with more arguments.
    ///
    /// # Panics
    /// When it does not come to serve.
    #[must_use]
    #[track_caller]
    pub fn with(arguments: &[&str]) -> Option<Self> {
        let mut master = Master::stopped(arguments)?;
        master.resume();
        Some(master)
    }

    /// The same, not started yet: for settings that name files in its directory.
    ///
    /// # Panics
    /// When its directory cannot be made.
    #[must_use]
    pub fn stopped(arguments: &[&str]) -> Option<Self> {
        let netns = match NetNs::new() {
            Ok(netns) => netns,
            Err(err) => {
                let thread = std::thread::current();
                let test = thread.name().unwrap_or("?");
                println!("SKIP {test}: cannot make a network namespace ({err})");
                return None;
            }
        };
        Some(Master::of(netns, arguments))
    }

    /// The same on a host that others share, started.
    #[must_use]
    #[track_caller]
    pub fn on(host: &Host, arguments: &[&str]) -> Self {
        let mut master = Master::of(host.netns().again(), arguments);
        master.resume();
        master
    }

    /// Another one in the same network namespace, not started yet.
    #[must_use]
    pub fn beside(&self, arguments: &[&str]) -> Self {
        Master::of(self.netns.again(), arguments)
    }

    fn of(netns: NetNs, arguments: &[&str]) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("rkube-e2e.")
            .tempdir_in("/var/tmp")
            .expect("a temporary directory");
        Master {
            running: None,
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            netns,
            dir,
        }
    }

    /// A kubeconfig of its own for a node, in the master's directory.
    ///
    /// # Panics
    /// When none is made.
    #[must_use]
    #[track_caller]
    pub fn node_kubeconfig(&self, node: &str) -> PathBuf {
        let program = beside("rkube-master");
        let mut command = self.command(program.to_str().expect("a path that is text"));
        let user = format!("system:node:{node}");
        let server = "https://127.0.0.1:6443";
        command.args([
            "kubeconfig",
            "--user",
            &user,
            "--group",
            "system:nodes",
            "--server",
            server,
        ]);
        command.arg("--data-dir").arg(self.data());
        let made = Invocation::new(command, format!("rkube-master kubeconfig --user {user}"))
            .run()
            .ok();
        let path = self.dir.path().join(format!("{node}.kubeconfig"));
        std::fs::write(&path, made.stdout).expect("a new file");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("an own file");
        path
    }

    /// Starts it, after [`Master::stop`] or [`Master::kill`], with the same data.
    ///
    /// # Panics
    /// When it does not come to serve.
    #[track_caller]
    pub fn resume(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        let data = self.data();
        let mut command = self.netns.command(
            beside("rkube-master")
                .to_str()
                .expect("a path that is text"),
        );
        command.arg("serve").arg("--data-dir").arg(&data);
        command.args(&self.arguments);
        let shown = format!("rkube-master serve {}", self.arguments.join(" "));
        let mut running = Invocation::new(command, shown).within(300).start();
        eventually(10, "the master is ready", || {
            assert!(!running.ended(), "it ended: {}", running.stderr());
            let answer = self.curl(&["/readyz"]);
            (answer.code == 0 && answer.stdout == "ok").then_some(())
        });
        self.running = Some(running);
    }

    /// Adds an argument for the next start.
    pub fn argue(&mut self, words: &[&str]) {
        self.arguments
            .extend(words.iter().map(|&word| word.to_owned()));
    }

    /// Where its files are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
    /// `--data-dir`.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.data().join("admin.kubeconfig")
    }
    /// Its network namespace.
    #[must_use]
    pub fn netns(&self) -> &NetNs {
        &self.netns
    }
    /// Its process id.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.as_ref().expect("it runs").pid()
    }
    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.running
            .as_ref()
            .map(Running::stderr)
            .unwrap_or_default()
    }

    /// Ends it with SIGTERM.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub fn stop(&mut self) -> Outcome {
        let running = self.running.take().expect("it runs");
        running.signal(Signal::TERM);
        running.wait()
    }
    /// Ends it with SIGKILL.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub fn kill(&mut self) -> Outcome {
        let running = self.running.take().expect("it runs");
        running.signal(Signal::KILL);
        running.wait()
    }

    /// A command beside the master, with `KUBECONFIG` and a home of its own.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.netns.command(program);
        command
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.dir.path())
            .current_dir(self.dir.path());
        command
    }

    /// A program of `hack/clients.sh` with arguments; `None` where it is not there.
    #[must_use]
    pub fn client(&self, name: &str, arguments: &[&str]) -> Option<Invocation> {
        let path = client(name)?;
        let mut command = self.command(path.to_str().expect("a path that is text"));
        command.args(arguments);
        Some(Invocation::new(
            command,
            format!("{name} {}", arguments.join(" ")),
        ))
    }

    /// Today's kubectl, run to its end.
    ///
    /// # Panics
    /// When there is none: a test asks [`client`] first.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> Outcome {
        self.client("kubectl", arguments).expect("kubectl").run()
    }

    /// The same with something to read.
    ///
    /// # Panics
    /// As [`Master::kubectl`].
    #[track_caller]
    pub fn kubectl_reading(&self, arguments: &[&str], text: &str) -> Outcome {
        let kubectl = self.client("kubectl", arguments).expect("kubectl");
        kubectl.stdin(text).run()
    }

    /// An object as kubectl prints it.
    ///
    /// # Panics
    /// When it is not there.
    #[track_caller]
    #[must_use]
    pub fn object(&self, arguments: &[&str]) -> Value {
        let words = [&["get", "-o", "json"], arguments].concat();
        let outcome = self.kubectl(&words).ok();
        serde_json::from_str(&outcome.stdout).expect("JSON")
    }

    /// curl with the administrator's certificate; the first argument is a path, the others are curl's.
    pub fn curl(&self, arguments: &[&str]) -> Outcome {
        let (path, more) = arguments.split_first().expect("a path");
        let mut command = self.netns.command("curl");
        command.args(["--silent", "--show-error", "--max-time", "30", "--globoff"]);
        let pki = self.data().join("pki");
        command.arg("--cacert").arg(pki.join("ca.crt"));
        command.arg("--cert").arg(pki.join("admin.crt"));
        command.arg("--key").arg(pki.join("admin.key"));
        command
            .args(more)
            .arg(format!("https://{}:6443{path}", self.address()));
        Invocation::new(command, format!("curl {}", arguments.join(" "))).run()
    }

    /// Where it serves.
    fn address(&self) -> &str {
        let mut words = self.arguments.iter();
        words.find(|word| *word == "--bind-address");
        words.next().map_or("127.0.0.1", |address| address)
    }

    /// curl with no certificate.
    pub fn stranger(&self, arguments: &[&str]) -> Outcome {
        let (path, more) = arguments.split_first().expect("a path");
        let mut command = self.netns.command("curl");
        command.args(["--silent", "--show-error", "--max-time", "30", "--globoff"]);
        command.arg("--cacert").arg(self.data().join("pki/ca.crt"));
        command
            .args(more)
            .arg(format!("https://{}:6443{path}", self.address()));
        Invocation::new(command, format!("curl {}", arguments.join(" "))).run()
    }

    /// JSON of a path, asked for as the administrator.
    ///
    /// # Panics
    /// When the answer is none.
    #[must_use]
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let answer = self.curl(&[path]).ok();
        serde_json::from_str(&answer.stdout).expect("JSON")
    }

    /// A file in its directory.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path.to_str().expect("a path that is text").to_owned()
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(16 * 1024);
            let from = (from..=log.len())
                .find(|&at| log.is_char_boundary(at))
                .unwrap_or(log.len());
            println!("--- rkube-master's log\n{}\n---", &log[from..]);
        }
    }
}
