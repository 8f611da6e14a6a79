//! What `rustix` has no safe form of: the one place for unsafe code, a module per subject.
pub(crate) mod bpf;
pub(crate) mod fd;
#[cfg(test)]
pub(crate) mod filter;
pub(crate) mod memfd;
pub(crate) mod notify;
pub(crate) mod pid;
pub(crate) mod seqpacket;
pub(crate) mod vfork;
