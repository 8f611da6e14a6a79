//! From an image reference to unpacked layers.

pub mod archive;
pub mod config;
pub mod credentials;
pub mod digest;
mod manifest;
pub mod platform;
pub mod progress;
pub mod pull;
pub mod reference;
mod registry;
pub mod store;
mod sys;
#[cfg(any(test, feature = "test-support"))]
pub mod testing;
pub mod unpack;

pub use config::RegistryConfig;
pub use credentials::{Credentials, Login};
pub use digest::Digest;
pub use manifest::ManifestError;
pub use platform::Platform;
pub use progress::{Event, Progress, Silent};
pub use pull::{PullError, PullOptions, PullPolicy, pull};
pub use reference::Reference;
pub use registry::{RegistryError, RetryPolicy, Timeouts};
