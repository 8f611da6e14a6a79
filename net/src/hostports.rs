//! The published ports of a host, kept in step with its packet filter.
//!
//! ```text
//! publish/withdraw -> lock -> hostports.json (what should be) -> one iptables-restore run
//! ```
//! Several processes may serve pods of one host, so what should be is a file under a lock and not
//! the memory of one of them. It is marked unsettled before the rules are touched and settled after:
//! whoever comes next after a crash in between writes all rules anew.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cidr::Cidr;
use crate::iptables::Jumps;
use crate::iptables::command::{Backend, Iptables, IptablesError, legacy_in_use};
use crate::netlink::{conntrack, nftables};
use crate::rules::{HostPort, Ruleset, RulesetError};
use crate::{iptables, lock, sysctl};

const STATE: &str = "hostports.json";
const LOCK: &str = "hostports.lock";
/// Version of the file's format.
const FORMAT: u32 = 1;

/// The published ports of this host. Cheap to make; all state is in the directory.
#[derive(Debug, Clone)]
pub struct HostPorts {
    dir: PathBuf,
    bridge: String,
    subnet: Cidr,
    backend: Option<Backend>,
}

/// Why ports could not be published or withdrawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// A port is taken, or no rule can be made for it.
    #[error(transparent)]
    Refused(#[from] RulesetError),
    /// The record of published ports cannot be read or written.
    #[error("cannot keep the record of published ports in {}", dir.display())]
    Record {
        /// The directory.
        dir: PathBuf,
        /// Why, with the file's name.
        source: io::Error,
    },
    /// Another process has held the lock for too long.
    #[error("another process has kept the published ports in {} locked for {seconds} s", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// How long this one waited.
        seconds: u64,
    },
    /// 127.0.0.1 could not be let through the bridge.
    #[error("cannot let 127.0.0.1 reach published ports through bridge {bridge}")]
    RouteLocalnet {
        /// The bridge's name.
        bridge: String,
        /// Why, with the file's name.
        source: io::Error,
    },
    /// The packet filter cannot be read or written.
    #[error(transparent)]
    Iptables(#[from] IptablesError),
}

/// What [`HostPorts::verify`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// Every rule was there, and none too many.
    Intact,
    /// Something was missing or too much, and all rules were written anew.
    Repaired,
}

/// How far the rules have followed the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Progress {
    /// They may be anything.
    Unsettled,
    /// They are as the record says.
    Settled,
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    format: u32,
    /// Rules do not survive the kernel they were given to.
    boot_id: String,
    backend: Backend,
    progress: Progress,
    /// The generation of the packet filter when they had, if it counts generations.
    generation: Option<u32>,
    bridge: String,
    subnet: Cidr,
    ports: Vec<HostPort>,
}

impl HostPorts {
    /// The published ports that are recorded in `dir`, which is made if need be, for the pods on a
    /// bridge.
    pub fn open(dir: &Path, bridge: &str, subnet: Cidr) -> Result<Self, PublishError> {
        lock::private_dir(dir).map_err(|source| PublishError::Record {
            dir: dir.to_owned(),
            source,
        })?;
        let (dir, bridge) = (dir.to_owned(), bridge.to_owned());
        Ok(Self {
            dir,
            bridge,
            subnet,
            backend: None,
        })
    }

    /// Chooses the packet filter instead of going by what the host uses.
    #[must_use]
    pub fn with_backend(self, backend: Backend) -> Self {
        Self {
            backend: Some(backend),
            ..self
        }
    }

    /// Publishes ports, all or none, and makes sure that pods' own traffic passes the host. To be
    /// called for every pod on the bridge: without ports it does just the latter. Doing it again
    /// changes nothing.
    pub fn publish(&self, ports: &[HostPort]) -> Result<(), PublishError> {
        let session = self.session()?;
        let mut rules = session.rules.clone();
        let mut added = Vec::new();
        for port in ports {
            if rules.insert(port.clone())? {
                added.push(port.clone());
            }
        }
        session.change(&rules, &added, &[])
    }

    /// Withdraws the ports of a pod. Having none is success.
    pub fn withdraw(&self, uid: &str) -> Result<(), PublishError> {
        if !self.dir.join(STATE).exists() {
            return Ok(());
        }
        let session = self.session()?;
        let mut rules = session.rules.clone();
        let removed = rules.remove(uid);
        if removed.is_empty() {
            return Ok(());
        }
        session.change(&rules, &[], &removed)
    }

