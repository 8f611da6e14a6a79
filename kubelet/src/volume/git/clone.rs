//! git in a container of its own.
use super::Wanted;
use crate::housekeeping::limits::PodLimits;
use crate::housekeeping::measure;
use crate::paths::create_private;
use crate::sandbox::{self, ContainerRequest, Exit, Sandbox, SandboxEvent, SandboxRequest};
use crate::translate::security;
use k8s_openapi::api::core::v1::PodSpec;
use oci_spec::runtime::Spec;
use rkube_runtime::cgroup::Hierarchies;
use rkube_runtime::supervisor::LogLimits;
use serde_json::{Value, json};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// "nobody": who git runs as.
pub(super) const USER: u32 = 65534;
/// What the folder of a clone's container is called, with the volume's number after it. Short, because a socket's path may be
/// 107 bytes long, and with a dot, which no container's name has.
pub(super) const FOLDER: &str = "git.";
/// How long a clone may take.
const LONGEST: Duration = Duration::from_secs(120);
/// How much it may bring.
const LARGEST: u64 = 1 << 30;
/// How much memory git may use.
const MEMORY: &str = "512Mi";
/// How often its size is looked at while it runs.
const LOOK: Duration = Duration::from_secs(1);

/// `git clone` with one revision checked out; its arguments are repository, directory, revision.
const SCRIPT: &str = r#"
cd /repo
if [ -n "$2" ]; then git clone --quiet --no-checkout -- "$1" "./$2"; cd "./$2"
else git clone --quiet --no-checkout -- "$1"; set -- "$1" "$2" "$3" ./*; cd "$4"; fi
if [ -n "$3" ]; then git checkout --quiet "$3" --
elif git rev-parse --quiet --verify HEAD >/dev/null; then git checkout --quiet; fi
"#;
/// What holds for git besides: nothing is run, asked for or followed that a repository names.
const SETTINGS: [(&str, &str); 12] = [
    ("protocol.allow", "never"),
    ("protocol.https.allow", "always"),
    ("protocol.http.allow", "always"),
    ("protocol.git.allow", "always"),
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("credential.helper", ""),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("gc.auto", "0"),
];
/// Programs and libraries: directories, or links where the host has merged them into /usr.
const PROGRAMS: [&str; 6] = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/usr"];
/// What finding a name, and trusting whom it stands for, needs of /etc.
const ETC: [&str; 13] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/gai.conf",
    "/etc/gnutls",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/nsswitch.conf",
    "/etc/pki",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
];

/// A clone that is to be.
pub(super) struct Clone {
    /// Everything of its sandbox.
    dir: PathBuf,
    cgroups: Arc<Hierarchies>,
    cgroup: String,
    /// Where the repository goes.
    target: PathBuf,
    seccomp_cache: PathBuf,
    script: &'static str,
    arguments: [String; 3],
}

impl Clone {
    pub(super) fn new(wanted: &Wanted<'_>, target: &Path) -> Self {
        let (paths, source) = (&wanted.node.paths, wanted.source);
        let name = format!("{FOLDER}{}", wanted.index);
        let pod = crate::worker::cgroup_of(&wanted.record.pod);
        Clone {
            dir: paths.pod_run(wanted.record.uid()).join(&name),
            cgroups: wanted.node.cgroups.clone(),
            cgroup: format!("{pod}/{name}"),
            target: target.to_owned(),
            seccomp_cache: paths.seccomp(),
            script: SCRIPT,
            arguments: [
                source.repository.clone(),
                source.directory.clone().unwrap_or_default(),
                source.revision.clone().unwrap_or_default(),
            ],
        }
    }

    /// Runs git to its end, or to a limit.
    pub(super) async fn run(&self, cancel: &CancellationToken) -> Result<(), String> {
        // What a kubelet before us has left half done.
        self.clear().await?;
        self.prepare().map_err(|err| err.to_string())?;
        let mut sandbox = Sandbox::create(self.sandbox())
            .await
            .map_err(|err| crate::error::chain(&err))?;
        let done = self.watch(&mut sandbox, cancel).await;
        sandbox.shutdown().await;
        done
    }

    async fn watch(&self, sandbox: &mut Sandbox, cancel: &CancellationToken) -> Result<(), String> {
        let container = self.container().map_err(|err| err.to_string())?;
        let started = sandbox.start_container(container).await;
        started.map_err(|err| crate::error::chain(&err))?;
        let end = Instant::now() + LONGEST;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = sandbox.next_event() => return match event {
                    SandboxEvent::Exited(exit) => self.outcome(&exit),
                    SandboxEvent::Gone => Err("git was killed".to_owned()),
                },
                () = cancel.cancelled() => return Err("stopped while it was cloned".to_owned()),
                () = tokio::time::sleep_until(end) => {
                    return Err(format!("git did not come to an end in {} s", LONGEST.as_secs()));
                }
                _ = look.tick() => {
                    let target = self.target.clone();
                    let used = tokio::task::spawn_blocking(move || measure::tree(&target)).await;
                    if matches!(used, Ok((used, _)) if used > LARGEST) {
                        return Err(format!("the repository is larger than {} MiB", LARGEST >> 20));
                    }
                }
            }
        }
    }

    fn outcome(&self, exit: &Exit) -> Result<(), String> {
        match (exit.code, exit.signal, exit.oom) {
            (0, 0, _) => Ok(()),
            (_, _, true) => Err(format!("git needs more than {MEMORY} of memory for it")),
            (0, signal, _) => Err(format!("git was ended by signal {signal}")),
            // As a shell says it.
            (127, _, _) => Err("git is not on this host; install the package git".to_owned()),
            (code, _, _) => Err(format!("git failed ({code}): {}", self.last_words())),
        }
    }

    /// What git said last, as one line that is safe to show.
    fn last_words(&self) -> String {
        let text = fs_err::read(self.dir.join("log/0.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned();
        // `<time> stderr F <line>`
        let said = text.lines().filter_map(|line| line.splitn(4, ' ').nth(3));
        let said: Vec<&str> = said.filter(|line| !line.trim().is_empty()).collect();
        let last = said[said.len().saturating_sub(3)..].join("; ");
        last.chars().filter(|c| !c.is_control()).take(400).collect()
    }

    /// Takes everything of the sandbox away.
    pub(super) async fn clear(&self) -> Result<(), String> {
        let removed = sandbox::remove(&self.dir, &self.cgroups, &self.cgroup).await;
        removed.map_err(|err| crate::error::chain(&err))?;
        match fs_err::remove_dir_all(&self.dir) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err.to_string()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The root that git sees: empty but for links, and files that name its user.
    fn prepare(&self) -> io::Result<()> {
        let root = self.dir.join("lower");
        for dir in [&self.dir, &root, &root.join("etc")] {
            create_private(dir)?;
        }
        for name in ["upper", "work"] {
            fs_err::create_dir(self.dir.join(name))?;
        }
        for dir in [self.dir.join("upper"), root.join("etc"), root.clone()] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs_err::set_permissions(dir, mode)?;
        }
        fs_err::write(
            root.join("etc/passwd"),
            format!("git:x:{USER}:{USER}::/tmp:/bin/sh\n"),
        )?;
        fs_err::write(root.join("etc/group"), format!("git:x:{USER}:\n"))?;
        for path in PROGRAMS {
            if let Ok(target) = std::fs::read_link(path) {
                symlink(target, root.join(&path[1..]))?;
            }
        }
        Ok(())
    }

    fn sandbox(&self) -> SandboxRequest {
        let limits = json!({"memory": MEMORY, "cpu": "1"});
        let spec = json!({"hostNetwork": true, "containers": [{"name": "git", "resources": {"limits": limits}}]});
        SandboxRequest {
            dir: self.dir.clone(),
            cgroups: self.cgroups.clone(),
            cgroup: self.cgroup.clone(),
            hostname: String::new(),
            domainname: None,
            spec: serde_json::from_value::<PodSpec>(spec).unwrap_or_default(),
            limits: PodLimits {
                pids: Some(64),
                ..PodLimits::default()
            },
        }
    }

    fn container(&self) -> Result<ContainerRequest, serde_json::Error> {
        Ok(ContainerRequest {
            name: "git".to_owned(),
            attempt: 0,
            spec: self.spec()?,
            sources: Vec::new(),
            lowers: vec![self.dir.join("lower")],
            dir: self.dir.clone(),
            log_dir: self.dir.join("log"),
            seccomp_cache: self.seccomp_cache.clone(),
            cgroups: self.cgroups.clone(),
            stdin: false,
            log: LogLimits::default(),
        })
    }

    fn spec(&self) -> Result<Spec, serde_json::Error> {
        let mut args: Vec<&str> = vec!["/bin/sh", "-euc", self.script, "git"];
        args.extend(self.arguments.iter().map(String::as_str));
        let mut mounts = vec![
            json!({"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}),
            json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]}),
            json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777", "size=16m"]}),
        ];
        let is_there = |path: &&str| std::fs::metadata(path).is_ok();
        let is_own = |path: &&str| std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
        let programs = PROGRAMS.into_iter().filter(is_own);
        mounts.extend(
            programs
                .chain(ETC.into_iter().filter(is_there))
                .map(read_only),
        );
        mounts.push(
            json!({"destination": "/repo", "type": "bind", "source": self.target,
            "options": ["bind", "rw", "nosuid", "nodev", "noexec", "private"]}),
        );
        let none = json!([]);
        let capabilities = json!({"bounding": none, "effective": none, "permitted": none, "inheritable": none, "ambient": none});
        let limit = |kind: &str, value: u64| json!({"type": kind, "hard": value, "soft": value});
        let spec = json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs", "readonly": true},
            "process": {
                "user": {"uid": USER, "gid": USER}, "args": args, "env": environment(), "cwd": "/",
                "noNewPrivileges": true, "oomScoreAdj": 1000, "capabilities": capabilities,
                "rlimits": [limit("RLIMIT_FSIZE", LARGEST), limit("RLIMIT_CORE", 0), limit("RLIMIT_NOFILE", 256)],
            },
            "mounts": mounts,
            "linux": {
                "namespaces": [{"type": "mount"}, {"type": "cgroup"}, {"type": "pid"}],
                "cgroupsPath": format!("/{}/git", self.cgroup),
                "resources": {"devices": crate::translate::host::usual_device_rules()},
                "rootfsPropagation": "private",
                "maskedPaths": security::masked_paths(), "readonlyPaths": security::readonly_paths(),
            },
        });
        let mut spec: Spec = serde_json::from_value(spec)?;
        let filter = rkube_runtime::seccomp::default_profile(&[].into());
        if let Some(mut linux) = spec.linux().clone() {
            linux.set_seccomp(Some(filter));
            spec.set_linux(Some(linux));
        }
        Ok(spec)
    }
}

fn read_only(path: &str) -> Value {
    json!({"destination": path, "type": "bind", "source": path,
        "options": ["rbind", "rro", "nosuid", "nodev", "rprivate"]})
}

fn environment() -> Vec<String> {
    let mut env: Vec<String> = [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/tmp",
        "LC_ALL=C",
        "GIT_CONFIG_NOSYSTEM=1",
        "GIT_CONFIG_GLOBAL=/dev/null",
        "GIT_TERMINAL_PROMPT=0",
        "GIT_ASKPASS=/bin/false",
        "GIT_TEMPLATE_DIR=",
        "GIT_LFS_SKIP_SMUDGE=1",
    ]
    .map(str::to_owned)
    .to_vec();
    env.push(format!("GIT_CONFIG_COUNT={}", SETTINGS.len()));
    for (index, (key, value)) in SETTINGS.iter().enumerate() {
        env.push(format!("GIT_CONFIG_KEY_{index}={key}"));
        env.push(format!("GIT_CONFIG_VALUE_{index}={value}"));
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a git that has been taken over finds: nothing of the host that is not the distribution's, no rights, no room.
    #[tokio::test]
    async fn git_is_alone_and_has_no_rights() {
        if !rustix::process::geteuid().is_root() {
            println!("SKIP git_is_alone_and_has_no_rights: needs root");
            return;
        }
        let temp = tempfile::tempdir_in("/var/tmp").unwrap();
        let target = temp.path().join("volume");
        super::super::begin(&target).unwrap();
        let clone = Clone {
            dir: temp.path().join("git.0"),
            cgroups: Arc::new(Hierarchies::detect().unwrap()),
            cgroup: format!("rkubetest-git-{}", std::process::id()),
            target: target.clone(),
            seccomp_cache: temp.path().join("seccomp"),
            script: r#"
                exec >/repo/out 2>/repo/err
                id -u; id -g; id -G
                grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr '\t' ' '
                for d in /root /home /var /run /srv /opt /mnt /etc/shadow /etc/passwd- /sys/fs; do [ -e $d ] && echo sees $d; done
                for d in / /usr /etc /etc/ssl /bin; do touch $d/new && echo writes $d; done
                cp /bin/true /repo/tool; chmod 4755 /repo/tool; /repo/tool && echo runs
                ls /proc | grep -cE '^[0-9]+$' | awk '$1 > 9 {print "sees others"}'
                mknod /repo/null c 1 3 && echo device
                mount -t tmpfs none /tmp && echo mounts
                unshare -r true && echo user namespace
                [ "$1" = a ] && [ "$2" = "b c" ] && [ "$3" = '$(id)' ] && echo arguments
                true"#,
            arguments: ["a".to_owned(), "b c".to_owned(), "$(id)".to_owned()],
        };
        let ran = clone.run(&CancellationToken::new()).await;
        clone.clear().await.unwrap();
        let read = |name: &str| std::fs::read_to_string(target.join(name)).unwrap_or_default();
        let (out, err) = (read("out"), read("err"));
        assert_eq!(ran, Ok(()), "{out}{err}");
        let want = "65534\n65534\n65534\nCapBnd: 0000000000000000\nCapEff: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2\narguments\n";
        let mut lines: Vec<&str> = out.lines().collect();
        lines[3..7].sort_unstable();
        assert_eq!(lines.join("\n") + "\n", want, "{err}");
        assert!(!clone.dir.exists());
    }
}
