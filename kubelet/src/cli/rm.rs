//! `rkubelet rm`: removes what is left of pods: record, logs, volumes.
use super::output::{self, Output};
use super::{Failure, Global, open};
use crate::admission;
use crate::paths::Paths;
use crate::state::StoredPod;
use clap::Args;

/// Remove pods that are over.
///
/// Record, logs and volumes go. A pod that runs is refused, or killed first with --force, which also removes one
/// whose record is damaged, by its uid.
#[derive(Clone, Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:
  rkubelet rm web               after it has ended
  rkubelet rm -f web            whatever it does
  rkubelet rm --all             all that have ended"
)]
pub struct Rm {
    /// Pods: names, namespace/names, or beginnings of uids
    #[arg(value_name = "POD", required_unless_present = "all")]
    pods: Vec<String>,
    /// Every pod that is over; with --force every pod
    #[arg(short, long, conflicts_with = "pods")]
    all: bool,
    /// Kill those that run
    #[arg(short, long)]
    force: bool,
    /// With --force: seconds between SIGTERM and SIGKILL
    #[arg(
        short = 't',
        long = "time",
        value_name = "SECONDS",
        default_value_t = 0,
        requires = "force"
    )]
    time: u32,
}

impl Rm {
    /// Removes them.
    ///
    /// # Errors
    /// Names the pods that run or could not be removed; the others are.
    pub async fn execute(self, global: &Global) -> Result<u8, Failure> {
        open::require_root()?;
        let paths = global.paths();
        let (damaged, named): (Vec<String>, Vec<String>) = self
            .pods
            .iter()
            .cloned()
            .partition(|name| self.force && is_damaged(&paths, name));
        for uid in &damaged {
            super::reset::damaged_pod(global, uid).await?;
            output::print(&format!("pod {uid} removed\n"))?;
        }
        let mut pods = open::pods(&paths, &named, self.all)?;
        if self.all && !self.force {
            pods.retain(|pod| admission::is_over(&paths, pod) && !pod.record.is_wanted());
        }
        let removals = pods.iter().map(|pod| self.remove(global, pod));
        super::all_of(futures::future::join_all(removals).await)?;
        Ok(0)
    }

    async fn remove(&self, global: &Global, pod: &StoredPod) -> Result<(), Failure> {
        let paths = global.paths();
        let name = pod.record.full_name();
        if !self.force && !admission::is_over(&paths, pod) {
            return Err(Failure::failed(format!(
                "pod {name} is not over; stop it first with `rkubelet stop {}`, or use --force",
                pod.record.name()
            )));
        }
        if !self.force && pod.record.is_wanted() {
            let origin = &pod.record.origin;
            return Err(Failure::failed(format!(
                "pod {name} is wanted by {} {}, which would start it again; take it out there, or use --force to have it started afresh",
                origin.source.as_str(),
                origin.place
            )));
        }
        // One whose command was killed may have left a supervisor, an address, rules.
        super::stop::end(global, pod, Some(self.time), Output::detect(true)).await?;
        let removed = admission::forget(&paths, &pod.record);
        removed
            .map_err(|err| Failure::failed(format!("pod {name}: {}", crate::error::chain(&err))))?;
        crate::agent::poke(&paths).await;
        output::print(&format!("pod {name} removed\n"))
    }
}

/// Whether this is the uid of a pod whose record cannot be read.
fn is_damaged(paths: &Paths, uid: &str) -> bool {
    let plain = uid
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plain && !uid.is_empty() && paths.pod(uid).is_dir() && paths.load(uid).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Verb};
    use clap::Parser;

    fn rm(words: &[&str]) -> Result<Rm, clap::Error> {
        let all = ["rkubelet", "rm"].iter().chain(words);
        Cli::try_parse_from(all).map(|cli| match cli.verb {
            Verb::Rm(rm) => rm,
            _ => panic!("not rm"),
        })
    }

    #[test]
    fn flags() {
        let forced = rm(&["-f", "web", "-t", "5"]).unwrap();
        assert_eq!((forced.force, forced.time), (true, 5));
        assert_eq!(rm(&["web"]).unwrap().time, 0);
        assert!(rm(&["--all", "--force"]).unwrap().all);
        for bad in [&[][..], &["--all", "web"], &["web", "-t", "5"]] {
            assert!(rm(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_damaged_record_is_told_from_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths {
            root: dir.path().to_owned(),
            ..Paths::default()
        };
        fs_err::create_dir_all(paths.pod("u-1")).unwrap();
        fs_err::write(paths.pod("u-1").join("pod.json"), "{").unwrap();
        assert!(is_damaged(&paths, "u-1"));
        for other in ["u-2", "..", ".", "u-1/..", ""] {
            assert!(!is_damaged(&paths, other), "{other}");
        }
    }
}