    /// Withdraws the ports of pods that are not alive, and returns them. For start-up, after a
    /// crash.
    pub fn reclaim(&self, alive: &BTreeSet<String>) -> Result<Vec<HostPort>, PublishError> {
        if !self.dir.join(STATE).exists() {
            return Ok(Vec::new());
        }
        let session = self.session()?;
        let mut rules = session.rules.clone();
        let gone: Vec<_> = rules
            .ports
            .extract_if(.., |port| !alive.contains(&port.uid))
            .collect();
        if !gone.is_empty() {
            session.change(&rules, &[], &gone)?;
        }
        Ok(gone)
    }

    /// The published ports.
    pub fn list(&self) -> Result<Vec<HostPort>, PublishError> {
        let ports = self.read()?.map(|record| record.ports);
        Ok(ports.unwrap_or_default())
    }

    /// Compares the packet filter with the record, and writes all rules anew if they differ: after
    /// a crash, or when somebody else flushed them.
    pub fn verify(&self) -> Result<Verified, PublishError> {
        let session = self.session()?;
        let saved = session.iptables.save()?;
        let complete = iptables::same_count(&session.rules, &saved)
            && session
                .iptables
                .restore(&iptables::check(&session.rules))
                .is_ok();
        if complete {
            return Ok(Verified::Intact);
        }
        session.write(&session.rules, Progress::Unsettled)?;
        session
            .iptables
            .restore(&iptables::full(&session.rules, &saved))?;
        self.route_localnet("1")?;
        session.write(&session.rules, Progress::Settled)?;
        Ok(Verified::Repaired)
    }

    /// Removes every rule and chain of ours, from both packet filters, and the record.
    pub fn remove_all(&self) -> Result<(), PublishError> {
        let _lock = self.lock()?;
        self.route_localnet("0")?; // while the rule is there that makes it harmless
        let legacy = Iptables::of(Backend::Legacy).filter(|_| legacy_in_use());
        for iptables in Iptables::of(Backend::Nft).into_iter().chain(legacy) {
            // A backend that the kernel lacks holds no rules.
            let Ok(saved) = iptables.save_all() else {
                continue;
            };
            if let Some(batch) = iptables::removal(&saved) {
                iptables.restore(&batch)?;
            }
        }
        match fs_err::remove_file(self.dir.join(STATE)) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(self.failed(err)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether a connection to 127.0.0.1 may leave through the bridge. To be turned on only after
    /// the rules are in place: they drop what could come in that way (CVE-2020-8558).
    fn route_localnet(&self, value: &str) -> Result<(), PublishError> {
        let name = format!("ipv4/conf/{}/route_localnet", self.bridge);
        sysctl::ensure_if_present(&name, value).map_err(|source| PublishError::RouteLocalnet {
            bridge: self.bridge.clone(),
            source,
        })
    }

    fn session(&self) -> Result<Session<'_>, PublishError> {
        let lock = self.lock()?;
        let record = self.read()?;
        let backend = self
            .backend
            .or_else(|| record.as_ref().map(|record| record.backend));
        let iptables = match backend {
            Some(backend) => Iptables::of(backend).ok_or(IptablesError::NoIptables)?,
            None => Iptables::detect()?,
        };
        // Rules for another bridge or in another backend are not ours to build upon.
        let written = record.as_ref().is_some_and(|record| {
            let same_network = record.bridge == self.bridge && record.subnet == self.subnet;
            same_network
                && record.backend == iptables.backend
                && record.progress == Progress::Settled
        });
        let recorded = record.is_some();
        let then = record.as_ref().and_then(|record| record.generation);
        let known = then.is_some() && then == generation(iptables.backend);
        let jumps = if known { Jumps::Known } else { Jumps::Asked };
        let ports = record.map(|record| record.ports).unwrap_or_default();
        let rules = Ruleset {
            bridge: self.bridge.clone(),
            subnet: self.subnet,
            ports,
        };
        Ok(Session {
            owner: self,
            iptables,
            rules,
            recorded,
            written,
            jumps,
            _lock: lock,
        })
    }

    /// The record, if it is of this boot.
    fn read(&self) -> Result<Option<Record>, PublishError> {
        let text = match fs_err::read(self.dir.join(STATE)) {
            Ok(text) => text,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(self.failed(err)),
        };
        let record: Record = serde_json::from_slice(&text).map_err(|err| {
            let what = format!("{STATE} is damaged ({err}): remove it, or run `rkubelet reset`");
            self.failed(io::Error::new(io::ErrorKind::InvalidData, what))
        })?;
        let boot_id = lock::boot_id().map_err(|err| self.failed(err))?;
        Ok((record.format == FORMAT && record.boot_id == boot_id).then_some(record))
    }

    fn lock(&self) -> Result<File, PublishError> {
        lock::exclusive(&self.dir.join(LOCK)).map_err(|err| match err {
            TryLockError::Error(source) => self.failed(source),
            TryLockError::WouldBlock => {
                let seconds = lock::PATIENCE.as_secs();
                PublishError::Locked {
                    dir: self.dir.clone(),
                    seconds,
                }
            }
        })
    }

    fn failed(&self, source: io::Error) -> PublishError {
        PublishError::Record {
            dir: self.dir.clone(),
            source,
        }
    }
}

/// The record, read under the lock.
struct Session<'a> {
    owner: &'a HostPorts,
    iptables: Iptables,
    rules: Ruleset,
    /// There was a record.
    recorded: bool,
    /// The record says that the rules for it are there.
    written: bool,
    jumps: Jumps,
    _lock: File,
}

