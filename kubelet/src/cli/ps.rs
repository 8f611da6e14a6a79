//! `rkubelet ps`: the pods of this host.
use super::format::{ListFormat, print_data, print_table, row};
use super::output::{self, Output};
use super::pods::{self, Care, Seen};
use super::{Failure, Global, open};
use crate::pods::Listing;
use crate::state::{Phase, Role};
use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use rkube_net::{HostPort, Transport};
use std::net::{IpAddr, Ipv4Addr};

/// List pods.
///
/// Shows the pods that run, are to run, or have failed. A pod that nobody looks after is marked: `unattended` if it
/// runs on under its supervisor, `Lost` if nothing of it is left.
#[derive(Clone, Debug, Args)]
#[command(
    visible_alias = "pods",
    after_help = "Examples:
  rkubelet ps                   what runs here, and what failed
  rkubelet ps -a -o wide        all of it, with images and uids
  rkubelet ps -q                uids alone, for scripts
  rkubelet ps -o json           a v1 PodList, with the status of each pod"
)]
pub struct Ps {
    /// Those that ended well, too
    #[arg(short, long)]
    all: bool,
    /// Only those of this namespace
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Print uids, nothing else
    #[arg(short, long, conflicts_with = "output")]
    quiet: bool,
    /// The form of the listing
    #[arg(short, long, value_enum, value_name = "FORM")]
    output: Option<ListFormat>,
}

impl Ps {
    /// Lists.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub async fn execute(self, global: &Global) -> Result<u8, Failure> {
        open::require_root()?;
        let mut seen = pods::all(global, Output::detect(false)).await?;
        let problems = Listing::read(&global.paths());
        seen.extend(problems.refused.iter().map(Seen::refused));
        seen.retain(|seen| self.shows(seen));
        let host_ip = pods::host_ip(global);
        match self.output {
            _ if self.quiet => {
                let uids = seen
                    .iter()
                    .map(|seen| format!("{}\n", seen.pod.record.uid()));
                output::print(&uids.collect::<String>())?;
            }
            Some(ListFormat::Name) => {
                let names = seen
                    .iter()
                    .map(|seen| format!("{}\n", seen.pod.record.full_name()));
                output::print(&names.collect::<String>())?;
            }
            Some(ListFormat::Json | ListFormat::Yaml) => {
                let items = seen.iter().map(|seen| seen.api(host_ip)).collect();
                let list = k8s_openapi::List::<Pod> {
                    items,
                    metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta::default(),
                };
                if let Some(format) = self.output.and_then(ListFormat::data) {
                    print_data(&list, format)?;
                }
            }
            None | Some(ListFormat::Wide) => {
                let wide = self.output == Some(ListFormat::Wide);
                let namespaces = seen
                    .iter()
                    .any(|seen| seen.pod.record.namespace() != "default");
                let columns = Columns { wide, namespaces };
                let mut rows = vec![columns.heading()];
                let now = Timestamp::now();
                rows.extend(seen.iter().map(|seen| columns.row(seen, host_ip, now)));
                print_table(&rows)?;
                explain(&problems, Output::detect(self.quiet));
            }
        }
        Ok(0)
    }

    fn shows(&self, seen: &Seen) -> bool {
        let record = &seen.pod.record;
        let here = self
            .namespace
            .as_deref()
            .is_none_or(|namespace| record.namespace() == namespace);
        here && (self.all || seen.pod.state.phase != Phase::Succeeded)
    }
}

/// Says why what is wanted does not run.
fn explain(problems: &Listing, output: Output) {
    for one in &problems.refused {
        output.warn(&format!(
            "pod {}/{} of {} {} is refused: {}",
            one.namespace,
            one.name,
            one.source.as_str(),
            one.place,
            one.message
        ));
    }
    for one in &problems.places {
        output.warn(&format!(
            "{} {}: {}",
            one.source.as_str(),
            one.place,
            one.message
        ));
    }
}

/// Which columns the table has.
#[derive(Clone, Copy)]
struct Columns {
    wide: bool,
    namespaces: bool,
}

impl Columns {
    fn heading(self) -> Vec<String> {
        let mut cells = Vec::new();
        if self.namespaces {
            cells.push("NAMESPACE");
        }
        cells.extend(["NAME", "READY", "STATUS", "RESTARTS", "IP", "PORTS", "AGE"]);
        if self.wide {
            cells.extend(["IMAGES", "UID"]);
        }
        row(&cells)
    }

