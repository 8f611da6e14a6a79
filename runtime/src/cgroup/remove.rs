//! Removing a cgroup.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{Cgroup, CgroupError, subdirs};

/// After the last process has gone its cgroup may be busy for a moment; the waits double from 1 ms.
const RETRIES: u32 = 11;

impl Cgroup {
    /// Removes this cgroup and all below it. They must have no processes: [`Cgroup::kill`] first.
    ///
    /// Waits about two seconds in all for directories that are still busy; what is gone already is
    /// no error.
    pub fn delete(&self) -> Result<(), CgroupError> {
        let mut pause = Duration::from_millis(1);
        for _ in 0..RETRIES {
            if self.try_delete()? {
                return Ok(());
            }
            thread::sleep(pause);
            pause *= 2;
        }
        self.nodes
            .iter()
            .try_for_each(|node| remove_tree(&node.dir))
    }

    /// One attempt, without waiting: false when something is still busy.
    pub fn try_delete(&self) -> Result<bool, CgroupError> {
        let mut all = true;
        for node in &self.nodes {
            match remove_tree(&node.dir) {
                Ok(()) => {}
                Err(CgroupError::Remove { source, .. })
                    if source.kind() == io::ErrorKind::ResourceBusy =>
                {
                    all = false;
                }
                Err(err) => return Err(err),
            }
        }
        Ok(all)
    }
}

fn remove_tree(dir: &Path) -> Result<(), CgroupError> {
    // The common case first: a leaf goes with one call.
    let source = match fs::remove_dir(dir) {
        Ok(()) => return Ok(()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(err) => err,
    };
    let children = subdirs(dir)?;
    if children.is_empty() {
        return Err(CgroupError::Remove {
            dir: dir.to_owned(),
            source,
        });
    }
    children
        .iter()
        .try_for_each(|child| remove_tree(&dir.join(child)))?;
    match fs::remove_dir(dir) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(CgroupError::Remove {
            dir: dir.to_owned(),
            source: err,
        }),
        _ => Ok(()),
    }
}
