//! `rkubelet logs`: what containers wrote, as the daemon answers it, or read from their log files: no process of ours needs
//! to run.
mod follow;

use super::output::{self, Output};
use super::pods::{self, Seen};
use super::{Failure, Global, client, open, time};
use crate::logs::{Piece, Source, Window};
use crate::state::StoredPod;
use clap::Args;
use follow::Watch;
use jiff::Timestamp;
use std::io::{self, BufWriter, Write};
use std::time::Duration;

/// Print what a pod's containers wrote.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  rkubelet logs web                     all of it; of the first container, if there are several
  rkubelet logs web -c server -f        follow one container, across restarts, until the pod is over
  rkubelet logs web --tail 20 --timestamps
  rkubelet logs web --since 10m --all-containers --prefix
  rkubelet logs web -p                  the try before the last restart")]
pub struct Logs {
    /// The pod: its name, namespace/name, or the beginning of its uid
    pod: String,
    /// Which container [default: the only one, or the first]
    #[arg(short, long, value_name = "NAME", conflicts_with = "all_containers")]
    container: Option<String>,
    /// Go on until the pod is over
    #[arg(short, long)]
    follow: bool,
    /// Only the last so many lines; -1 for all
    #[arg(long, value_name = "LINES", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    tail: Option<i64>,
    /// Only what is not older than this, e.g. 30s, 5m, 2h
    #[arg(long, value_name = "SPAN", value_parser = time::span, conflicts_with = "since_time")]
    since: Option<Duration>,
    /// Only what is not older than this moment, e.g. 2026-01-02T15:04:05Z
    #[arg(long, value_name = "TIME", value_parser = time::moment)]
    since_time: Option<Timestamp>,
    /// Begin each line with its time
    #[arg(long)]
    timestamps: bool,
    /// The try before the last restart
    #[arg(short, long, conflicts_with = "follow")]
    previous: bool,
    /// All containers, init containers first
    #[arg(long)]
    all_containers: bool,
    /// Begin each line with the container's name
    #[arg(long)]
    prefix: bool,
}

impl Logs {
    /// Prints.
    ///
    /// # Errors
    /// When there is no such pod, container or try.
    pub async fn execute(&self, global: &Global) -> Result<u8, Failure> {
        open::require_root()?;
        let (pods, broken) = global.paths().load_all().map_err(|err| Failure::of(&err))?;
        let pod = open::find(&pods, &broken, &self.pod)?;
        let output = Output::detect(false);
        let names = self.containers(&pod, output)?;
        if let [name] = &names[..]
            && self.is_plain()
            && is_alone(&pod, &pods)
        {
            let query = self.query(Timestamp::now());
            if let Some(lines) = client::lines(&global.paths(), &pod, name, &query).await {
                return output::print_bytes(&lines).map(|()| 0);
            }
        }
        tokio::task::block_in_place(|| self.read(global, &pod, &names, output))
    }

    /// Whether the daemon can answer this. It cannot where several containers are told apart; and who follows goes on
    /// when the daemon ends.
    fn is_plain(&self) -> bool {
        !(self.follow || self.all_containers || self.prefix)
    }

    /// What the daemon is asked for.
    fn query(&self, now: Timestamp) -> String {
        let window = self.window(now);
        let tail = window.tail.map(|lines| format!("tailLines={lines}&"));
        let since = window.since.map(|since| format!("sinceTime={since}&"));
        format!(
            "{}{}previous={}&timestamps={}",
            tail.unwrap_or_default(),
            since.unwrap_or_default(),
            self.previous,
            self.timestamps
        )
    }

    /// From files.
    fn read(
        &self,
        global: &Global,
        pod: &StoredPod,
        names: &[String],
        output: Output,
    ) -> Result<u8, Failure> {
        let paths = global.paths();
        // Before the first look at the files: nothing that is written from here on is missed.
        let watch = match self.follow {
            true => Some(Watch::new(&paths, pod).map_err(|err| Failure::of(&err))?),
            false => None,
        };
        let sources = self.sources(global, pod, names)?;
        let mut printer = Printer::new(self, &sources, output);
        let printed = match watch {
            Some(watch) => follow_all(sources, watch, &mut printer),
            None => print_all(sources, &mut printer),
        };
        match printed {
            // Nobody reads any more: that is how `| head` ends.
            Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(0),
            Err(err) => Err(Failure::of(&err)),
            Ok(()) => Ok(0),
        }
    }

    /// The names of the containers that are meant.
    fn containers(&self, pod: &StoredPod, output: Output) -> Result<Vec<String>, Failure> {
        let record = &pod.record;
        if self.all_containers {
            let all = record.containers();
            return Ok(all.map(|(_, container)| container.name.clone()).collect());
        }
        let one = pods::container(record, self.container.as_deref(), output)?;
        Ok(vec![one.name.clone()])
    }

    fn sources(
        &self,
        global: &Global,
        pod: &StoredPod,
        names: &[String],
    ) -> Result<Vec<Source>, Failure> {
        let record = &pod.record;
        let dir = global
            .paths()
            .pod_logs(record.namespace(), record.name(), record.uid());
        let window = self.window(Timestamp::now());
        let open = |name: &String| Source::open(&dir.join(name), name, self.previous, &window);
        let opened: Result<Vec<_>, _> = names.iter().map(open).collect();
        opened.map_err(|err| Failure::failed(format!("pod {}: {err}", record.full_name())))
    }

    fn window(&self, now: Timestamp) -> Window {
        let since = self
            .since
            .map(|span| now.checked_sub(span).unwrap_or(Timestamp::MIN));
        Window {
            // -1 is all, as kubectl has it.
            tail: self.tail.and_then(|lines| u64::try_from(lines).ok()),
            since: since.or(self.since_time),
        }
    }
}

