//! The suite `oci`: one container by the OCI command line, from nothing to nothing.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::Settings;
use crate::bed::{self, Bed};
use crate::contest::{Contestant, hold};
use crate::elf::{self, Program};
use crate::report::Table;

/// As long as a v1 `cgroup.procs` needs to become slow again, and then some.
const SPACED: Duration = Duration::from_millis(30);
const PEERS: [&str; 3] = ["crun", "runc", "youki"];
const OURS: &str = "rkube-runtime";
const FLOOR: &str = "fork+exec";
const METRICS: [&str; 3] = ["wall ms", "CPU ms", "max RSS MiB"];

/// The tables of this suite.
///
/// # Errors
/// When the bundle cannot be made, or the user has asked for the end.
pub(crate) fn suite(bed: &Bed, settings: &Settings) -> Result<Vec<Table>> {
    let bundle = bed.subdir("oci/bundle")?;
    let cgroup = Cgroup(format!("rkube-bench-{}", std::process::id()));
    make_bundle(&bundle, &cgroup.0)?;
    let mut tables = Vec::new();
    for (title, pause) in [("back to back", Duration::ZERO), ("30 ms apart", SPACED)] {
        let table = Table::new(&format!("One OCI container, {title}"), &METRICS).note(
            "`run` of a static `true`: create, start, wait, delete. Namespaces: pid, net, ipc, uts, mount. cgroups: every \
             hierarchy of the host. No seccomp. CPU time and memory are those of the command and all that it waited for.",
        );
        let mut table = hold(
            table,
            contestants(bed, &bundle)?,
            settings.rounds(200, pause),
        )?;
        table.limit_ratio(OURS, "crun", 0, 0.5);
        tables.push(table);
    }
    if let Some(spaced) = tables.last_mut() {
        spaced.notes.push(
            "On cgroup v1 the first attach after an idle spell waits 8-10 ms for the kernel; whoever has other work to do \
             meanwhile hides it.".to_owned(),
        );
    }
    Ok(tables)
}

fn contestants<'a>(bed: &'a Bed, bundle: &Path) -> Result<Vec<Contestant<'a>>> {
    let mut all = vec![match bed.ours(OURS) {
        Ok(path) => run(bed, OURS, &path, bundle)?,
        Err(err) => Contestant::missing(OURS, format!("{err:#}")),
    }];
    for peer in PEERS {
        match bed::find(peer) {
            Some(path) => all.push(run(bed, peer, &path, bundle)?),
            None => all.push(Contestant::missing(peer, "not installed")),
        }
    }
    let path = bundle.join("rootfs/true");
    let mut command = Command::new(&path);
    all.push(Contestant::new(FLOOR, bed::words(&command), move || {
        Ok(bed.time(&mut command)?.sample())
    }));
    Ok(all)
}

fn run<'a>(bed: &'a Bed, name: &str, path: &Path, bundle: &Path) -> Result<Contestant<'a>> {
    let root = bed.run_dir(&format!("oci/{name}"))?;
    let id = format!("rkube-bench-{name}");
    let mut command = Command::new(path);
    command
        .arg("--root")
        .arg(root)
        .args(["run", "--bundle"])
        .arg(bundle)
        .arg(id);
    Ok(Contestant::new(name, bed::words(&command), move || {
        Ok(bed.time(&mut command)?.sample())
    }))
}

fn make_bundle(bundle: &Path, cgroup: &str) -> Result<()> {
    let rootfs = bundle.join("rootfs");
    for dir in ["proc", "dev", "sys"] {
        std::fs::create_dir_all(rootfs.join(dir))?;
    }
    elf::write(Program::True, &rootfs.join("true"))?;
    let namespaces = ["pid", "network", "ipc", "uts", "mount"].map(|kind| json!({"type": kind}));
    let config = json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "bench",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "cwd": "/",
            "args": ["/true"],
            "env": ["PATH=/"],
            "noNewPrivileges": true,
            "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
        },
        "mounts": mounts(),
        "linux": {
            "cgroupsPath": format!("/{cgroup}/c"),
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": namespaces,
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    });
    std::fs::write(
        bundle.join("config.json"),
        serde_json::to_vec_pretty(&config)?,
    )?;
    Ok(())
}

/// What `runc spec` mounts.
pub(crate) fn mounts() -> serde_json::Value {
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs",
         "options": ["nosuid", "noexec", "nodev", "ro"]},
    ])
}

/// A cgroup for all containers, in every v1 hierarchy or in the unified one; gone on drop.
#[derive(Debug)]
pub(crate) struct Cgroup(pub(crate) String);

impl Drop for Cgroup {
    fn drop(&mut self) {
        let root = Path::new("/sys/fs/cgroup");
        let Ok(trees) = std::fs::read_dir(root) else {
            return;
        };
        let trees = trees.flatten().map(|entry| entry.path());
        for tree in trees.chain([root.to_owned()]) {
            remove_tree(&tree.join(&self.0));
        }
    }
}

/// Directories only: the files in them are the kernel's.
fn remove_tree(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        remove_tree(&entry.path());
    }
    // A cgroup with processes in it stays, and that would be seen.
    let _ = std::fs::remove_dir(dir);
}
