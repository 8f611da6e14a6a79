//! `rkubelet serve`: sources in, running pods out, for as long as the host is up.
//!
//! ```text
//! sources --Delivery--> pods::Manager: union, admission --> a worker a pod
//!                           ^   ^
//!    agent.sock: "look" ----'   `---- pods::Handle: stop (HTTP API, house-keeping)
//! ```
//! The daemon plays the agent's part as well: it asks a running agent to leave, takes its lock and its socket, and looks
//! after detached pods together with those of its sources. It may be killed at any instant; pods go on under their
//! supervisors. When it is asked to end it hands the detached pods to an agent and leaves the others running.
use crate::agent::{self, Post};
use crate::config::{GoDuration, KubeletConfig};
use crate::housekeeping::Vitals;
use crate::plan::Backoff;
use crate::pods::{Handle, Manager, Problems};
use crate::sd;
use crate::server::{Server, ServerError};
use crate::source;
use crate::worker::Node;
use jiff::SignedDuration;
use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Deliveries that may wait for the manager.
const DELIVERIES: usize = 16;

/// What all parts of the daemon share. Clones are the same kubelet.
#[derive(Clone, Debug)]
pub struct Kubelet {
    /// This host: paths, images, network, and what is known of the pods.
    pub node: Node,
    /// The settings.
    pub config: Arc<KubeletConfig>,
    /// Requests to the pods' manager.
    pub pods: Handle,
    /// Pods that are not let in and places that cannot be used, each with its reason.
    pub problems: Problems,
    /// How the node is.
    pub vitals: Vitals,
    /// Cancelled when the daemon is to end: every task that hears it finishes what it must and returns.
    pub ending: CancellationToken,
}

/// Why the daemon cannot serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// It would be the second one.
    #[error(transparent)]
    Post(#[from] agent::PostError),
    /// The HTTP API.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Signals cannot be listened to, or the pods' folder cannot be read.
    #[error("cannot serve")]
    Io(#[from] io::Error),
}

/// Serves until SIGTERM or SIGINT. `arguments` are the global ones, for the agent that follows.
///
/// # Errors
/// When this host's state cannot be used, or another daemon serves here.
pub async fn run(
    node: Node,
    config: KubeletConfig,
    arguments: Vec<OsString>,
) -> Result<(), ServeError> {
    let post = Post::take_over(&node.paths).await?;
    let (deliveries, incoming) = mpsc::channel(DELIVERIES);
    let (pods, requests) = Handle::new();
    let kubelet = Kubelet {
        vitals: Vitals::new(&node, &config)?,
        config: Arc::new(config),
        pods,
        problems: Problems::new(&node.paths),
        ending: CancellationToken::new(),
        node,
    };
    let mut manager = Manager::new(&kubelet, incoming, requests);
    manager.take_up()?;
    source::spawn(&kubelet.config, &kubelet.node.name, &deliveries);
    drop(deliveries);
    let housekeeping = crate::housekeeping::spawn(&kubelet);
    let server = Server::start(&kubelet)?;
    let signals = tokio::spawn(end_on_signal(kubelet.ending.clone())?);
    sd::notify("READY=1");
    let outcome = manager.run(post, &kubelet.ending).await;
    kubelet.ending.cancel();
    sd::notify("STOPPING=1");
    server.close().await;
    signals.abort();
    // It hears of the end by itself, and may be in the middle of a pass.
    housekeeping.abort();
    if manager.has_detached() {
        agent::start(&kubelet.node.paths, &arguments)?;
    }
    Ok(outcome?)
}

/// Cancels at the first SIGTERM or SIGINT.
fn end_on_signal(ending: CancellationToken) -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        ending.cancel();
    })
}

/// The waits between tries that the settings ask for.
#[must_use]
pub fn backoff(config: &KubeletConfig) -> Backoff {
    let signed = |duration: GoDuration| {
        SignedDuration::try_from(duration.get()).unwrap_or(SignedDuration::MAX)
    };
    Backoff {
        base: signed(config.rkube.initial_container_restart_period),
        max: signed(config.crash_loop_back_off.max_container_restart_period),
        reset_after: signed(config.rkube.container_restart_reset_period),
    }
}
