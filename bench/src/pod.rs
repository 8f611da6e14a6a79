//! The suite `pod`: what it takes, in a running pod, until a container's or an exec'd program's first instruction.

mod container;
mod floor;

use std::time::Duration;

use anyhow::Result;

use crate::Settings;
use crate::bed::Bed;
use crate::contest::{Contestant, hold};
use crate::report::{Table, Unit};
use container::Pod;

const START: &str = "container start";
const EXEC: &str = "exec";
const START_FLOOR: &str = "floor: the bare system calls of a start";
const EXEC_FLOOR: &str = "floor: fork, setns, exec";
const VFORK: &str = "floor: vfork, exec";
const METRICS: [&str; 4] = [
    "ms to the first instruction",
    "of which cgroup",
    "compile",
    "supervisor and kernel",
];

/// The tables of this suite.
///
/// # Errors
/// When no pod can be made, or the user has asked for the end.
pub(crate) fn suite(bed: &Bed, settings: &Settings) -> Result<Vec<Table>> {
    let pod = Pod::launch(bed)?;
    let pod = &pod;
    let table = Table::new("In a running pod", &METRICS)
        .note(
            "From the request, the OCI spec in hand, to the moment that the program reads the clock, its first system call. The \
             container: a cgroup with limits, an overlay of three layers, the kubelet's mounts, masks and capabilities, the default \
             seccomp filter. cgroup attaches are warm: another process was moved just before.",
        )
        .note(
            "The layers are on disk, what is written on a tmpfs: each overlay mount makes and removes files, and ext4 does not give out \
             the number of a removed file for some seconds; at the pace of a benchmark it then looks for others for milliseconds, which \
             no host that starts a container now and then does.",
        )
        .note(
            "The floors are the same system calls made by the bench itself, after a plain fork; they have no \
             supervisor, no log and check nothing.",
        );
    let one = |ms: f64| vec![ms];
    let contestants = vec![
        Contestant::new(
            START,
            "rkube_runtime: Cgroup::create, apply; compile; Supervisor::prepare, start",
            move || pod.start(),
        ),
        Contestant::new(START_FLOOR, "", move || floor::start(pod)),
        Contestant::new(
            EXEC,
            "rkube_runtime: compile_exec; Supervisor::exec",
            move || pod.exec(),
        ),
        Contestant::new(EXEC_FLOOR, "", move || floor::exec(pod).map(one)),
        Contestant::new(VFORK, "", move || floor::vfork(pod).map(one)),
    ];
    let mut table = hold(table, contestants, settings.rounds(300, Duration::ZERO))?;
    table.limit(START, 0, Unit::Ms, 1.5);
    table.limit(EXEC, 0, Unit::Ms, 0.6);
    Ok(vec![table])
}