    fn row(self, seen: &Seen, host_ip: Option<IpAddr>, now: Timestamp) -> Vec<String> {
        let (record, state) = (&seen.pod.record, &seen.pod.state);
        let counted = state
            .containers
            .iter()
            .filter(|container| container.role != Role::Init);
        let (ready, all) = counted.fold((0, 0), |(ready, all), container| {
            (ready + usize::from(container.ready), all + 1)
        });
        let dash = || "-".to_owned();
        let spec = record.pod.spec.as_ref();
        let on_host = spec.and_then(|spec| spec.host_network).unwrap_or(false);
        let host_ip = host_ip.filter(|_| on_host && seen.care != Care::Over);
        let ip = state.pod_ip.or(host_ip);
        let mut cells = Vec::new();
        if self.namespaces {
            cells.push(record.namespace().to_owned());
        }
        cells.extend([
            record.name().to_owned(),
            format!("{ready}/{all}"),
            seen.word(),
            restarts(seen, now),
            ip.map_or_else(dash, |ip| ip.to_string()),
            ports(&record.pod),
            output::age(now.duration_since(record.created).as_secs()),
        ]);
        if self.wide {
            let images = record.containers().filter_map(|(_, one)| one.image.clone());
            cells.push(images.collect::<Vec<_>>().join(","));
            cells.push(record.uid().to_owned());
        }
        cells
    }
}

/// `3 (20s ago)`: how often, and when last.
fn restarts(seen: &Seen, now: Timestamp) -> String {
    let containers = &seen.pod.state.containers;
    let count: u32 = containers.iter().map(|container| container.restarts).sum();
    let ends = containers.iter().filter(|container| container.restarts > 0);
    let last = ends
        .filter_map(|container| container.last.as_ref())
        .map(|end| end.finished)
        .max();
    match last {
        Some(at) if count > 0 => {
            let age = output::age(now.duration_since(at).as_secs());
            format!("{count} ({age} ago)")
        }
        Some(_) | None => count.to_string(),
    }
}

/// `8080->80/tcp,127.0.0.1:53->53/udp`
fn ports(pod: &Pod) -> String {
    let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let ports = crate::network::host_ports(pod, nowhere).unwrap_or_default();
    if ports.is_empty() {
        return "-".to_owned();
    }
    ports.iter().map(port).collect::<Vec<_>>().join(",")
}

fn port(port: &HostPort) -> String {
    let protocol = match port.protocol {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
        Transport::Sctp => "sctp",
    };
    let ip = port
        .host_ip
        .filter(|ip| !ip.is_unspecified())
        .map_or_else(String::new, |ip| format!("{ip}:"));
    format!("{ip}{}->{}/{protocol}", port.host_port, port.container_port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::pods::tests::record;
    use crate::state::{ContainerState, PodState, StoredPod, Termination};
    use serde_json::json;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn seen() -> Seen {
        let spec = json!({"initContainers": [{"name": "i", "image": "busybox"}],
            "containers": [{"name": "a", "image": "nginx", "ports": [
                {"containerPort": 80, "hostPort": 8080},
                {"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "127.0.0.1"},
                {"containerPort": 9}]}, {"name": "b", "image": "redis"}]});
        let record = record(&spec, &json!({}));
        let mut state = PodState::new(&record, "boot");
        state.phase = Phase::Running;
        state.pod_ip = Some("10.77.0.2".parse().unwrap());
        let end = Termination {
            exit_code: 1,
            signal: 0,
            reason: "Error".into(),
            message: String::new(),
            started: at(0),
            finished: at(90),
        };
        for container in &mut state.containers {
            container.state = ContainerState::Running {
                pid: 1,
                started: at(0),
            };
        }
        state.containers[0].state = ContainerState::Terminated(Termination {
            exit_code: 0,
            ..end.clone()
        });
        state.containers[1].ready = true;
        state.containers[2].restarts = 2;
        state.containers[2].last = Some(end);
        Seen {
            pod: StoredPod {
                record: record.into(),
                state,
            },
            care: Care::Owned,
        }
    }

    #[test]
    fn a_row_says_it_all() {
        let columns = Columns {
            wide: false,
            namespaces: false,
        };
        assert_eq!(
            columns.row(&seen(), None, at(100)),
            [
                "web",
                "1/2",
                "Running",
                "2 (10s ago)",
                "10.77.0.2",
                "8080->80/tcp,127.0.0.1:53->53/udp",
                "100s"
            ]
        );
        let wide = Columns {
            wide: true,
            namespaces: true,
        };
        let cells = wide.row(&seen(), None, at(100));
        assert_eq!(cells.len(), wide.heading().len());
        assert_eq!(cells.first().unwrap(), "default");
        assert_eq!(cells[8..], ["busybox,nginx,redis", "u-1"]);
    }

    #[test]
    fn nobody_looking_after_it_is_said() {
        let mut seen = seen();
        seen.care = Care::Unattended;
        assert_eq!(seen.word(), "Running (unattended)");
        assert!(seen.needs_agent());
    }

    #[test]
    fn what_ended_well_is_shown_on_request() {
        let ps = |all, namespace: Option<&str>| Ps {
            all,
            namespace: namespace.map(str::to_owned),
            quiet: false,
            output: None,
        };
        let mut seen = seen();
        assert!(ps(false, None).shows(&seen));
        assert!(ps(false, Some("default")).shows(&seen));
        assert!(!ps(true, Some("other")).shows(&seen));
        seen.pod.state.phase = Phase::Failed;
        assert!(ps(false, None).shows(&seen));
        seen.pod.state.phase = Phase::Succeeded;
        assert!(!ps(false, None).shows(&seen));
        assert!(ps(true, None).shows(&seen));
    }
}
