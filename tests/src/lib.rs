//! What the end-to-end suites stand on: a host of their own to run `rkubelet` on, images, registries, waiting.
//!
//! ```text
//!   neighbour namespace                  the host's namespace (a minion)
//!     10.9.8.2  ----------- veth -----------  10.9.8.1     rkubelet, its bridge, its packet filter
//!                                             127.0.0.1    registries
//! ```
//! A [`Host`] is a network namespace and three directories; `rkubelet` runs there as it would on a machine of its
//! own. Cgroups and mounts are the real host's, told apart by the pods' uids. Everything a host made goes with
//! its value, whether the test passed or not; what `rkubelet` said is shown only on failure (by the test harness,
//! which captures standard output).
//!
//! Not here: anything of `rkubelet` itself. The suites know it by its command line alone.
#![expect(
    clippy::print_stdout,
    reason = "tests tell their story on standard output, which the harness captures"
)]
mod api_server;
mod clean;
mod daemon;
mod disk;
mod host;
mod image;
mod invocation;
mod master;
mod netns;
mod registry;
mod snapshot;
mod wait;

pub use api_server::ApiServer;
pub use daemon::{Answer, Daemon};
pub use disk::Disk;
pub use host::{Host, rkubelet_path};
pub use image::{Rootfs, busybox_image};
pub use invocation::{Invocation, Outcome, Running};
pub use master::{Master, client};
pub use netns::{NetNs, http_get, udp_ask};
pub use registry::{DockerRegistry, FixtureOn};
pub use snapshot::Snapshot;
pub use wait::{eventually, limit, patience};
