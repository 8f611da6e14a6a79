//! `update`: new limits for a container that lives.
use std::io::{self, Read};
use std::path::PathBuf;

use clap::Args;
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use super::cli::{Context, Failure};
use super::container::{CgroupUseError, Container, LookError};
use super::status::{IllegalOp, Op};

/// Change the resource limits of a container.
///
/// What is not mentioned, or is zero, stays as it is.
#[derive(Debug, Args)]
pub(super) struct Update {
    /// File with an object like linux.resources of a config, or - for standard input; with it,
    /// the other flags do not count
    #[arg(long, short, value_name = "FILE")]
    resources: Option<PathBuf>,
    #[command(flatten)]
    limits: Limits,
    /// The container
    id: String,
}

#[derive(Debug, Default, Args)]
struct Limits {
    /// Weight of block I/O, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Length of a scheduler period in microseconds
    #[arg(long, value_name = "USEC")]
    cpu_period: Option<u64>,
    /// Time allowed in a period in microseconds; -1 for all of it
    #[arg(long, value_name = "USEC", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,
    /// Quota that may be saved up, in microseconds
    #[arg(long, value_name = "USEC")]
    cpu_burst: Option<u64>,
    /// Weight relative to other containers
    #[arg(long, visible_alias = "cpu-shares", value_name = "SHARES")]
    cpu_share: Option<u64>,
    /// Length of a real-time period in microseconds
    #[arg(long, value_name = "USEC")]
    cpu_rt_period: Option<u64>,
    /// Real-time time allowed in a period in microseconds
    #[arg(long, value_name = "USEC", allow_negative_numbers = true)]
    cpu_rt_runtime: Option<i64>,
    /// Processors to run on, such as 0-2,4
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Memory limit in bytes; -1 for none
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    memory: Option<i64>,
    /// Memory to reclaim down to under pressure, in bytes
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    memory_reservation: Option<i64>,
    /// Limit of memory and swap together in bytes; -1 for none
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    memory_swap: Option<i64>,
    /// Most processes and threads; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
}

/// Why limits were not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum UpdateError {
    /// The container cannot be looked at.
    #[error(transparent)]
    Look(#[from] LookError),
    /// It has no processes to limit.
    #[error(transparent)]
    Illegal(#[from] IllegalOp),
    /// The file of `--resources` cannot be read.
    #[error("cannot read the new resources")]
    Read {
        /// With the path.
        source: io::Error,
    },
    /// The file of `--resources` makes no sense.
    #[error("the new resources are not an object like linux.resources")]
    Parse {
        /// Where and why.
        source: serde_json::Error,
    },
    /// The kernel refused.
    #[error(transparent)]
    Cgroup(#[from] CgroupUseError),
}

impl Update {
    /// Writes the limits.
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        self.update(context)?;
        Ok(0)
    }

    fn update(&self, context: &Context) -> Result<(), UpdateError> {
        let resources = match &self.resources {
            Some(path) => serde_json::from_slice(&read(path)?),
            None => self.limits.resources(),
        };
        let resources = resources.map_err(|source| UpdateError::Parse { source })?;
        let container = Container::lock(&context.root, &self.id)?;
        container.status.allow(Op::Update)?;
        let cgroup = container.cgroup()?;
        Ok(cgroup
            .apply(&resources)
            .map_err(|source| container.cgroup_error(source))?)
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, UpdateError> {
    if path.as_os_str() != "-" {
        return fs_err::read(path).map_err(|source| UpdateError::Read { source });
    }
    let mut text = Vec::new();
    match io::stdin().lock().read_to_end(&mut text) {
        Ok(_) => Ok(text),
        Err(source) => Err(UpdateError::Read { source }),
    }
}

impl Limits {
    /// The flags as the object that a file would hold.
    fn resources(&self) -> Result<LinuxResources, serde_json::Error> {
        let cpu = json!({
            "shares": self.cpu_share, "quota": self.cpu_quota, "period": self.cpu_period,
            "burst": self.cpu_burst, "realtimePeriod": self.cpu_rt_period,
            "realtimeRuntime": self.cpu_rt_runtime, "cpus": self.cpuset_cpus,
            "mems": self.cpuset_mems,
        });
        let memory = json!({
            "limit": self.memory, "reservation": self.memory_reservation,
            "swap": self.memory_swap,
        });
        let pids = json!({ "limit": self.pids_limit });
        let block_io = json!({ "weight": self.blkio_weight });
        let parts = [
            ("cpu", cpu),
            ("memory", memory),
            ("pids", pids),
            ("blockIO", block_io),
        ];
        let given = parts.into_iter().filter(|(_, part)| any(part));
        let object: Map<String, Value> =
            given.map(|(name, part)| (name.to_owned(), part)).collect();
        serde_json::from_value(Value::Object(object))
    }
}

fn any(part: &Value) -> bool {
    part.as_object()
        .is_some_and(|fields| fields.values().any(|value| !value.is_null()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_resources() {
        let limits = Limits {
            memory: Some(1 << 20),
            cpu_quota: Some(-1),
            ..Limits::default()
        };
        let resources = serde_json::to_value(limits.resources().unwrap()).unwrap();
        assert_eq!(
            resources,
            json!({ "memory": { "limit": 1 << 20 }, "cpu": { "quota": -1 } })
        );
        let none = Limits::default().resources().unwrap();
        assert_eq!(none, LinuxResources::default());
        let pids = Limits {
            pids_limit: Some(7),
            blkio_weight: Some(10),
            ..Limits::default()
        };
        let resources = serde_json::to_value(pids.resources().unwrap()).unwrap();
        assert_eq!(resources["pids"]["limit"], 7);
        assert_eq!(resources["blockIO"]["weight"], 10);
    }
}
