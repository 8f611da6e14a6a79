//! Where a layer's bytes go: a thread that hashes and writes, behind a bounded channel.
//!
//! One thread for the whole download and not one hop per piece: hashing keeps up with the network.

use std::path::PathBuf;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::PullError;
use crate::store::{Partial, StoreError};

/// Pieces that may wait for the thread: a few MiB at most.
const WAITING: usize = 16;

/// The receiving end of one layer's download. Dropping it keeps what was written.
pub(super) struct Sink {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<Result<Option<PathBuf>, StoreError>>,
    len: u64,
}

enum Order {
    Write(Bytes),
    Restart,
    Commit(u64),
}

/// The thread has stopped; [`Sink::finish`] knows why.
#[derive(Debug)]
pub(super) struct SinkClosed;

impl Sink {
    pub(super) fn start(partial: Partial) -> Self {
        let len = partial.len();
        let (orders, inbox) = mpsc::channel(WAITING);
        let thread = tokio::task::spawn_blocking(move || serve(partial, inbox));
        Self {
            orders,
            thread,
            len,
        }
    }

    /// Bytes so far, those from earlier pulls included.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), SinkClosed> {
        let more = bytes.len() as u64;
        self.order(Order::Write(bytes)).await?;
        self.len += more;
        Ok(())
    }

    pub(super) async fn restart(&mut self) -> Result<(), SinkClosed> {
        self.order(Order::Restart).await?;
        self.len = 0;
        Ok(())
    }

    /// Verifies size and digest and gives the blob its name.
    pub(super) async fn commit(self, size: u64) -> Result<Result<PathBuf, StoreError>, PullError> {
        // A closed channel shows in the thread's own result.
        let _closed = self.orders.send(Order::Commit(size)).await;
        self.finish().await
    }

    /// Waits for the thread's end after [`SinkClosed`] or a commit.
    pub(super) async fn finish(self) -> Result<Result<PathBuf, StoreError>, PullError> {
        drop(self.orders);
        let ended = self
            .thread
            .await
            .map_err(|source| PullError::Worker { source })?;
        Ok(ended.map(|path| path.expect("the thread ends early only with an error")))
    }

    async fn order(&self, order: Order) -> Result<(), SinkClosed> {
        self.orders.send(order).await.map_err(|_| SinkClosed)
    }
}

fn serve(
    mut partial: Partial,
    mut inbox: mpsc::Receiver<Order>,
) -> Result<Option<PathBuf>, StoreError> {
    while let Some(order) = inbox.blocking_recv() {
        match order {
            Order::Write(bytes) => partial.write(&bytes)?,
            Order::Restart => partial.restart()?,
            Order::Commit(size) => return partial.commit(size).map(Some),
        }
    }
    Ok(None)
}
