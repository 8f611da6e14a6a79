//! The client's side of a pod's supervisor, `rkube-pause`: starting one, finding it again, asking
//! it for things.
//!
//! ```text
//! launch(config) --clone3, execveat--> rkube-pause        dir/: s      the socket
//! connect(dir)   --------------------> (still there)            meta   who it is: pid, start time, boot
//!      prepare --> start --> Exited --> forget                  exits  ends that nobody was there to hear of
//! ```
//!
//! The supervisor outlives its client, and any number of clients up to sixteen may be connected. A
//! [`Supervisor`] is one connection: requests are answered in order, and events wait until
//! [`Supervisor::next_event`] takes them. No call waits without a bound.
//!
//! Not here: what a pod is, when to restart what, where state lives. Callers say so.

mod boot;
mod calls;
mod connection;
mod error;
mod exits;
mod image;
mod meta;
mod types;

pub use boot::{Namespace, SandboxConfig};
pub use calls::{Exec, ExecStreams, LogTarget, Prepare, Prepared};
pub use connection::Supervisor;
pub use error::SupervisorError;
pub use exits::read as read_exits;
pub use image::PAUSE_ELF;
pub use rkube_init::protocol::{
    Attach, BootStep, ContainerState, ExitOf, ExitRecord, Exited, LogLimits, Wiring,
};
pub use types::{Container, Event, Failure};
