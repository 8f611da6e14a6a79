//! A pod, started through the library as the kubelet starts it, and the requests that are measured.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use oci_spec::runtime::{Process, Spec};
use rkube_runtime::cgroup::{Cgroup, Hierarchies};
use rkube_runtime::compile::{
    CgroupAttach, ExecRequest, Request, Rootfs, Seccomp, Settings, compile, compile_exec,
};
use rkube_runtime::seccomp::{Cache, default_profile};
use rkube_runtime::supervisor::{
    Event, ExecStreams, LogLimits, LogTarget, Prepare, SandboxConfig, Supervisor,
};
use serde_json::json;

use crate::bed::Bed;
use crate::contest::Sample;
use crate::elf::{self, Program};
use crate::oci;

const TIMEOUT: Duration = Duration::from_secs(20);
/// The container that programs are exec'd in.
const SLEEPER: &str = "sleeper";
/// What the kubelet gives by default.
const CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// A running pod with one container in it.
pub(super) struct Pod {
    supervisor: RefCell<Supervisor>,
    pub(super) hierarchies: Hierarchies,
    pub(super) cgroup: String,
    pub(super) dir: PathBuf,
    /// The layers, the top-most first.
    pub(super) lowers: Vec<PathBuf>,
    /// The sleeping container's first process.
    pub(super) target: OwnedFd,
    pub(super) sleeper: Cgroup,
    spec: Spec,
    seccomp: Cache,
    count: Cell<u32>,
    /// Removed after the supervisor and all its containers.
    _cgroups: oci::Cgroup,
}

impl Pod {
    /// Starts it.
    ///
    /// # Errors
    /// When anything of that does not work.
    pub(super) fn launch(bed: &Bed) -> Result<Self> {
        let dir = bed.run_dir("pod")?;
        let lowers = layers(bed)?;
        let hierarchies = Hierarchies::detect()?;
        let cgroup = format!("rkube-bench-pod-{}", std::process::id());
        let guard = oci::Cgroup(cgroup.clone());
        let own = Cgroup::create(&hierarchies, format!("{cgroup}/sup").as_ref())?;
        let supervisor = Supervisor::launch(&SandboxConfig {
            dir: dir.join("run"),
            hostname: "bench".to_owned(),
            cgroup: attach(&own)?,
            ..SandboxConfig::default()
        })?;
        let mut pod = Pod {
            supervisor: RefCell::new(supervisor),
            hierarchies,
            cgroup,
            lowers,
            target: File::open("/dev/null")?.into(),
            sleeper: own,
            spec: spec("/stamp-program")?,
            seccomp: Cache::new(Some(bed.run_dir("pod-seccomp")?)),
            count: Cell::new(0),
            dir,
            _cgroups: guard,
        };
        std::fs::create_dir_all(pod.dir.join("logs"))?;
        (pod.target, pod.sleeper) = pod.sleeper()?;
        Ok(pod)
    }

    fn sleeper(&self) -> Result<(OwnedFd, Cgroup)> {
        let spec = spec("/busybox")?;
        let cgroup = self.make_cgroup(SLEEPER, &spec)?;
        let launch = self.compile(SLEEPER, &spec, &cgroup)?;
        let mut supervisor = self.supervisor.borrow_mut();
        let what = Prepare {
            name: SLEEPER,
            attempt: 0,
            launch: &launch,
            log: None,
            stdin: false,
            tty: false,
        };
        let prepared = supervisor.prepare(&what)?;
        supervisor.start(SLEEPER)?;
        Ok((prepared.pidfd, cgroup))
    }

    /// A name that was not used yet.
    pub(super) fn next_name(&self) -> String {
        self.count.set(self.count.get() + 1);
        format!("c{}", self.count.get())
    }

