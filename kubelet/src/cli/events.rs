//! `rkubelet events`: what happened on this node and to its pods.
use super::format::{DataFormat, print_data, print_table, row};
use super::{Failure, Global, open, output};
use crate::events::{About, NodeEvent, NodeEvents};
use crate::update;
use clap::Args;
use jiff::Timestamp;

/// Show what happened on this node and to its pods.
///
/// The latest come last. A pod's events go with its record; those of the node, and of pods that were refused, are kept
/// until there are a thousand newer ones.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  rkubelet events                   all
  rkubelet events web               of one pod
  rkubelet events --warnings        what somebody should look at")]
pub struct Events {
    /// Pods: names, namespace/names, or beginnings of uids [default: all, and the node]
    #[arg(value_name = "POD")]
    pods: Vec<String>,
    /// Only what somebody should look at
    #[arg(short, long)]
    warnings: bool,
    /// Only the last so many
    #[arg(short = 'n', long, value_name = "COUNT")]
    tail: Option<usize>,
    /// The form of the answer
    #[arg(short, long, value_enum, value_name = "FORM")]
    output: Option<DataFormat>,
}

impl Events {
    /// Prints them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn execute(self, global: &Global) -> Result<u8, Failure> {
        open::require_root()?;
        let paths = global.paths();
        let mut events = NodeEvents::open(&paths.root)
            .recent()
            .map_err(|err| Failure::of(&err))?;
        for pod in open::pods(&paths, &[], true)? {
            let log = paths.pod(pod.record.uid()).join("events.jsonl");
            let own = update::read(&log).map_err(|err| Failure::of(&err))?;
            let about = About::pod(&pod.record);
            let own = own.into_iter();
            events.extend(own.map(|event| NodeEvent::of_pod(about.clone(), event)));
        }
        let events = self.select(events);
        match self.output {
            Some(format) => print_data(&events, format)?,
            None => print_table(&table(&events, Timestamp::now()))?,
        }
        Ok(0)
    }

    /// Those that are asked for, the latest last.
    fn select(&self, mut events: Vec<NodeEvent>) -> Vec<NodeEvent> {
        events.retain(|event| {
            let asked = self.pods.is_empty() || self.pods.iter().any(|pod| is_of(event, pod));
            asked && (event.warning || !self.warnings)
        });
        events.sort_by_key(|event| event.time);
        let surplus = self
            .tail
            .map_or(0, |tail| events.len().saturating_sub(tail));
        events.split_off(surplus)
    }
}

fn is_of(event: &NodeEvent, wanted: &str) -> bool {
    let About::Pod {
        namespace,
        name,
        uid,
    } = &event.about
    else {
        return false;
    };
    let wanted = wanted.strip_prefix("pod/").unwrap_or(wanted);
    name == wanted
        || wanted.split_once('/') == Some((namespace, name))
        || wanted.len() >= 4 && uid.starts_with(wanted)
}

fn table(events: &[NodeEvent], now: Timestamp) -> Vec<Vec<String>> {
    let mut rows = vec![row(&["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"])];
    for event in events {
        let object = match (&event.about, &event.container) {
            (About::Node, _) => "node".to_owned(),
            (About::Pod { name, .. }, None) => format!("pod/{name}"),
            (About::Pod { name, .. }, Some(container)) => format!("pod/{name}/{container}"),
        };
        let mut seen = output::age(now.duration_since(event.time).as_secs());
        if event.count > 1 {
            let first = output::age(now.duration_since(event.first).as_secs());
            seen.push_str(&format!(" (x{} over {first})", event.count));
        }
        rows.push(vec![
            seen,
            if event.warning { "Warning" } else { "Normal" }.to_owned(),
            event.reason.clone(),
            object,
            event.message.clone(),
        ]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Verb};
    use clap::Parser;
    use jiff::SignedDuration;

    fn events(words: &[&str]) -> Events {
        let all = ["rkubelet", "events"].iter().chain(words);
        match Cli::try_parse_from(all).unwrap().verb {
            Verb::Events(events) => events,
            _ => panic!("not events"),
        }
    }

    fn at(second: i64, mut event: NodeEvent) -> NodeEvent {
        event.time = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second);
        event.first = Timestamp::UNIX_EPOCH;
        event
    }

    #[test]
    fn events_are_chosen() {
        let all = vec![
            at(9, NodeEvent::node("A", "node")),
            at(
                1,
                NodeEvent::stranger("default", "web", "B", "refused").warning(),
            ),
            at(5, NodeEvent::stranger("other", "web", "C", "x")),
            at(6, NodeEvent::stranger("other", "db", "D", "x").warning()),
        ];
        let check = |words: &[&str], want: &str| {
            let chosen = events(words).select(all.clone());
            let reasons: String = chosen.iter().map(|event| event.reason.as_str()).collect();
            assert_eq!(reasons, want, "{words:?}");
        };
        check(&[], "BCDA");
        check(&["web"], "BC");
        check(&["other/web", "pod/db"], "CD");
        check(&["--warnings"], "BD");
        check(&["-n", "1"], "A");
        check(&["-n", "9", "nobody"], "");
    }

    #[test]
    fn rows() {
        let mut event = at(
            60,
            NodeEvent::stranger("default", "web", "Refused", "why").warning(),
        );
        event.count = 3;
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(90);
        let rows = table(&[event], now);
        assert_eq!(
            rows[1],
            ["30s (x3 over 90s)", "Warning", "Refused", "pod/web", "why"]
        );
    }
}