/// Whether no other pod has its name: the daemon is asked by name.
fn is_alone(pod: &StoredPod, pods: &[StoredPod]) -> bool {
    let name = pod.record.full_name();
    let same = pods.iter().filter(|one| one.record.full_name() == name);
    same.count() == 1
}

/// Prints what is there now, one container after the other. What is written meanwhile is left for the next time.
fn print_all(sources: Vec<Source>, printer: &mut Printer) -> io::Result<()> {
    let now = Timestamp::now();
    for (index, mut source) in sources.into_iter().enumerate() {
        while let Some(piece) = source.next_piece()? {
            let later = piece.time.parse::<Timestamp>().is_ok_and(|at| at > now);
            if later {
                break;
            }
            printer.print(index, &piece)?;
        }
        for piece in source.finish() {
            printer.print(index, &piece)?;
        }
    }
    printer.flush()
}

/// Prints what is there and what comes, until nothing more will.
fn follow_all(mut sources: Vec<Source>, mut watch: Watch, printer: &mut Printer) -> io::Result<()> {
    loop {
        watch.arm(&sources)?;
        // In this order: what was written before the end is printed after it was seen.
        let over = watch.is_over(&sources);
        for (index, source) in sources.iter_mut().enumerate() {
            loop {
                while let Some(piece) = source.next_piece()? {
                    printer.print(index, &piece)?;
                }
                if !source.next_try()? {
                    break;
                }
                for piece in source.finish() {
                    printer.print(index, &piece)?;
                }
            }
        }
        if over {
            for (index, source) in sources.iter_mut().enumerate() {
                for piece in source.finish() {
                    printer.print(index, &piece)?;
                }
            }
            return printer.flush();
        }
        printer.flush()?;
        watch.wait()?;
    }
}

/// Writes lines to standard output, with what was asked for in front.
struct Printer {
    out: BufWriter<io::Stdout>,
    prefixes: Vec<String>,
    timestamps: bool,
}

impl Printer {
    fn new(logs: &Logs, sources: &[Source], output: Output) -> Self {
        let widths = sources.iter().map(|source| source.container.len());
        let width = widths.max().unwrap_or(0);
        let prefix = |(index, source): (usize, &Source)| match logs.prefix {
            true => output.prefix(&format!("{:width$}", source.container), index),
            false => String::new(),
        };
        Printer {
            out: BufWriter::with_capacity(64 * 1024, io::stdout()),
            prefixes: sources.iter().enumerate().map(prefix).collect(),
            timestamps: logs.timestamps,
        }
    }

    fn print(&mut self, source: usize, piece: &Piece) -> io::Result<()> {
        if !piece.continues {
            self.out.write_all(self.prefixes[source].as_bytes())?;
            if self.timestamps {
                write!(self.out, "{} ", piece.time)?;
            }
        }
        self.out.write_all(&piece.text)?;
        if piece.ends {
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Watch {
    /// Whether nothing more will be written: the pod is over, or the containers that are read are.
    fn is_over(&mut self, sources: &[Source]) -> bool {
        let Some(pod) = self.reload() else {
            return true;
        };
        let seen = Seen::look(self.paths(), pod);
        let state = &seen.pod.state;
        let ended = |source: &Source| {
            state.container(&source.container).is_some_and(|container| {
                matches!(container.state, crate::state::ContainerState::Terminated(_))
            })
        };
        state.phase.ended() || sources.iter().all(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Verb};
    use clap::Parser;

    fn logs(words: &[&str]) -> Result<Logs, clap::Error> {
        let all = ["rkubelet", "logs"].iter().chain(words);
        Cli::try_parse_from(all).map(|cli| match cli.verb {
            Verb::Logs(logs) => logs,
            _ => panic!("not logs"),
        })
    }

    #[test]
    fn flags() {
        let all = logs(&[
            "web",
            "-c",
            "a",
            "-f",
            "--tail=5",
            "--since",
            "5m",
            "--timestamps",
        ])
        .unwrap();
        assert!(all.follow && all.timestamps && !all.previous && !all.prefix);
        assert_eq!(all.container.as_deref(), Some("a"));
        let now = Timestamp::from_second(1000).unwrap();
        let window = all.window(now);
        assert_eq!(window.tail, Some(5));
        assert_eq!(window.since, Some(Timestamp::from_second(700).unwrap()));
        assert!(!all.is_plain(), "who follows reads files");
        let plain = logs(&["web", "-p", "--tail=5", "--since", "5m"]).unwrap();
        assert!(plain.is_plain());
        assert_eq!(
            plain.query(now),
            "tailLines=5&sinceTime=1970-01-01T00:11:40Z&previous=true&timestamps=false"
        );
        assert_eq!(
            logs(&["web", "--tail", "-1"]).unwrap().window(now).tail,
            None
        );
        assert!(
            logs(&["web", "-p", "--all-containers", "--prefix"])
                .unwrap()
                .previous
        );
        let since = logs(&["web", "--since-time", "1970-01-01T00:00:07Z"]).unwrap();
        assert_eq!(
            since.window(now).since,
            Some(Timestamp::from_second(7).unwrap())
        );
        for bad in [
            &[][..],
            &["web", "--tail", "-2"],
            &["web", "--since", "soon"],
            &[
                "web",
                "--since",
                "5m",
                "--since-time",
                "1970-01-01T00:00:07Z",
            ],
            &["web", "-p", "-f"],
            &["web", "-c", "a", "--all-containers"],
        ] {
            assert!(logs(bad).is_err(), "{bad:?}");
        }
    }
}