    /// Starts a container and says how long that took.
    ///
    /// # Errors
    /// When it does not start, or ends badly.
    pub(super) fn start(&self) -> Result<Sample> {
        let name = self.next_name();
        let dir = self.dir.join(&name);
        let logs = File::open(self.dir.join("logs"))?;
        self.hierarchies.warm()?;
        let request = elf::now();
        let cgroup = self.make_cgroup(&name, &self.spec)?;
        let grouped = elf::now();
        let launch = self.compile(&name, &self.spec, &cgroup)?;
        let compiled = elf::now();
        let mut supervisor = self.supervisor.borrow_mut();
        let file = format!("{name}.log");
        let log = LogTarget {
            dir: logs.as_fd(),
            file: &file,
            limits: LogLimits::default(),
        };
        supervisor.prepare(&Prepare {
            name: &name,
            attempt: 0,
            launch: &launch,
            log: Some(log),
            stdin: false,
            tty: false,
        })?;
        supervisor.start(&name)?;
        loop {
            match supervisor.wait_event(TIMEOUT)? {
                Some(Event::Exited(container)) if container.name == name => break,
                Some(_) => {}
                None => return Err(anyhow!("container {name} does not end")),
            }
        }
        supervisor.forget(&name)?;
        let stamp = std::fs::read(dir.join("upper/stamp")).context("the program's first moment")?;
        let first = elf::moment(&stamp).ok_or_else(|| anyhow!("no moment in /stamp"))?;
        cgroup.delete()?;
        Ok(vec![
            between(request, first),
            between(request, grouped),
            between(grouped, compiled),
            between(compiled, first),
        ])
    }

    /// Runs a program in the sleeping container and says how long its start took.
    ///
    /// # Errors
    /// When it does not start, or ends badly.
    pub(super) fn exec(&self) -> Result<Sample> {
        let (read, write) = rustix::pipe::pipe()?;
        let null = File::open("/dev/null")?;
        let process = process("/stamp-out");
        let process: Process = serde_json::from_value(process)?;
        self.hierarchies.warm()?;
        let request = elf::now();
        let launch = compile_exec(ExecRequest {
            spec: &self.spec,
            process: &process,
            target: Some(self.target.as_fd()),
            cgroup: attach(&self.sleeper)?,
            seccomp: self.filter()?,
            settings: Settings::default(),
        })?;
        let compiled = elf::now();
        let mut supervisor = self.supervisor.borrow_mut();
        let streams = ExecStreams::Fds([null.as_fd(), write.as_fd(), write.as_fd()]);
        let exec = supervisor.exec(SLEEPER, &launch, &streams)?;
        drop(write);
        let mut stamp = Vec::new();
        File::from(read).read_to_end(&mut stamp)?;
        supervisor.wait_exec(&exec, TIMEOUT)?;
        let first = elf::moment(&stamp).ok_or_else(|| anyhow!("the program wrote no moment"))?;
        Ok(vec![
            between(request, first),
            f64::NAN,
            between(request, compiled),
            between(compiled, first),
        ])
    }

    /// A cgroup as a container gets one.
    pub(super) fn container_cgroup(&self, name: &str) -> Result<Cgroup> {
        self.make_cgroup(name, &self.spec)
    }

    fn make_cgroup(&self, name: &str, spec: &Spec) -> Result<Cgroup> {
        let path = format!("{}/{name}", self.cgroup);
        let cgroup = Cgroup::create(&self.hierarchies, path.as_ref())?;
        let linux = spec.linux().as_ref();
        if let Some(resources) = linux.and_then(|linux| linux.resources().as_ref()) {
            cgroup.apply(resources)?;
        }
        Ok(cgroup)
    }

