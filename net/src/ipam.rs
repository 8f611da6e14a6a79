//! Which pod has which address: leases as entries of a directory.
//!
//! A lease is a symbolic link named by the address that points at `uid@boot-id`. One system call
//! makes it whole or not at all, and fails if there is one: no lease is ever half written or given
//! twice, whatever dies at whatever point. `ls -l` is all the tooling it needs. A lease of an
//! earlier boot is void, because no pod outlives the kernel it ran on.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::cidr::Cidr;
use crate::lock;

/// Where the last given address is noted, so that the next one is another.
const LAST: &str = "last";
const LOCK: &str = "lock";

/// The addresses of a range and who has them.
#[derive(Debug, Clone)]
pub struct Leases {
    dir: PathBuf,
    subnet: Cidr,
    boot_id: String,
}

/// An address and the pod that has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lease {
    /// The address.
    pub ip: IpAddr,
    /// The uid of the pod.
    pub owner: String,
}

/// Why an address could not be leased or given back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// The directory cannot be read or written.
    #[error("cannot keep address leases in {}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why, with the file's name.
        source: io::Error,
    },
    /// Another process has held the lock for too long.
    #[error("another process has kept the address leases in {} locked for {seconds} s", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// How long this one waited.
        seconds: u64,
    },
    /// A uid that cannot be written down.
    #[error(
        "{owner:?} cannot own an address: a pod's uid is 1 to 128 letters, digits, '-', '_' or '.'"
    )]
    Owner {
        /// The uid.
        owner: String,
    },
    /// Every address is taken.
    #[error(
        "all {count} pod addresses of {subnet} are taken: stop pods, or choose a larger range \
         with --pod-subnet"
    )]
    Exhausted {
        /// The range.
        subnet: Cidr,
        /// How many leases there are.
        count: usize,
    },
}

impl Leases {
    /// Opens, or makes, the leases of a range in a directory.
    ///
    /// The first address (the range's name), the second (the bridge's) and the last (broadcast)
    /// are never leased.
    pub fn open(dir: &Path, subnet: Cidr) -> Result<Self, LeaseError> {
        let boot_id = lock::boot_id().map_err(|source| failed(dir, source))?;
        lock::private_dir(dir).map_err(|source| failed(dir, source))?;
        Ok(Self {
            dir: dir.to_owned(),
            subnet,
            boot_id,
        })
    }

    /// Gives a pod an address: the one it has already, or the next free one after the one given
    /// last, so that an address rests before it is used again.
    pub fn lease(&self, owner: &str) -> Result<IpAddr, LeaseError> {
        if !is_owner(owner) {
            return Err(LeaseError::Owner {
                owner: owner.to_owned(),
            });
        }
        let _lock = self.lock()?;
        let entries = self.entries()?;
        if let Some(entry) = entries
            .iter()
            .find(|entry| self.is_live(entry) && entry.owner == owner)
        {
            return Ok(entry.ip);
        }
        let taken: BTreeSet<IpAddr> = entries
            .iter()
            .filter(|entry| self.is_live(entry))
            .map(|entry| entry.ip)
            .collect();
        let exhausted = || LeaseError::Exhausted {
            subnet: self.subnet,
            count: taken.len(),
        };
        let ip = self.next_free(&taken).ok_or_else(exhausted)?;
        if entries.iter().any(|entry| entry.ip == ip) {
            self.unlink(ip)?; // of an earlier boot
        }
        let target = format!("{owner}@{}", self.boot_id);
        fs_err::os::unix::fs::symlink(target, self.path(ip)).map_err(|err| self.failed(err))?;
        self.note_last(ip)?;
        Ok(ip)
    }

    /// Gives back what a pod has. Having nothing is success.
    pub fn release(&self, owner: &str) -> Result<(), LeaseError> {
        let _lock = self.lock()?;
        for entry in self
            .entries()?
            .into_iter()
            .filter(|entry| entry.owner == owner)
        {
            self.unlink(entry.ip)?;
        }
        Ok(())
    }

