//! Removing what pods have in the kernel and on disk.
use super::Report;
use crate::cli::Global;
use crate::network::Network;
use crate::paths::Paths;
use crate::state::StoredPod;
use crate::worker::cgroup_of;
use rkube_net::{Bridge, Leases};
use rkube_runtime::cgroup::{Cgroup, CgroupError, Hierarchies};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the devices of a pod may outlive its namespace.
const DEVICE_WAIT: Duration = Duration::from_secs(2);
/// Where a pod's cgroup may be, by its quality of service.
const CLASSES: [&str; 3] = ["kubepods", "kubepods/burstable", "kubepods/besteffort"];

/// The pods of this host by uid; without a record where that is gone or damaged.
pub(super) struct Pods(BTreeMap<String, Option<StoredPod>>);

impl Pods {
    /// Everything that has a folder below the root or the run root.
    pub(super) fn find(paths: &Paths) -> Self {
        let mut pods = BTreeMap::new();
        for dir in [paths.pods(), paths.run.join("pods")] {
            for entry in fs_err::read_dir(&dir).into_iter().flatten().flatten() {
                let uid = entry.file_name().to_string_lossy().into_owned();
                let stored = paths.load(&uid).ok();
                pods.insert(uid, stored);
            }
        }
        Pods(pods)
    }

    /// What is there of one pod whose record cannot be read.
    pub(super) fn damaged(uid: &str) -> Self {
        Pods(BTreeMap::from([(uid.to_owned(), None)]))
    }

