//! From an OCI runtime spec to a running container.
//!
//! Synchronous, without threads, and ignorant of pods: the kubelet translates.
pub mod cgroup;
pub mod compile;
pub mod oci;
pub mod record;
pub mod seccomp;
pub mod spawn;
pub mod supervisor;
pub mod sys;