    /// All leases that hold, by address.
    pub fn list(&self) -> Result<Vec<Lease>, LeaseError> {
        let entries = self
            .entries()?
            .into_iter()
            .filter(|entry| self.is_live(entry));
        Ok(entries
            .map(|entry| Lease {
                ip: entry.ip,
                owner: entry.owner,
            })
            .collect())
    }

    /// Gives back what pods have that are not alive, and returns those leases. For start-up, after
    /// a crash.
    pub fn reclaim(&self, alive: &BTreeSet<String>) -> Result<Vec<Lease>, LeaseError> {
        let _lock = self.lock()?;
        let mut gone = Vec::new();
        for entry in self.entries()? {
            if !self.is_live(&entry) || !alive.contains(&entry.owner) {
                self.unlink(entry.ip)?;
                gone.push(Lease {
                    ip: entry.ip,
                    owner: entry.owner,
                });
            }
        }
        Ok(gone)
    }

    fn is_live(&self, entry: &Entry) -> bool {
        entry.boot_id == self.boot_id
    }

    /// The first free address after the one given last, around the end of the range.
    fn next_free(&self, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        let (first, end) = (2, self.subnet.size().saturating_sub(1));
        let last = fs_err::read_to_string(self.dir.join(LAST)).unwrap_or_default();
        let last = last
            .trim()
            .parse()
            .ok()
            .and_then(|ip| self.subnet.offset_of(ip));
        let start = last.map_or(first, |last| last + 1).clamp(first, end);
        let mut offsets = (start..end).chain(first..start);
        offsets.find_map(|offset| self.subnet.nth(offset).filter(|ip| !taken.contains(ip)))
    }

    /// Losing the note only means that an address is used again sooner, hence no fsync.
    fn note_last(&self, ip: IpAddr) -> Result<(), LeaseError> {
        fs_err::write(self.dir.join(LAST), format!("{ip}\n")).map_err(|err| self.failed(err))
    }

    fn entries(&self) -> Result<Vec<Entry>, LeaseError> {
        let mut entries = Vec::new();
        for entry in fs_err::read_dir(&self.dir).map_err(|err| self.failed(err))? {
            let entry = entry.map_err(|err| self.failed(err))?;
            let Some(ip) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            match fs_err::read_link(entry.path()) {
                Ok(target) => {
                    let target = target.to_string_lossy().into_owned();
                    let (owner, boot_id) = target.rsplit_once('@').unwrap_or((&target, ""));
                    let (owner, boot_id) = (owner.to_owned(), boot_id.to_owned());
                    entries.push(Entry { ip, owner, boot_id });
                }
                // Given back between the listing and now (`list` takes no lock).
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                Err(err) => return Err(self.failed(err)),
            }
        }
        entries.sort_by_key(|entry| entry.ip);
        Ok(entries)
    }

    fn unlink(&self, ip: IpAddr) -> Result<(), LeaseError> {
        match fs_err::remove_file(self.path(ip)) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(self.failed(err)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn path(&self, ip: IpAddr) -> PathBuf {
        self.dir.join(ip.to_string())
    }

    fn lock(&self) -> Result<File, LeaseError> {
        lock::exclusive(&self.dir.join(LOCK)).map_err(|err| match err {
            TryLockError::Error(source) => self.failed(source),
            TryLockError::WouldBlock => {
                let seconds = lock::PATIENCE.as_secs();
                LeaseError::Locked {
                    dir: self.dir.clone(),
                    seconds,
                }
            }
        })
    }

    fn failed(&self, source: io::Error) -> LeaseError {
        failed(&self.dir, source)
    }
}

/// A lease as it is on disk.
struct Entry {
    ip: IpAddr,
    owner: String,
    boot_id: String,
}

fn failed(dir: &Path, source: io::Error) -> LeaseError {
    LeaseError::Directory {
        dir: dir.to_owned(),
        source,
    }
}

fn is_owner(owner: &str) -> bool {
    (1..=128).contains(&owner.len())
        && owner
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests;
