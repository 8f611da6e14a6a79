//! The `meta` file: which process is this pod's supervisor. Pids are reused, so start time and boot
//! count too.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Who a supervisor is, for a client that comes later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// The protocol it speaks.
    pub(super) protocol: u8,
    /// Its pid.
    pub(super) pid: u32,
    /// When it started, in clock ticks since the machine did.
    pub(super) start_time: u64,
    /// Which start of the machine that was.
    pub(super) boot_id: String,
}

impl Meta {
    /// Describes the living process `pid`.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let protocol = rkube_init::protocol::VERSION;
        Ok(Self {
            protocol,
            pid,
            start_time: start_time(pid)?,
            boot_id: boot_id()?,
        })
    }

    /// Reads it from a pod's directory.
    pub(super) fn load(dir: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs_err::read(dir.join("meta"))?)?)
    }

    /// Writes it to a pod's directory, whole or not at all.
    pub(super) fn store(&self, dir: &Path) -> io::Result<()> {
        let draft = dir.join("meta.new");
        fs_err::write(&draft, serde_json::to_vec(self)?)?;
        fs_err::rename(draft, dir.join("meta"))
    }

    /// Whether the process that has this pid now is still the same one.
    pub(super) fn is_alive(&self) -> bool {
        boot_id().is_ok_and(|id| id == self.boot_id)
            && start_time(self.pid).is_ok_and(|time| time == self.start_time)
    }
}

fn boot_id() -> io::Result<String> {
    Ok(fs_err::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// Field 22 of `/proc/PID/stat`. The name in field 2 may hold anything, so count from its closing
/// bracket.
fn start_time(pid: u32) -> io::Result<u64> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
    let time = after
        .split(' ')
        .nth(19)
        .and_then(|field| field.parse().ok());
    time.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("/proc/{pid}/stat is cut short"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_more_than_its_pid() {
        let dir = tempfile::tempdir().unwrap();
        let meta = Meta::of(std::process::id()).unwrap();
        meta.store(dir.path()).unwrap();
        assert_eq!(Meta::load(dir.path()).unwrap(), meta);
        assert!(meta.is_alive());
        assert!(
            !Meta {
                start_time: meta.start_time + 1,
                ..meta.clone()
            }
            .is_alive()
        );
        assert!(
            !Meta {
                boot_id: "another".to_owned(),
                ..meta
            }
            .is_alive()
        );
    }
}
