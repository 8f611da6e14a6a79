//! A host of a test's own: a network namespace, three directories, and `rkubelet` in them.
use crate::clean;
use crate::image::{busybox, busybox_image};
use crate::invocation::{Invocation, Outcome, Running};
use crate::netns::NetNs;
use crate::snapshot::Snapshot;
use crate::wait::eventually;
use std::cell::OnceCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The `rkubelet` under test: `RKUBELET` or the one that was built beside the tests.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn rkubelet_path() -> PathBuf {
    if let Some(path) = std::env::var_os("RKUBELET") {
        return path.into();
    }
    beside("rkubelet")
}

/// A program that was built beside the tests.
///
/// # Panics
/// When it has not been built.
pub(crate) fn beside(program: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the test's own path");
    // target/debug/deps/e2e-0123 -> target/debug/rkubelet
    let beside = own
        .parent()
        .and_then(Path::parent)
        .map(|dir| dir.join(program));
    let beside = beside.filter(|path| path.exists());
    beside.unwrap_or_else(|| {
        panic!(
            "{program} has not been built; run `cargo build --workspace --bins` first, or hack/test.sh"
        )
    })
}

/// So much of the agent's log is shown of a failed test, in bytes.
const AGENT_LOG: usize = 16 * 1024;

/// A host to run pods on. See the crate's documentation.
#[derive(Debug)]
pub struct Host {
    dir: TempDir,
    netns: NetNs,
    neighbour: OnceCell<NetNs>,
    image: OnceCell<()>,
    subnet: String,
    root: Option<PathBuf>,
}

