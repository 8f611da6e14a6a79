//! Making the directories of a cgroup usable: controllers handed down, cpusets filled, attaching
//! prepared.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::hierarchies::{Hierarchies, Tree, Version, canonical};
use super::{Cgroup, CgroupError, Node, clone_error, processes, read_file, relative, write_file};

/// Controllers that a v2 cgroup hands on to its children, when its kernel has them.
const DELEGATED: [&str; 8] = [
    "cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc",
];

impl Cgroup {
    pub(super) fn create_in(
        &mut self,
        tree: &Tree,
        made: &mut Vec<PathBuf>,
    ) -> Result<(), CgroupError> {
        let cpuset = tree.version == Version::V1 && tree.controllers.iter().any(|c| c == "cpuset");
        let mut dir = tree.mount.clone();
        for component in self.path.clone().components() {
            if tree.version == Version::V2 {
                self.hand_down(&dir)?;
            }
            let parent = dir.clone();
            dir.push(component);
            match fs::create_dir(&dir) {
                Ok(()) => made.push(dir.clone()),
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(CgroupError::Create { dir, source }),
            }
            if cpuset {
                inherit(&parent, &dir, "cpuset.cpus")?;
                inherit(&parent, &dir, "cpuset.mems")?;
            }
        }
        self.nodes.push(Node::new(tree, dir));
        Ok(())
    }

    /// Enables every controller that `dir` has for its children. One that will not be enabled is
    /// remembered, and only an error once a limit needs it.
    fn hand_down(&mut self, dir: &Path) -> Result<(), CgroupError> {
        let has = read_file(&dir.join("cgroup.controllers"))?;
        let file = dir.join("cgroup.subtree_control");
        let given = read_file(&file)?;
        let missing: Vec<&str> = has
            .split_whitespace()
            .filter(|name| {
                DELEGATED.contains(name) && !given.split_whitespace().any(|g| g == *name)
            })
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let all: Vec<String> = missing.iter().map(|name| format!("+{name}")).collect();
        match write_file(&file, &all.join(" ")) {
            Ok(()) => return Ok(()),
            // Processes are in the way of some. Without those the rest could be enabled, but that
            // would turn `dir` into the root of a threaded subtree, where no process can be added.
            Err(CgroupError::Write { source, .. })
                if source.kind() == io::ErrorKind::ResourceBusy =>
            {
                for name in missing {
                    let refused = (dir.to_owned(), clone_error(&source));
                    self.refused.insert(canonical(name).to_owned(), refused);
                }
                return Ok(());
            }
            Err(_) => {}
        }
        for name in missing {
            if let Err(CgroupError::Write { source, .. }) = write_file(&file, &format!("+{name}")) {
                self.refused
                    .insert(canonical(name).to_owned(), (dir.to_owned(), source));
            }
        }
        Ok(())
    }
}

impl Hierarchies {
    /// Makes the next attaches cheap (tens of microseconds instead of 8-10 ms): an attach waits for
    /// an RCU grace period unless there was another one within the last 15 ms or so. So call this in
    /// a helper thread as soon as a container is expected; it moves the caller to where it is.
    pub fn warm(&self) -> Result<(), CgroupError> {
        let Some(tree) = self.trees().iter().find(|tree| tree.version == Version::V1) else {
            // CLONE_INTO_CGROUP never waits.
            return Ok(());
        };
        write_file(&tree.mount.join(&tree.own).join("cgroup.procs"), "0")
    }

    /// Moves every process of the unified hierarchy's top cgroup to `leaf` below it.
    ///
    /// In a container with a cgroup namespace the top is an ordinary cgroup with the container's
    /// processes in it, and as long as they are there it hands no controllers down. On a machine's
    /// real root, and where there is no unified hierarchy, nothing is done.
    pub fn evacuate(&self, leaf: &str) -> Result<(), CgroupError> {
        let Some(tree) = self.trees().iter().find(|tree| tree.version == Version::V2) else {
            return Ok(());
        };
        // The real root is the only cgroup without a type, and the only one that need not be empty.
        if !tree.mount.join("cgroup.type").exists() {
            return Ok(());
        }
        let dir = tree.mount.join(relative(Path::new(leaf))?);
        match fs::create_dir(&dir) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                return Err(CgroupError::Create { dir, source });
            }
            _ => {}
        }
        let to = dir.join("cgroup.procs");
        // Those that fork meanwhile leave children behind: again, until there are none.
        for _ in 0..100 {
            let pids = processes::pids_in(&tree.mount)?;
            if pids.is_empty() {
                return Ok(());
            }
            for pid in pids {
                match write_file(&to, &pid.to_string()) {
                    Err(CgroupError::Write { source, .. }) if processes::no_such(&source) => {}
                    other => other?,
                }
            }
        }
        let (path, after) = (PathBuf::from("/"), Duration::ZERO);
        Err(CgroupError::TimedOut {
            path,
            what: "move to a leaf",
            after,
        })
    }
}

/// v1 cpusets start empty, and then nothing can be attached to them.
fn inherit(parent: &Path, dir: &Path, name: &str) -> Result<(), CgroupError> {
    let file = dir.join(name);
    if read_file(&file)?.trim().is_empty() {
        write_file(&file, read_file(&parent.join(name))?.trim())?;
    }
    Ok(())
}
