//! `rkubelet stats`: what containers use, by their cgroups and their network devices.
mod sample;

use super::format::{DataFormat, print_data, row};
use super::output;
use super::{Failure, Global, open};
use crate::state::StoredPod;
use clap::Args;
use rkube_runtime::cgroup::Hierarchies;
use sample::{Sample, Usage, usages};
use std::io::{self, IsTerminal};
use std::time::Duration;

/// How long is measured for one answer.
const ONCE: Duration = Duration::from_millis(500);
/// How long is measured between two refreshes.
const REFRESH: Duration = Duration::from_secs(1);

/// Show what containers use.
///
/// CPU is in percent of one core. Memory is the working set: what cannot be taken back without harm. On a terminal
/// the table is refreshed every second until Ctrl-C.
#[derive(Clone, Debug, Args)]
#[command(
    visible_alias = "top",
    after_help = "Examples:
  rkubelet stats                all pods that run
  rkubelet stats web -1         one pod, once
  rkubelet stats -o json        for machines, once"
)]
pub struct Stats {
    /// Pods: names, namespace/names, or beginnings of uids [default: all that run]
    #[arg(value_name = "POD")]
    pods: Vec<String>,
    /// Measure once
    #[arg(short = '1', long)]
    no_stream: bool,
    /// The form of the answer; implies --no-stream
    #[arg(short, long, value_enum, value_name = "FORM")]
    output: Option<DataFormat>,
}

impl Stats {
    /// Measures and shows.
    ///
    /// # Errors
    /// When a named pod is not there.
    pub async fn execute(self, global: &Global) -> Result<u8, Failure> {
        open::require_root()?;
        let hierarchies = Hierarchies::detect().map_err(|err| Failure::of(&err))?;
        let stream = self.output.is_none() && !self.no_stream && io::stdout().is_terminal();
        let mut pods = self.known(global).await?;
        let mut before = sample(global, &pods, &hierarchies);
        loop {
            tokio::time::sleep(if stream { REFRESH } else { ONCE }).await;
            if stream {
                pods = self.known(global).await?;
            }
            let after = sample(global, &pods, &hierarchies);
            let usages = usages(&before, &after);
            match self.output {
                Some(format) => print_data(&usages, format)?,
                None => {
                    let rows = table(&usages);
                    let clear = if stream { "\x1b[H\x1b[2J" } else { "" };
                    let text = output::table(&rows, output::terminal_width());
                    output::print(&format!("{clear}{text}"))?;
                }
            }
            if !stream {
                return Ok(0);
            }
            before = after;
        }
    }

    async fn known(&self, global: &Global) -> Result<Vec<StoredPod>, Failure> {
        open::known(global, &self.pods, self.pods.is_empty()).await
    }
}

fn sample(global: &Global, pods: &[StoredPod], hierarchies: &Hierarchies) -> Vec<Sample> {
    let paths = global.paths();
    let running = pods.iter().filter(|pod| !pod.state.phase.ended());
    running
        .flat_map(|pod| Sample::of_pod(&paths, pod, hierarchies))
        .collect()
}

fn table(usages: &[Usage]) -> Vec<Vec<String>> {
    let mut rows = vec![row(&[
        "POD",
        "CONTAINER",
        "CPU",
        "MEMORY",
        "LIMIT",
        "PIDS",
        "THROTTLED",
        "OOM",
        "NET IN",
        "NET OUT",
    ])];
    let dash = || "-".to_owned();
    let bytes = |count: Option<u64>| count.map_or_else(dash, output::bytes);
    let mut last = "";
    for usage in usages {
        // The network is the pod's, not a container's: it stands in the pod's first row.
        let first = usage.pod != last;
        last = &usage.pod;
        let net = |count: Option<u64>| match first {
            true => bytes(count),
            false => String::new(),
        };
        let percent = |part: Option<f64>| part.map_or_else(dash, |part| format!("{part:.1}%"));
        rows.push(vec![
            usage.pod.clone(),
            usage.container.clone(),
            percent(usage.cpu_percent),
            bytes(usage.memory_bytes),
            bytes(usage.memory_limit_bytes),
            usage.pids.map_or_else(dash, |pids| pids.to_string()),
            percent(usage.throttled_percent),
            usage.oom_kills.to_string(),
            net(usage.network_in_bytes),
            net(usage.network_out_bytes),
        ]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Verb};
    use clap::Parser;

    #[test]
    fn flags() {
        let parse = |words: &[&str]| {
            let all = ["rkubelet", "stats"].iter().chain(words);
            Cli::try_parse_from(all).map(|cli| match cli.verb {
                Verb::Stats(stats) => stats,
                _ => panic!("not stats"),
            })
        };
        let once = parse(&["web", "-1"]).unwrap();
        assert!(once.no_stream && once.pods == ["web"]);
        assert!(parse(&["--no-stream"]).unwrap().no_stream);
        assert_eq!(
            parse(&["-o", "json"]).unwrap().output,
            Some(DataFormat::Json)
        );
        assert!(parse(&["-2"]).is_err());
    }

    #[test]
    fn the_network_stands_in_the_first_row() {
        let usage = |container: &str| Usage {
            pod: "default/web".into(),
            container: container.into(),
            cpu_percent: Some(12.34),
            memory_bytes: Some(2048),
            network_in_bytes: Some(1024),
            network_out_bytes: Some(0),
            ..Usage::default()
        };
        let rows = table(&[usage("a"), usage("b")]);
        assert_eq!(
            rows[1],
            [
                "default/web",
                "a",
                "12.3%",
                "2.0 KiB",
                "-",
                "-",
                "-",
                "0",
                "1.0 KiB",
                "0 B"
            ]
        );
        assert_eq!(rows[2][8..], ["", ""]);
        assert_eq!(rows[0].len(), rows[1].len());
    }
}
