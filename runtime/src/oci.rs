//! The OCI command line: a front-end over the parts of this crate for engines, test suites and
//! people, one file per verb.
//!
//! Every invocation is a process of its own that ends when the verb is done: `create` leaves a
//! parked init behind, which whoever called us adopts. What one invocation has to tell the next is
//! in the state directory ([`root`]). Nothing here is used by the kubelet.
//!
//! ```text
//! cli -> verb -> container (root, status) -> creation -> compile, spawn -> init
//!                                         -> relay (foreground)
//! ```

mod bundle;
mod checkpoint;
pub mod cli;
mod container;
mod create;
mod creation;
mod delete;
mod descriptors;
mod events;
mod exec;
mod features;
mod filter;
mod home;
mod hooks;
mod id;
mod kill;
mod list;
mod log;
mod pause;
mod process;
mod ps;
mod relay;
mod root;
mod run;
mod signal;
mod spec;
mod start;
mod state;
mod status;
mod sys;
mod terminal;
mod update;
