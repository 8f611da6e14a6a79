//! The no_std half of the runtime: system calls, the start record, the stages of a container's start.
//!
//! ```text
//! parent --launch--> clone3 --> child --enter--> stages ... execve
//!            ^                    |
//!            +--- status frames --+
//! ```
//! Used by `rkube-runtime` in a small single-threaded process, and by the pod supervisor `rkube-pause`, which has
//! neither libc nor a heap. So nothing here allocates, and nothing here knows pods or JSON.
#![no_std]

pub mod enter;
pub mod launch;
pub mod log;
pub mod protocol;
pub mod record;
pub mod status;
pub mod sys;