    fn compile(
        &self,
        name: &str,
        spec: &Spec,
        cgroup: &Cgroup,
    ) -> Result<rkube_runtime::compile::Launch> {
        let dir = self.dir.join(name);
        let [upper, work] = ["upper", "work"].map(|part| dir.join(part));
        std::fs::create_dir_all(&upper)?;
        std::fs::create_dir(&work)?;
        Ok(compile(Request {
            spec,
            bundle: &dir,
            rootfs: Rootfs::Overlay {
                lowers: self.lowers.clone(),
                upper,
                work,
                volatile: true,
            },
            sources: &[],
            cgroup: attach(cgroup)?,
            seccomp: self.filter()?,
            settings: Settings::default(),
        })?)
    }

    fn filter(&self) -> Result<Option<Seccomp>> {
        let profile = self
            .spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.seccomp().as_ref());
        let Some(profile) = profile else {
            return Ok(None);
        };
        let program = self.seccomp.compile(profile)?;
        Ok(Some(Seccomp {
            program: program.filter.clone(),
            flags: program.flags,
        }))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // With it the kernel ends every container of the pod.
        let supervisor = self.supervisor.get_mut();
        let _ =
            rustix::process::pidfd_send_signal(supervisor.pidfd(), rustix::process::Signal::KILL);
        let end = rustix::process::WaitId::PidFd(supervisor.pidfd());
        let _ = rustix::process::waitid(end, rustix::process::WaitIdOptions::EXITED);
        let _ = self.sleeper.kill();
    }
}

/// In milliseconds.
#[expect(clippy::cast_precision_loss, reason = "well below 2^52")]
pub(super) fn between(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}

fn attach(cgroup: &Cgroup) -> Result<CgroupAttach> {
    let attach = cgroup.attach_fds()?;
    Ok(CgroupAttach {
        into: attach.unified_dir,
        procs: attach.procs,
    })
}

/// Three layers that together look like a small distribution.
fn layers(bed: &Bed) -> Result<Vec<PathBuf>> {
    let layer = |name: &str, dirs: &[&str]| -> Result<PathBuf> {
        let path = bed.subdir(&format!("pod/layers/{name}"))?;
        for dir in dirs {
            std::fs::create_dir_all(path.join(dir))?;
        }
        Ok(path)
    };
    let base = layer(
        "base",
        &["proc", "dev", "sys", "etc", "tmp", "usr/lib", "var/lib"],
    )?;
    let tools = layer("tools", &["usr/bin"])?;
    let program = layer("program", &["srv"])?;
    let busybox = crate::bed::find("busybox").context("no busybox; install busybox-static")?;
    std::fs::copy(busybox, tools.join("busybox"))?;
    elf::write(Program::Stamp, &program.join("stamp-program"))?;
    elf::write(Program::StampOut, &program.join("stamp-out"))?;
    Ok(vec![program, tools, base])
}

fn process(program: &str) -> serde_json::Value {
    let args = if program == "/busybox" {
        vec![program, "sleep", "1000000"]
    } else {
        vec![program]
    };
    json!({
        "terminal": false,
        "user": {"uid": 0, "gid": 0},
        "cwd": "/",
        "args": args,
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=bench", "HOME=/root"],
        "noNewPrivileges": false,
        "oomScoreAdj": 1000,
        "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
    })
}

/// What the kubelet makes of a container with limits.
fn spec(program: &str) -> Result<Spec> {
    let mut spec: Spec = serde_json::from_value(json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": process(program),
        "mounts": oci::mounts(),
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "cgroup"}, {"type": "pid"}],
            "resources": {
                "cpu": {"shares": 512, "quota": 50000, "period": 100_000},
                "memory": {"limit": 67_108_864},
                "pids": {"limit": 1024},
            },
            "rootfsPropagation": "private",
            "maskedPaths": [
                "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                "/sys/devices/virtual/powercap",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }))?;
    let capabilities = spec
        .process()
        .as_ref()
        .and_then(|process| process.capabilities().as_ref());
    let bounding = capabilities
        .and_then(|sets| sets.bounding().clone())
        .unwrap_or_default();
    if let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(Some(default_profile(&bounding)));
    }
    Ok(spec)
}
