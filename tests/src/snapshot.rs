//! What is on a host, to be compared before and after.
use crate::clean;
use crate::host::Host;
use std::collections::BTreeSet;
use std::path::Path;

/// Files, mounts, devices, packet-filter rules and processes of a host, as lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    pub(crate) fn take(host: &Host) -> Self {
        let mut lines = BTreeSet::new();
        for root in [host.root(), host.run_root(), host.log_root()] {
            walk(&root, host.dir(), &mut lines);
        }
        lines.extend(
            clean::mounts(host.dir())
                .into_iter()
                .map(|target| format!("mount {target}")),
        );
        lines.extend(
            clean::devices(host)
                .into_iter()
                .map(|name| format!("device {name}")),
        );
        lines.extend(
            clean::processes(host)
                .into_iter()
                .map(|(pid, name)| format!("process {pid} {name}")),
        );
        if let Ok(saved) = host.netns().command("iptables-save").output() {
            let text = String::from_utf8_lossy(&saved.stdout).into_owned();
            lines.extend(
                text.lines()
                    .filter(|line| line.starts_with('-'))
                    .map(|line| format!("rule {line}")),
            );
        }
        Snapshot(lines)
    }

    /// What is here and was not there before, except what stands from the first use on: lock files, and the
    /// generic directories.
    #[must_use]
    pub fn since(&self, before: &Snapshot) -> Vec<String> {
        let new = self.0.difference(&before.0);
        new.filter(|line| !line.ends_with("lock"))
            .cloned()
            .collect()
    }
}

/// Images are listed as far as names go: what a store keeps of a failed pull is its own business and tests'.
fn walk(dir: &Path, base: &Path, lines: &mut BTreeSet<String>) {
    for name in clean::names(dir) {
        let path = dir.join(&name);
        if path.is_dir() && !path.is_symlink() && !path.ends_with("lib/images") {
            walk(&path, base, lines);
        } else if path.ends_with("lib/images") {
            continue;
        }
        let shown = path.strip_prefix(base).unwrap_or(&path);
        lines.insert(format!("file {}", shown.display()));
    }
}
