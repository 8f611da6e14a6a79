//! Where everything of a pod lies on this host.
//!
//! ```text
//! /var/lib/rkubelet/            --root      survives a reboot
//!   images/                                 the image store (rkube-images)
//!   seccomp/                                profiles that manifests may name
//!   pki/                                    certificates and the token of the HTTP API
//!   sources/http.json                       the pods that were asked for over HTTP
//!   pods/<uid>/pod.json                     what was asked for, 0600 (it may hold secrets)
//!             /state.json                   what was last observed
//!             /etc/                         hosts, hostname, resolv.conf of the pod
//!             /volumes/<name>/              emptyDir, gitRepo
//!             /containers/<name>/<n>/       upper, work, config.json, termination-log of try n
//! /run/rkubelet/                --run-root  gone after a reboot
//!   agent.sock agent.lock agent.log         the one background process of detached pods
//!   problems.json                           what sources want and does not run
//!   kubelet.sock                            the HTTP API for root
//!   seccomp/                                compiled filters, by content
//!   leases/                                 addresses in use
//!   pods/<uid>/                             the supervisor's socket, its records, the owner's socket
//! /var/log/pods/<ns>_<name>_<uid>/<container>/<n>.log       --log-root
//! ```
pub use rkube_http::file::create_private;
use std::path::PathBuf;

/// The three trees that rkubelet writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// State that survives a reboot: images, manifests, volumes.
    pub root: PathBuf,
    /// State that ends with the boot: sockets, leases, supervisors.
    pub run: PathBuf,
    /// Container logs.
    pub logs: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Paths {
            root: "/var/lib/rkubelet".into(),
            run: "/run/rkubelet".into(),
            logs: "/var/log/pods".into(),
        }
    }
}

impl Paths {
    /// The image store.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }
    /// The pods that were asked for over HTTP.
    #[must_use]
    pub fn http_source(&self) -> PathBuf {
        self.root.join("sources/http.json")
    }
    /// The folder of all pod records.
    #[must_use]
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }
    /// The lasting folder of one pod.
    #[must_use]
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }
    /// The folder of one pod that ends with the boot; the supervisor's socket is in it.
    #[must_use]
    pub fn pod_run(&self, uid: &str) -> PathBuf {
        self.run.join("pods").join(uid)
    }
    /// Where the process that looks after a pod takes requests.
    #[must_use]
    pub fn owner_socket(&self, uid: &str) -> PathBuf {
        self.pod_run(uid).join("owner")
    }
    /// The folder of one try of one container.
    #[must_use]
    pub fn container(&self, uid: &str, container: &str, attempt: u32) -> PathBuf {
        self.containers(uid, container).join(attempt.to_string())
    }
    /// The folder of all tries of one container.
    #[must_use]
    pub fn containers(&self, uid: &str, container: &str) -> PathBuf {
        self.pod(uid).join("containers").join(container)
    }
    /// The folder of a pod's logs, named as log collectors expect it.
    #[must_use]
    pub fn pod_logs(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.logs.join(format!("{namespace}_{name}_{uid}"))
    }
    /// Address leases.
    #[must_use]
    pub fn leases(&self) -> PathBuf {
        self.run.join("leases")
    }
    /// Compiled seccomp filters.
    #[must_use]
    pub fn seccomp(&self) -> PathBuf {
        self.run.join("seccomp")
    }
    /// Seccomp profiles that manifests may name (`localhostProfile`).
    #[must_use]
    pub fn seccomp_profiles(&self) -> PathBuf {
        self.root.join("seccomp")
    }
    /// Certificates and the token of the HTTP API.
    #[must_use]
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }
    /// The token by which root's own tools ask the HTTP API.
    #[must_use]
    pub fn token(&self) -> PathBuf {
        self.pki().join("token")
    }
    /// Where the HTTP API answers root without a token.
    #[must_use]
    pub fn api_socket(&self) -> PathBuf {
        self.run.join("kubelet.sock")
    }
    /// The socket of the background process.
    #[must_use]
    pub fn agent_socket(&self) -> PathBuf {
        self.run.join("agent.sock")
    }
    /// Held locked for as long as the background process lives.
    #[must_use]
    pub fn agent_lock(&self) -> PathBuf {
        self.run.join("agent.lock")
    }
    /// What the background process has to say.
    #[must_use]
    pub fn agent_log(&self) -> PathBuf {
        self.run.join("agent.log")
    }
    /// What sources want and does not run, and why.
    #[must_use]
    pub fn problems(&self) -> PathBuf {
        self.run.join("problems.json")
    }
    /// Held while names and hostPorts of a new pod are checked and taken.
    #[must_use]
    pub fn admission_lock(&self) -> PathBuf {
        self.run.join("admission.lock")
    }

    /// Makes the trees, readable by root alone: layers hold setuid programs (CVE-2021-41091).
    ///
    /// # Errors
    /// Names the directory that could not be made.
    pub fn create(&self) -> std::io::Result<()> {
        for dir in [
            &self.root,
            &self.run,
            &self.pods(),
            &self.run.join("pods"),
            &self.leases(),
        ] {
            create_private(dir)?;
        }
        fs_err::create_dir_all(&self.logs)
    }
}
