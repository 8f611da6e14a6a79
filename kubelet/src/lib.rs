//! The kubelet: manifests in, running pods out, status back.
//!
//! `ARCHITECTURE.md` draws how a pod flows through these modules.
pub mod admission;
pub mod admit;
pub mod agent;
pub mod change;
pub mod cli;
pub mod config;
pub mod control;
pub mod disk;
pub mod error;
pub mod etc;
pub mod events;
pub mod housekeeping;
pub mod images;
pub mod jsonl;
pub mod lock;
pub mod logs;
pub mod manifest;
pub mod mounts;
pub mod network;
pub mod paths;
pub mod plan;
pub mod pods;
pub mod probe;
pub mod registry;
pub mod sandbox;
pub mod sd;
pub mod serve;
pub mod source;
pub mod state;
pub mod status;
mod sys;
mod tls;
pub mod translate;
pub mod update;
pub mod volume;
pub mod worker;