    pub(super) fn uids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Ends what runs of each pod, and removes its cgroups and mounts.
pub(super) async fn remove_pods(global: &Global, pods: &Pods, report: &mut Report) {
    let paths = global.paths();
    let hierarchies = match Hierarchies::detect() {
        Ok(hierarchies) => Arc::new(hierarchies),
        Err(err) => return report.note("cgroups", Err(&err)),
    };
    for (uid, stored) in &pods.0 {
        let name = stored
            .as_ref()
            .map_or_else(|| uid.clone(), |pod| pod.record.full_name());
        let cgroups: Vec<String> = match stored {
            Some(pod) => vec![cgroup_of(&pod.record.pod)],
            None => CLASSES
                .iter()
                .map(|class| format!("{class}/pod{uid}"))
                .collect(),
        };
        let ran = crate::sandbox::alive(&paths.pod_run(uid));
        for cgroup in cgroups {
            let removed = crate::sandbox::remove(&paths.pod_run(uid), &hierarchies, &cgroup).await;
            match &removed {
                Ok(()) => {}
                Err(err) => report.note(&format!("pod {name}"), Err(err)),
            }
        }
        report.done(match ran {
            true => format!("pod {name}, which was running"),
            false => format!("pod {name}"),
        });
    }
    remove_classes(&hierarchies);
}

/// The folders above the pods' cgroups, where nobody else has one in them.
fn remove_classes(hierarchies: &Hierarchies) {
    for class in CLASSES.iter().rev() {
        let removed = Cgroup::open(hierarchies, Path::new(class)).and_then(|cgroup| {
            let empty = cgroup.children()?.is_empty();
            if empty {
                cgroup.try_delete()
            } else {
                Ok(false)
            }
        });
        match removed {
            Ok(true) | Err(CgroupError::NotFound { .. }) => {}
            // In use by others: theirs.
            Ok(false) | Err(_) => {}
        }
    }
}

/// Takes back the published ports and the address of one pod.
pub(super) fn withdraw(global: &Global, uid: &str, report: &mut Report) {
    let config = global.bridge();
    let leases = global.paths().leases();
    let network = Network::new(&global.paths(), config.clone());
    if let Err(err) = network.host_ports().and_then(|ports| ports.withdraw(uid)) {
        report.note("rules", Err(&err));
    }
    let released = Leases::open(&leases, config.subnet).and_then(|leases| leases.release(uid));
    if let Err(err) = released {
        report.note("address", Err(&err));
    }
}

/// Removes the folders of one pod whose record cannot be read.
pub(super) fn remove_folders(paths: &Paths, uid: &str, report: &mut Report) {
    let mut folders = logs_of(&paths.logs, uid);
    folders.extend([paths.pod_run(uid), paths.pod(uid)]);
    for path in folders {
        if let Err(err) = remove(&path) {
            report.note("files", Err(&err));
        }
    }
}

/// Removes rules, addresses and the bridge; the last only when no pod of another run root is plugged into it.
pub(super) async fn remove_network(global: &Global, pods: &Pods, report: &mut Report) {
    let config = global.bridge();
    let leases = global.paths().leases();
    let recorded = leases.exists();
    let network = Network::new(&global.paths(), config.clone());
    let ports = match network.host_ports() {
        Ok(ports) => ports,
        Err(err) => return report.note("rules", Err(&err)),
    };
    if let plugged @ 1.. = plugged_in().await {
        for uid in pods.uids() {
            if let Err(err) = ports.withdraw(uid) {
                report.note("rules", Err(&err));
            }
        }
        return report.failed.push(format!(
            "bridge {}: {plugged} pods of another --run-root are on it; reset that one, too",
            config.name
        ));
    }
    if let Err(err) = ports.remove_all() {
        report.note("rules", Err(&err));
    }
    if !recorded {
        // Made only now, to look for rules whose record was gone.
        let _ = std::fs::remove_dir_all(&leases);
        let _ = std::fs::remove_dir(&global.run_root);
    }
    let there = devices().contains(&config.name);
    match Bridge::remove(&config.name) {
        Ok(()) if there => report.done(format!("bridge {}", config.name)),
        Ok(()) => {}
        Err(err) => report.note("bridge", Err(&err)),
    }
}

/// How many pods' devices this host has. Those of pods that were just killed take a moment to go.
async fn plugged_in() -> usize {
    let deadline = Instant::now() + DEVICE_WAIT;
    loop {
        let pods = devices().into_iter().filter(|name| is_pods_device(name));
        let count = pods.count();
        if count == 0 || Instant::now() > deadline {
            return count;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The network devices of the namespace that this process is in.
fn devices() -> Vec<String> {
    let table = fs_err::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let names = table.lines().filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

/// The host's end of a pod's veth, as `rkube-net` names it.
fn is_pods_device(name: &str) -> bool {
    let hash = name.strip_prefix("rk").unwrap_or_default();
    hash.len() == 13 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Unmounts what is mounted below a folder, the deepest first.
pub(super) fn remove_mounts(tree: &Path, report: &mut Report) {
    for mount in crate::mounts::below(tree) {
        match crate::sys::unmount(&mount) {
            Ok(()) => report.done(format!("mount {}", mount.display())),
            Err(err) => report.note("mount", Err(&err)),
        }
    }
}

/// Removes files and folders of ours, and the trees themselves if nothing else is in them.
pub(super) fn remove_files(paths: &Paths, pods: &Pods, keep_images: bool, report: &mut Report) {
    let mut ours: Vec<PathBuf> = Vec::new();
    for (uid, stored) in &pods.0 {
        match stored {
            Some(pod) => {
                let record = &pod.record;
                ours.push(paths.pod_logs(record.namespace(), record.name(), uid));
            }
            None => ours.extend(logs_of(&paths.logs, uid)),
        }
    }
    ours.push(paths.pods());
    if !keep_images {
        ours.push(paths.images());
    }
    ours.extend([
        paths.run.join("pods"),
        paths.leases(),
        paths.seccomp(),
        paths.agent_socket(),
        paths.agent_log(),
        paths.admission_lock(),
        paths.agent_lock(),
    ]);
    for path in ours {
        match remove(&path) {
            Ok(true) => report.done(path.display().to_string()),
            Ok(false) => {}
            Err(err) => report.note("files", Err(&err)),
        }
    }
    for tree in [&paths.root, &paths.run, &paths.logs] {
        // What else is in there is not ours.
        if std::fs::remove_dir(tree).is_ok() {
            report.done(tree.display().to_string());
        }
    }
}

/// The folders of logs of a pod whose name is not known any more: `<namespace>_<name>_<uid>`.
fn logs_of(logs: &Path, uid: &str) -> Vec<PathBuf> {
    let end = format!("_{uid}");
    let entries = fs_err::read_dir(logs).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(&end))
        .map(|entry| entry.path())
        .collect()
}

/// Whether there was something to remove.
fn remove(path: &Path) -> io::Result<bool> {
    let removed = match fs_err::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => crate::disk::remove(path),
        Ok(_) => fs_err::remove_file(path),
        Err(err) => Err(err),
    };
    match removed {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_pods() {
        assert!(is_pods_device("rk0123456789abc"));
        for other in ["rkube0", "rk0123456789ab", "rk0123456789abz", "eth0"] {
            assert!(!is_pods_device(other), "{other}");
        }
        assert!(devices().contains(&"lo".to_owned()));
    }

    #[test]
    fn files_of_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths {
            root: dir.path().join("lib"),
            run: dir.path().join("run"),
            logs: dir.path().join("log"),
        };
        let write = |path: &Path| {
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, "x").unwrap();
        };
        write(&paths.pod("u-1").join("pod.json"));
        write(&paths.images().join("blobs/x"));
        write(&paths.run.join("pods/u-2/lock"));
        write(&paths.agent_log());
        write(&paths.logs.join("ns_web_u-2/c/0.log"));
        write(&paths.logs.join("ns_web_other/c/0.log"));
        let pods = Pods::find(&paths);
        assert_eq!(pods.uids().collect::<Vec<_>>(), ["u-1", "u-2"]);
        let mut report = Report::default();
        remove_files(&paths, &pods, true, &mut report);
        assert!(report.failed.is_empty(), "{report:?}");
        assert!(paths.images().join("blobs/x").exists());
        assert!(!paths.run.exists() && !paths.pods().exists());
        assert!(!paths.logs.join("ns_web_u-2").exists());
        assert!(paths.logs.join("ns_web_other/c/0.log").exists());
        remove_files(&paths, &pods, false, &mut report);
        assert!(!paths.root.exists());
        write(&paths.logs.join("ns_x_u-3/c/0.log"));
        write(&paths.pod("u-3").join("pod.json"));
        remove_folders(&paths, "u-3", &mut report);
        assert!(!paths.pod("u-3").exists() && !paths.logs.join("ns_x_u-3").exists());
        fs_err::remove_dir_all(&paths.root).unwrap();
        let mut again = Report::default();
        remove_files(&paths, &pods, false, &mut again);
        assert!(
            again.removed.is_empty() && again.failed.is_empty(),
            "{again:?}"
        );
    }
}
