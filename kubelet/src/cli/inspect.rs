//! `rkubelet inspect`: all that is known of a pod.
use super::format::{DataFormat, print_data, print_table, row};
use super::output::{self, Output};
use super::pods::{self, Seen};
use super::{Failure, Global, open};
use crate::paths::Paths;
use crate::state::StoredPod;
use crate::update::{self, Event};
use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

/// Show all that is known of pods: v1 Pods with their status.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  rkubelet inspect web                    a v1 Pod as YAML, with its status
  rkubelet inspect web -o json | jq .status.podIP
  rkubelet inspect web --events           what happened to it
  rkubelet inspect web --spec server      the OCI runtime spec that a container was started with")]
pub struct Inspect {
    /// Pods: names, namespace/names, or beginnings of uids
    #[arg(required = true, value_name = "POD")]
    pods: Vec<String>,
    /// The form of the answer [default: yaml; a table for events; json for a spec]
    #[arg(short, long, value_enum, value_name = "FORM")]
    output: Option<DataFormat>,
    /// What happened, instead of what is
    #[arg(long, conflicts_with = "spec")]
    events: bool,
    /// The OCI runtime spec of this container, as it was started last
    #[arg(long, value_name = "CONTAINER")]
    spec: Option<String>,
}

impl Inspect {
    /// Shows: one object for one pod, a list for several.
    ///
    /// # Errors
    /// Names the pod or container that is not there.
    pub async fn execute(self, global: &Global) -> Result<u8, Failure> {
        open::require_root()?;
        let paths = global.paths();
        let pods = open::known(global, &self.pods, false).await?;
        if let Some(container) = &self.spec {
            for pod in &pods {
                self.print_spec(&paths, pod, container)?;
            }
        } else if self.events {
            self.print_events(&paths, &pods)?;
        } else {
            self.print_pods(global, pods).await?;
        }
        Ok(0)
    }

    async fn print_pods(&self, global: &Global, pods: Vec<StoredPod>) -> Result<(), Failure> {
        let paths = global.paths();
        let looked = pods.into_iter().map(|pod| Seen::look(&paths, pod));
        let mut seen: Vec<Seen> = looked.collect();
        pods::attend(global, &mut seen, Output::detect(false)).await;
        let host_ip = pods::host_ip(global);
        let mut pods: Vec<Pod> = seen.iter().map(|seen| seen.api(host_ip)).collect();
        let format = self.output.unwrap_or(DataFormat::Yaml);
        match pods.pop() {
            Some(one) if pods.is_empty() => print_data(&one, format),
            last => {
                pods.extend(last);
                let list = k8s_openapi::List::<Pod> {
                    items: pods,
                    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta::default(),
                };
                print_data(&list, format)
            }
        }
    }

    fn print_events(&self, paths: &Paths, pods: &[StoredPod]) -> Result<(), Failure> {
        let mut events: Vec<(&str, Event)> = Vec::new();
        for pod in pods {
            let log = paths.pod(pod.record.uid()).join("events.jsonl");
            let own = update::read(&log).map_err(|err| Failure::of(&err))?;
            events.extend(own.into_iter().map(|event| (pod.record.name(), event)));
        }
        events.sort_by_key(|(_, event)| event.time);
        if let Some(format) = self.output {
            let events: Vec<_> = events.iter().map(|(_, event)| event).collect();
            return print_data(&events, format);
        }
        let now = Timestamp::now();
        let mut rows = vec![row(&["AGE", "TYPE", "REASON", "OBJECT", "MESSAGE"])];
        rows.extend(events.iter().map(|(pod, event)| event_row(pod, event, now)));
        print_table(&rows)
    }

    fn print_spec(&self, paths: &Paths, pod: &StoredPod, name: &str) -> Result<(), Failure> {
        let full_name = pod.record.full_name();
        pods::container(&pod.record, Some(name), Output::detect(true))?;
        let attempt = pod.state.container(name).map_or(0, |one| one.attempt());
        let dir = paths.container(pod.record.uid(), name, attempt);
        let text = fs_err::read(dir.join("config.json")).map_err(|err| {
            Failure::failed(match err.kind() {
                std::io::ErrorKind::NotFound => format!(
                    "pod {full_name}: container {name} has no spec; it was not started, or the pod is over"
                ),
                _ => format!("pod {full_name}: {err}"),
            })
        })?;
        let spec: serde_json::Value =
            serde_json::from_slice(&text).map_err(|err| Failure::of(&err))?;
        print_data(&spec, self.output.unwrap_or(DataFormat::Json))
    }
}

fn event_row(pod: &str, event: &Event, now: Timestamp) -> Vec<String> {
    let object = match &event.container {
        Some(container) => format!("{pod}/{container}"),
        None => pod.to_owned(),
    };
    let kind = if event.warning { "Warning" } else { "Normal" };
    let age = output::age(now.duration_since(event.time).as_secs());
    row(&[&age, kind, &event.reason, &object, &event.message])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Verb};
    use clap::Parser;

    fn inspect(words: &[&str]) -> Result<Inspect, clap::Error> {
        let all = ["rkubelet", "inspect"].iter().chain(words);
        Cli::try_parse_from(all).map(|cli| match cli.verb {
            Verb::Inspect(inspect) => inspect,
            _ => panic!("not inspect"),
        })
    }

    #[test]
    fn flags() {
        let spec = inspect(&["web", "--spec", "a", "-o", "yaml"]).unwrap();
        assert_eq!(spec.spec.as_deref(), Some("a"));
        assert_eq!(spec.output, Some(DataFormat::Yaml));
        assert!(inspect(&["web", "db", "--events"]).unwrap().events);
        for bad in [
            &[][..],
            &["web", "--events", "--spec", "a"],
            &["web", "-o", "wide"],
        ] {
            assert!(inspect(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_event_is_a_row() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut event = Event {
            time: at(10),
            warning: true,
            reason: "BackOff".into(),
            container: Some("a".into()),
            message: "wait".into(),
        };
        assert_eq!(
            event_row("web", &event, at(15)),
            ["5s", "Warning", "BackOff", "web/a", "wait"]
        );
        event.container = None;
        assert_eq!(event_row("web", &event, at(15))[3], "web");
    }
}
