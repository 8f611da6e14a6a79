//! `events`: what a container uses, once or again and again, and when it runs out of memory.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cgroup::stats::{CpuStats, MemoryStats, Stats};
use crate::cgroup::{Cgroup, CgroupError};

use super::cli::{self, Context, Failure};
use super::container::{CgroupUseError, Container, LookError};
use super::status::{IllegalOp, Op, Status};

/// How long after a sign of it an OOM kill may still be counted.
const ALARM: Duration = Duration::from_secs(1);
/// How often the count is looked at meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Print what a container uses, as lines of JSON.
#[derive(Debug, Args)]
pub(super) struct Events {
    /// Time between two lines, such as 500ms, 5s or 1m
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    interval: Duration,
    /// Print one line and end
    #[arg(long)]
    stats: bool,
    /// The container
    id: String,
}

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum EventsError {
    /// The container cannot be looked at.
    #[error(transparent)]
    Look(#[from] LookError),
    /// It does not run.
    #[error(transparent)]
    Illegal(#[from] IllegalOp),
    /// The kernel does not tell.
    #[error(transparent)]
    Cgroup(#[from] CgroupUseError),
}

#[derive(Debug, Serialize)]
struct Event<'a> {
    r#type: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Value::is_null")]
    data: Value,
}

impl Events {
    /// Prints lines, until the container has stopped unless only one is wanted.
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let container = Container::look(&context.root, &self.id).map_err(EventsError::Look)?;
        // There is nothing illegal about looking at a paused container.
        container
            .status
            .allow(Op::Update)
            .map_err(EventsError::Illegal)?;
        let cgroup = container.cgroup()?;
        self.print_stats(&container, &cgroup)?;
        if !self.stats {
            self.follow(&container, &cgroup)?;
        }
        Ok(0)
    }

    fn print_stats(&self, container: &Container, cgroup: &Cgroup) -> Result<(), Failure> {
        let stats = cgroup
            .stats()
            .map_err(|source| container.cgroup_error(source))?;
        self.print("stats", data(&stats))
    }

    fn print(&self, r#type: &str, data: Value) -> Result<(), Failure> {
        let mut line = serde_json::to_string(&Event {
            r#type,
            id: &self.id,
            data,
        })?;
        line.push('\n');
        Ok(cli::print(line.as_bytes())?)
    }

    /// A line per interval, and one for every OOM kill as it happens.
    fn follow(&self, container: &Container, cgroup: &Cgroup) -> Result<(), Failure> {
        let wrap = |source: CgroupError| container.cgroup_error(source);
        let watch = cgroup.watch_oom().map_err(wrap)?;
        let mut kills = cgroup.oom_kills().map_err(wrap)?;
        let mut next = Instant::now() + self.interval;
        let mut alarm: Option<Instant> = None;
        while container.dir.status(&container.record) != Status::Stopped && cgroup.exists() {
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.print_stats(container, cgroup)?;
                next += self.interval;
                continue;
            }
            // v1 tells before the kill is counted, so the count is looked at again for a while.
            let alarmed = alarm.is_some_and(|at| at.elapsed() < ALARM);
            let patience = if alarmed { left.min(LOOK_AGAIN) } else { left };
            match &watch {
                Some(watch) if watch.wait(patience)? => {
                    watch.drain()?;
                    alarm = Some(Instant::now());
                }
                Some(_) => {}
                None => std::thread::sleep(patience),
            }
            let now = cgroup.oom_kills().unwrap_or(kills);
            if now > kills {
                self.print("oom", Value::Null)?;
            }
            kills = now;
        }
        Ok(())
    }
}