impl Session<'_> {
    /// Makes record and rules follow: a few lines when the rest is in place, all of it otherwise.
    fn change(
        &self,
        rules: &Ruleset,
        added: &[HostPort],
        removed: &[HostPort],
    ) -> Result<(), PublishError> {
        let delta = iptables::delta(added, removed, self.jumps);
        if self.written && delta.is_empty() {
            return self.owner.route_localnet("1"); // the bridge may be a new one
        }
        self.write(rules, Progress::Unsettled)?;
        let mut done = if self.written {
            self.iptables.restore(&delta)
        } else {
            self.full(rules)
        };
        if self.written && matches!(done, Err(IptablesError::Failed { .. })) {
            done = self.full(rules); // somebody flushed or deleted what the delta builds upon
        }
        if let Err(err) = done {
            self.restore_record()?;
            return Err(err.into());
        }
        self.owner.route_localnet("1")?;
        self.write(rules, Progress::Settled)?;
        for ports in [added, removed] {
            if let Err(err) = conntrack::forget_udp(ports) {
                tracing::warn!(%err, "clients that were sending UDP may not notice a port's change");
            }
        }
        Ok(())
    }

    fn full(&self, rules: &Ruleset) -> Result<(), IptablesError> {
        let saved = self.iptables.save()?;
        self.iptables.restore(&iptables::full(rules, &saved))
    }

    /// Takes back what [`change`](Self::change) wrote down. The rules may be half way, so the
    /// record stays unsettled.
    fn restore_record(&self) -> Result<(), PublishError> {
        if self.recorded {
            return self.write(&self.rules, Progress::Unsettled);
        }
        fs_err::remove_file(self.owner.dir.join(STATE)).map_err(|err| self.owner.failed(err))
    }

    fn write(&self, rules: &Ruleset, progress: Progress) -> Result<(), PublishError> {
        let write = || -> io::Result<()> {
            let record = Record {
                format: FORMAT,
                boot_id: lock::boot_id()?,
                backend: self.iptables.backend,
                progress,
                generation: generation(self.iptables.backend),
                bridge: rules.bridge.clone(),
                subnet: rules.subnet,
                ports: rules.ports.clone(),
            };
            let text = serde_json::to_vec(&record)?;
            // Renamed into place; not synced, since a reboot voids it.
            let temporary = self.owner.dir.join(format!("{STATE}.new"));
            fs_err::write(&temporary, text)?;
            fs_err::rename(&temporary, self.owner.dir.join(STATE))
        };
        write().map_err(|err| self.owner.failed(err))
    }
}

/// What tells whether somebody has changed the packet filter. Only `nf_tables` has such a number;
/// a change by somebody else in the moment between our own and reading it goes unnoticed until
/// [`HostPorts::verify`].
fn generation(backend: Backend) -> Option<u32> {
    match backend {
        Backend::Nft => nftables::generation().ok().flatten(),
        Backend::Legacy => None,
    }
}
