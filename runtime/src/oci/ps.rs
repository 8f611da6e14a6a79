//! `ps`: the processes of a container.
use std::io;
use std::process::Command;

use clap::Args;

use super::cli::{self, Context, Failure};
use super::container::{CgroupUseError, Container, LookError};
use super::list::ListFormat;

/// Show the processes of a container.
#[derive(Debug, Args)]
pub(super) struct Ps {
    /// How to print them: json is an array of pids
    #[arg(
        long,
        short,
        value_enum,
        value_name = "FORMAT",
        default_value = "table"
    )]
    format: ListFormat,
    /// The container
    id: String,
    /// Options for ps(1), for a table
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "PS OPTIONS"
    )]
    options: Vec<String>,
}

/// Why processes cannot be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum PsError {
    /// The container cannot be looked at.
    #[error(transparent)]
    Look(#[from] LookError),
    /// Its processes cannot be found.
    #[error(transparent)]
    Cgroup(#[from] CgroupUseError),
    /// ps(1) cannot be run.
    #[error("cannot run ps; install procps, or use --format json")]
    Run {
        /// What the kernel said.
        source: io::Error,
    },
    /// ps(1) did not like its options.
    #[error("ps failed: {message}")]
    Failed {
        /// What it said.
        message: String,
    },
    /// The output of ps(1) has no column with pids.
    #[error("the output of ps has no PID column; choose options that print one")]
    NoPid,
}

impl Ps {
    /// Prints the processes.
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let pids = self.pids(context)?;
        let text = match self.format {
            ListFormat::Json => format!("{}\n", serde_json::to_string(&pids)?),
            ListFormat::Table => self.table(&pids)?,
        };
        cli::print(text.as_bytes())?;
        Ok(0)
    }

    fn pids(&self, context: &Context) -> Result<Vec<u32>, PsError> {
        let container = Container::look(&context.root, &self.id)?;
        let cgroup = container.cgroup()?;
        Ok(cgroup
            .all_pids()
            .map_err(|source| container.cgroup_error(source))?)
    }

    fn table(&self, pids: &[u32]) -> Result<String, PsError> {
        let defaults = ["-ef".to_owned()];
        let options = if self.options.is_empty() {
            &defaults[..]
        } else {
            &self.options
        };
        let output = Command::new("ps")
            .args(options)
            .output()
            .map_err(|source| PsError::Run { source })?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(PsError::Failed { message });
        }
        filter(&String::from_utf8_lossy(&output.stdout), pids).ok_or(PsError::NoPid)
    }
}

/// The header, and the lines whose pid is one of `pids`. `None` when no column is headed PID.
fn filter(listing: &str, pids: &[u32]) -> Option<String> {
    let mut lines = listing.lines();
    let header = lines.next()?;
    let column = header.split_whitespace().position(|title| title == "PID")?;
    let ours = |line: &&str| {
        let pid = line
            .split_whitespace()
            .nth(column)
            .and_then(|cell| cell.parse().ok());
        pid.is_some_and(|pid: u32| pids.contains(&pid))
    };
    let kept = std::iter::once(header).chain(lines.filter(ours));
    Some(kept.map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_processes_of_the_container_are_kept() {
        let listing =
            "UID  PID PPID CMD\nroot   1    0 init\nroot  22    1 sh 7\nroot   7    1 x\n";
        let want = "UID  PID PPID CMD\nroot  22    1 sh 7\n";
        assert_eq!(filter(listing, &[22, 99]).as_deref(), Some(want));
        assert_eq!(filter("CMD\ninit\n", &[1]), None);
        assert_eq!(filter("", &[1]), None);
    }
}