impl Host {
    /// The image that [`Host::image`] makes.
    pub const IMAGE: &'static str = "localhost/busybox:v1";
    /// The host's address as its neighbour sees it.
    pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 8, 1);
    /// The neighbour's address.
    pub const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 9, 8, 2);

    /// A new host, or `None` and a line of why the test is skipped where there cannot be one.
    ///
    /// # Panics
    /// When it should be possible and is not.
    #[must_use]
    pub fn new() -> Option<Self> {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("?");
        if !rustix::process::geteuid().is_root() {
            println!("SKIP {test}: needs root");
            return None;
        }
        if busybox().is_none() {
            println!("SKIP {test}: needs a static busybox (package busybox-static)");
            return None;
        }
        let netns = match NetNs::new() {
            Ok(netns) => netns,
            Err(err) => {
                println!("SKIP {test}: cannot make a network namespace ({err})");
                return None;
            }
        };
        // Not below /tmp, which may be a tmpfs without room or without overlay support.
        let dir = tempfile::Builder::new()
            .prefix("rkube-e2e.")
            .tempdir_in("/var/tmp")
            .expect("a temporary directory");
        std::fs::create_dir(dir.path().join("home")).expect("a new directory");
        println!("host {}", dir.path().display());
        Some(Host {
            dir,
            netns,
            neighbour: OnceCell::new(),
            image: OnceCell::new(),
            subnet: "10.77.0.0/16".to_owned(),
            root: None,
        })
    }

    /// The same with `--root` on a disk of its own, which must outlive the host.
    #[must_use]
    pub fn on(disk: &crate::Disk) -> Option<Self> {
        let mut host = Host::new()?;
        host.root = Some(disk.path().join("lib"));
        Some(host)
    }

    /// The directory of everything that is this host's.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
    /// `--root`.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.root.clone().unwrap_or_else(|| self.dir().join("lib"))
    }
    /// `--run-root`.
    #[must_use]
    pub fn run_root(&self) -> PathBuf {
        self.dir().join("run")
    }
    /// `--log-root`.
    #[must_use]
    pub fn log_root(&self) -> PathBuf {
        self.dir().join("log")
    }
    /// The network namespace that stands for this host.
    #[must_use]
    pub fn netns(&self) -> &NetNs {
        &self.netns
    }

    /// Another machine on this host's network, made on first use.
    ///
    /// # Panics
    /// When the kernel has no veth.
    #[must_use]
    pub fn neighbour(&self) -> &NetNs {
        self.neighbour.get_or_init(|| {
            let other = NetNs::new().expect("one worked already");
            self.netns.ip(&format!(
                "link add eth0 type veth peer name eth0 netns {}",
                other.path()
            ));
            for (netns, address) in [(&self.netns, Self::ADDRESS), (&other, Self::NEIGHBOUR)] {
                netns.ip(&format!("address add {address}/24 dev eth0"));
                netns.ip("link set eth0 up");
            }
            other
        })
    }

    /// The host's published port as its neighbour reaches it.
    #[must_use]
    pub fn at(port: u16) -> SocketAddr {
        SocketAddr::from((Self::ADDRESS, port))
    }

    /// `rkubelet` with `arguments`, on this host, with nothing of the caller's environment.
    #[must_use]
    pub fn rkubelet(&self, arguments: &[&str]) -> Invocation {
        let program = rkubelet_path();
        let mut command = self.command(&program.to_string_lossy());
        command.args(arguments);
        Invocation::new(command, format!("rkubelet {}", arguments.join(" ")))
    }

    /// Any program, in this host's network and environment.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.netns.command(program);
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", self.dir().join("home"))
            .env("RKUBELET_ROOT", self.root())
            .env("RKUBELET_RUN_ROOT", self.run_root())
            .env("RKUBELET_LOG_ROOT", self.log_root())
            .env("RKUBELET_POD_SUBNET", &self.subnet)
            .env("RKUBELET_CONFIG_FILE", self.settings())
            .env("RUST_BACKTRACE", "0");
        command
    }

    /// The settings of a daemon that is given none: the tests' machine may be short of disk, and that is no business
    /// of theirs.
    fn settings(&self) -> PathBuf {
        let path = self.dir().join("settings.yaml");
        if !path.exists() {
            let text =
                "{evictionHard: {memory.available: 1Mi}, imageGCHighThresholdPercent: 100}\n";
            std::fs::write(&path, text).expect("a new file");
        }
        path
    }

    /// The busybox image, imported on first use; its name.
    #[track_caller]
    pub fn image(&self) -> &'static str {
        self.image
            .get_or_init(|| self.import(Self::IMAGE, busybox_image(), &["--cmd", "/bin/sh"]));
        Self::IMAGE
    }

    /// Imports a tar of a root file system.
    #[track_caller]
    pub fn import(&self, name: &str, tar: &[u8], options: &[&str]) {
        let mut arguments = vec!["images", "import", "-", name];
        arguments.extend(options);
        self.rkubelet(&arguments).stdin(tar).run().ok();
    }

    /// Writes a file of this host's; its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.dir().join(name);
        std::fs::write(&path, content).expect("a new file");
        path.to_string_lossy().into_owned()
    }

    /// Runs pods in the foreground to their end; the manifest comes by standard input.
    #[track_caller]
    pub fn run(&self, manifest: &str) -> Outcome {
        self.image();
        self.rkubelet(&["run", "-"]).stdin(manifest).run()
    }
    /// Starts pods in the foreground.
    #[must_use]
    #[track_caller]
    pub fn start(&self, manifest: &str) -> Running {
        self.image();
        self.rkubelet(&["run", "-"]).stdin(manifest).start()
    }
    /// Runs pods in the background.
    #[track_caller]
    pub fn detach(&self, manifest: &str) -> Outcome {
        self.image();
        self.rkubelet(&["run", "--detach", "-"])
            .stdin(manifest)
            .run()
    }

    /// The uids of the pods that have a record here.
    #[must_use]
    pub fn uids(&self) -> Vec<String> {
        clean::names(&self.root().join("pods"))
    }

    /// The recorded state of the pod called `name` (its `state.json`), if there is one.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<serde_json::Value> {
        let read = |uid: &str, file: &str| -> Option<serde_json::Value> {
            serde_json::from_slice(
                &std::fs::read(self.root().join("pods").join(uid).join(file)).ok()?,
            )
            .ok()
        };
        let uids = self.uids();
        let uid = uids.iter().find(|uid| {
            read(uid, "pod.json").is_some_and(|record| record["pod"]["metadata"]["name"] == name)
        })?;
        read(uid, "state.json")
    }

    /// The processes of this host: pid and name.
    #[must_use]
    pub fn processes(&self) -> Vec<(i32, String)> {
        clean::processes(self)
    }

    /// The background processes of `rkubelet`.
    #[must_use]
    pub fn agents(&self) -> Vec<i32> {
        clean::agents(self)
    }

    /// What is on this host now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::take(self)
    }

    /// Insists that nothing of a pod is left: no process, mount, cgroup, device, rule or record.
    ///
    /// # Panics
    /// When something is.
    #[track_caller]
    pub fn assert_no_pods(&self, uids: &[String]) {
        // The kernel takes a namespace's devices down when it gets round to it.
        eventually(5, "nothing is left behind", || {
            let left = clean::leftovers(self, uids);
            println!("left: {left:?}");
            left.is_empty().then_some(())
        });
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_agent_log();
        }
        clean::everything(self);
    }
}

impl Host {
    /// What the background process had to say, for whoever reads of a failed test.
    fn show_agent_log(&self) {
        let log = std::fs::read_to_string(self.run_root().join("agent.log")).unwrap_or_default();
        let cut = log.len().saturating_sub(AGENT_LOG);
        let cut = log.ceil_char_boundary(cut);
        println!("--- the end of agent.log ---\n{}---", &log[cut..]);
    }
}
