//! The graceful end of the host: pods are ended in order, and come back with it.
//!
//! ```text
//! |<----------- shutdownGracePeriod ----------->|
//! | pods                   | critical pods      |
//!                          |<- ...CriticalPods >|
//! ```
use super::Kubelet;
use crate::events::NodeEvent;
use crate::housekeeping::eviction;
use crate::pods::Manager;
use crate::state::StoredPod;
use std::time::Duration;

/// How long the service manager may take to say how the host is.
const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// Whether the service manager is ending the host: then the request to end that we got is a part of that.
pub(super) async fn host_is_ending() -> bool {
    let mut command = tokio::process::Command::new("systemctl");
    command.arg("is-system-running").kill_on_drop(true);
    match tokio::time::timeout(ANSWER_WAIT, command.output()).await {
        Ok(Ok(output)) => output.stdout.trim_ascii() == b"stopping",
        // There is none, or it does not answer.
        Ok(Err(_)) | Err(_) => false,
    }
}

/// Ends all pods within the times that the settings give, critical ones last.
pub(super) async fn halt(manager: &mut Manager, kubelet: &Kubelet) {
    let all = kubelet.config.shutdown_grace_period.get();
    let last = kubelet.config.shutdown_grace_period_critical_pods.get();
    let first = all.saturating_sub(last);
    let message = format!(
        "the host ends: pods have {} s, critical ones {} s more",
        first.as_secs(),
        last.as_secs()
    );
    kubelet
        .node
        .events
        .append(NodeEvent::node("NodeShutdown", message));
    manager.halt(first, |pod| !is_critical(pod)).await;
    manager.halt(last, |_| true).await;
}

fn is_critical(pod: &StoredPod) -> bool {
    pod.record
        .pod
        .spec
        .as_ref()
        .is_some_and(eviction::is_critical)
}
