//! The process itself, from proc(5), under the names that all Prometheus clients use.
use super::{family, gauge};
use std::fmt::Write as _;

/// What can be read is shown.
pub(super) fn page(page: &mut String) {
    if let Ok(status) = fs_err::read_to_string("/proc/self/status") {
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        if let Some(kibibytes) = kibibytes {
            let help = "Resident memory";
            gauge(
                page,
                "process_resident_memory_bytes",
                help,
                kibibytes * 1024,
            );
        }
    }
    if let Some((seconds, threads)) = stat() {
        let name = "process_cpu_seconds_total";
        family(page, name, "counter", "Time on processors");
        let _ = writeln!(page, "{name} {seconds}");
        gauge(page, "process_threads", "Threads", threads);
    }
    if let Ok(files) = fs_err::read_dir("/proc/self/fd") {
        gauge(page, "process_open_fds", "Open files", files.count());
    }
}

/// Seconds of processor time, and threads.
fn stat() -> Option<(f64, u64)> {
    let stat = fs_err::read_to_string("/proc/self/stat").ok()?;
    // The name, in brackets, may have anything in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u32>().ok();
    let ticks = f64::from(number(11)?) + f64::from(number(12)?);
    let second = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    Some((ticks / f64::from(second), u64::from(number(17)?)))
}
