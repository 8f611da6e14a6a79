//! The daemon's pods: what sources and commands want becomes workers, and workers that end make room.
mod manager;
mod problems;
mod workers;

pub use manager::Manager;
pub use problems::{BAD, BadPlace, Listing, Problems, REFUSED, Refusal};
pub use workers::{Ended, Workers};

use crate::control::Command;
use crate::state::StopRequest;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait for the manager.
const REQUESTS: usize = 256;
/// What the manager is asked for.
#[derive(Debug)]
pub enum Request {
    /// A worker is to be asked for something.
    Ask(String, Command),
    /// Somebody wants to know whether the manager still listens.
    Ping(oneshot::Sender<()>),
}

/// Requests to the manager. Clones send to the same one.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
}

impl Handle {
    /// A handle, and where its requests arrive.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(REQUESTS);
        (Handle { requests }, receiver)
    }

    /// Ends the pod; a source that still wants it does not bring it back before it wants it otherwise.
    pub async fn stop(&self, uid: &str, stop: StopRequest) {
        self.ask(uid, Command::Stop(stop)).await;
    }

    /// Waits until the manager has said that it listens; `false` when it is gone.
    pub async fn ping(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.send(Request::Ping(answer)).await;
        sent.is_ok() && answered.await.is_ok()
    }

    /// Asks the pod's worker for something. One that is over hears nothing.
    pub async fn ask(&self, uid: &str, command: Command) {
        // The manager is gone only when the daemon ends.
        let _ = self
            .requests
            .send(Request::Ask(uid.to_owned(), command))
            .await;
    }
}
