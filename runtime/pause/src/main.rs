//! The supervisor of one pod, in the role of the pause process.
//!
//! ```text
//! kubelet --clone3(NEWPID|NEWNS|NEWNET|NEWIPC|NEWUTS), execveat(sealed memfd)--> rkube-pause, pid 1 of the pod
//!    `== SOCK_SEQPACKET dir/s ==> epoll loop --launch--> container A (pid 1 of a nested pid namespace)
//!                                    |    ^----pipes----- its output -> log file
//!                                    `-- exits, events
//! ```
//!
//! It forks containers from start records, reaps them, writes their output to log files and their
//! exits to the `exits` file, and answers a few requests. One thread, no heap, static tables. It is
//! fail-stop: on a bug it leaves a record, exits with 101, and the kernel ends the pod with it. It
//! never wakes up without a reason.
//!
//! Not here: pods, images, restarts, policy, JSON. Whatever has to be understood, the client has
//! understood.
#![no_std]
#![no_main]

mod attach;
mod boot;
mod connections;
mod containers;
mod execs;
mod exits;
mod log;
mod output;
mod plumbing;
mod requests;
mod supervisor;
mod sys;

/// The first Rust function of the process.
fn main() -> i32 {
    let Some(tables) = sys::tables() else {
        return exits::BUG;
    };
    match boot::boot() {
        Ok(booted) => supervisor::Supervisor::new(booted, tables).run(),
        Err(()) => 1,
    }
}
