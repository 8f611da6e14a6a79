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
mod shutdown;
mod signals;
mod watchdog;

use crate::agent::{self, Post};
use crate::config::{GoDuration, KubeletConfig};
use crate::events::NodeEvent;
use crate::housekeeping::{self, Vitals};
use crate::plan::Backoff;
use crate::pods::{Handle, Manager, Problems};
use crate::sd;
use crate::server::{Server, ServerError};
use crate::source::http::HttpSource;
use crate::source::{self, Delivery};
use crate::state::SourceKind;
use crate::union::{Settings, Union};
use crate::worker::Node;
use jiff::SignedDuration;
use signals::{Signals, Wish};
use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Deliveries that may wait for the manager.
const DELIVERIES: usize = 16;
/// How long the parts of the daemon have to finish what they do.
const PARTS_WAIT: Duration = Duration::from_secs(5);

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
    /// The pods that are asked for over the HTTP API.
    pub http: HttpSource,
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

/// What is to follow a daemon that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing: somebody asked for its end.
    End,
    /// The same program anew, with the settings as they are now.
    Again,
    /// The end of the host: its pods were ended gracefully, and come back with it.
    HostEnds,
}

/// Serves until a signal says what else. `arguments` are the global ones, for the agent that follows; `is_right` looks at
/// the settings as they are now, before the daemon lets go of anything.
///
/// # Errors
/// When this host's state cannot be used, or another daemon serves here.
pub async fn run(
    node: Node,
    config: KubeletConfig,
    arguments: Vec<OsString>,
    is_right: impl Fn() -> Result<(), String>,
) -> Result<After, ServeError> {
    let mut signals = Signals::listen()?;
    let mut post = Post::take_over(&node.paths).await?;
    let (deliveries, incoming) = mpsc::channel(DELIVERIES);
    let (pods, requests) = Handle::new();
    let kubelet = Kubelet {
        vitals: Vitals::new(&node, &config)?,
        config: Arc::new(config),
        pods,
        problems: Problems::new(&node.paths),
        ending: CancellationToken::new(),
        http: source::http::spawn(node.paths.http_source(), &node.name, deliveries.clone()),
        node,
    };
    let union = Union::new(settings(&kubelet.config));
    let mut manager = Manager::new(&kubelet, union, incoming, requests);
    manager.take_up()?;
    post.open()?;
    let server = Server::start(&kubelet)?;
    let parts = parts(&kubelet, &deliveries);
    drop(deliveries);
    sd::notify("READY=1");
    let after = {
        let mut managing = std::pin::pin!(manager.run(post, &kubelet.ending));
        loop {
            tokio::select! {
                outcome = &mut managing => {
                    outcome?;
                    break After::End;
                }
                wish = signals.next() => match wish {
                    Wish::End => break kubelet.what_ends().await,
                    Wish::Reload => match is_right() {
                        Ok(()) => break After::Again,
                        Err(mistakes) => kubelet.refuse_settings(&mistakes),
                    },
                },
            }
        }
    };
    match after {
        After::End => sd::notify("STOPPING=1"),
        After::Again => sd::notify("RELOADING=1"),
        After::HostEnds => {
            // What pods may take is not the service manager's to cut short.
            let span = kubelet.config.shutdown_grace_period.get() + PARTS_WAIT;
            sd::notify(&format!(
                "STOPPING=1\nEXTEND_TIMEOUT_USEC={}",
                span.as_micros()
            ));
            shutdown::halt(&mut manager, &kubelet).await;
        }
    }
    kubelet.ending.cancel();
    server.close().await;
    finish(parts).await;
    let detached = manager.has_detached();
    manager.let_go().await;
    kubelet.problems.clear();
    if after == After::End && detached {
        agent::start(&kubelet.node.paths, &arguments)?;
    }
    Ok(after)
}

impl Kubelet {
    /// What a request to end means: the daemon's end, or with a grace period for it that of the whole host.
    async fn what_ends(&self) -> After {
        let wanted = !self.config.shutdown_grace_period.get().is_zero();
        if wanted && shutdown::host_is_ending().await {
            After::HostEnds
        } else {
            After::End
        }
    }

    fn refuse_settings(&self, mistakes: &str) {
        let message = format!(
            "the settings as they are now are not used: {}",
            mistakes.replace('\n', "; ")
        );
        self.node
            .events
            .append(NodeEvent::node("BadSettings", message).warning());
    }
}

/// Everything of the daemon beside its pods. Each part ends when `ending` is cancelled.
fn parts(kubelet: &Kubelet, deliveries: &mpsc::Sender<Delivery>) -> Vec<JoinHandle<()>> {
    source::spawn(&kubelet.config, &kubelet.node.name, deliveries);
    source::spawn_api(kubelet, deliveries);
    let mut parts = vec![housekeeping::spawn(kubelet)];
    parts.extend(watchdog::spawn(kubelet));
    parts
}

/// Lets the parts finish what they are at, for a while.
async fn finish(parts: Vec<JoinHandle<()>>) {
    let until = Instant::now() + PARTS_WAIT;
    for mut part in parts {
        if tokio::time::timeout_at(until, &mut part).await.is_err() {
            part.abort();
        }
    }
}

/// The sources that the settings name.
fn settings(config: &KubeletConfig) -> Settings {
    let mut settings = Settings::default();
    let mut add = |source, wanted: bool| {
        if wanted {
            settings.sources.insert(source);
        }
    };
    add(SourceKind::File, config.static_pod_path.is_some());
    add(SourceKind::Url, config.static_pod_url.is_some());
    add(SourceKind::Etcd, !config.rkube.etcd_servers.is_empty());
    // Root's socket takes requests whatever ports there are.
    add(SourceKind::Http, true);
    add(SourceKind::Api, config.rkube.asks_api_servers());
    settings
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_over_the_socket_without_any_port() {
        let config = KubeletConfig {
            enable_server: false,
            static_pod_path: None,
            ..KubeletConfig::default()
        };
        let sources: Vec<_> = settings(&config).sources.into_iter().collect();
        assert_eq!(sources, [SourceKind::Http]);
    }
}