/// The object that runc prints, as containerd reads it.
fn data(stats: &Stats) -> Value {
    let hugetlb: BTreeMap<&str, Value> = stats
        .hugetlb
        .iter()
        .map(|(size, pages)| {
            let peak = pages.peak.unwrap_or(0);
            (
                size.as_str(),
                json!({ "usage": pages.usage, "max": peak, "failcnt": pages.failures }),
            )
        })
        .collect();
    let pids = stats
        .pids
        .as_ref()
        .map(|pids| json!({ "current": pids.current, "limit": pids.limit.unwrap_or(0) }));
    json!({
        "cpu": cpu(stats.cpu.as_ref().unwrap_or(&CpuStats::default())),
        "memory": memory(stats.memory.as_ref().unwrap_or(&MemoryStats::default())),
        "pids": pids.unwrap_or_else(|| json!({})),
        "blkio": blkio(stats),
        "hugetlb": hugetlb,
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

fn cpu(cpu: &CpuStats) -> Value {
    json!({
        "usage": {
            "total": nanos(cpu.usage), "kernel": nanos(cpu.system), "user": nanos(cpu.user),
        },
        "throttling": {
            "periods": cpu.periods,
            "throttledPeriods": cpu.throttled_periods,
            "throttledTime": nanos(cpu.throttled),
        },
    })
}

fn memory(memory: &MemoryStats) -> Value {
    let named = |name: &str| memory.detail.get(name).copied();
    let cache = named("total_cache")
        .or_else(|| named("cache"))
        .or_else(|| named("file"));
    let swap = memory.swap.unwrap_or(0);
    let limit = memory.limit.unwrap_or(u64::MAX);
    json!({
        "cache": cache.unwrap_or(0),
        "usage": {
            "limit": limit, "usage": memory.usage, "max": memory.peak.unwrap_or(0),
            "failcnt": memory.failures,
        },
        // runc counts memory in here as v1's memsw does.
        "swap": { "limit": u64::MAX, "usage": memory.usage + swap, "failcnt": 0 },
        "kernel": { "limit": 0, "failcnt": 0 },
        "kernelTCP": { "limit": 0, "failcnt": 0 },
        "raw": memory.detail,
    })
}

fn blkio(stats: &Stats) -> Value {
    let entry = |major: u32, minor: u32, op: &str, value: u64| json!({ "major": major, "minor": minor, "op": op, "value": value });
    let bytes = stats.io.iter().flat_map(|io| {
        [
            entry(io.major, io.minor, "Read", io.read_bytes),
            entry(io.major, io.minor, "Write", io.write_bytes),
        ]
    });
    let counts = stats.io.iter().flat_map(|io| {
        [
            entry(io.major, io.minor, "Read", io.reads),
            entry(io.major, io.minor, "Write", io.writes),
        ]
    });
    json!({
        "ioServiceBytesRecursive": bytes.collect::<Vec<_>>(),
        "ioServicedRecursive": counts.collect::<Vec<_>>(),
    })
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Go's notation, one unit only.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..digits]
        .parse()
        .map_err(|_| "give a number and a unit".to_owned())?;
    let time = match &text[digits..] {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        "h" => Duration::from_secs(number.saturating_mul(3600)),
        _ => return Err("the unit is one of ms, s, m and h".to_owned()),
    };
    if time.is_zero() {
        Err("it must be more than zero".to_owned())
    } else {
        Ok(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "5", "s", "0s", "-1s", "1d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_object_has_the_names_that_containerd_reads() {
        let stats = Stats {
            cpu: Some(CpuStats {
                usage: Duration::from_nanos(7),
                ..CpuStats::default()
            }),
            memory: Some(MemoryStats {
                usage: 3,
                limit: Some(9),
                ..MemoryStats::default()
            }),
            ..Stats::default()
        };
        let data = data(&stats);
        assert_eq!(data["cpu"]["usage"]["total"], 7);
        assert_eq!(data["memory"]["usage"]["limit"], 9);
        assert_eq!(data["memory"]["usage"]["usage"], 3);
        assert_eq!(data["blkio"]["ioServicedRecursive"], json!([]));
    }
}
