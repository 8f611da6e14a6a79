//! One writer at a time for each object, in the order they came, so that those of one master do not undo each other's work.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OwnedMutexGuard;

type Locks = HashMap<Arc<str>, Arc<tokio::sync::Mutex<()>>>;

/// Who is writing which key.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<Locks>);

impl Turns {
    /// Waits until nobody else is writing the key. Requests are bounded in number and time, and so is the wait.
    pub(super) async fn take(&self, key: &Arc<str>) -> Turn<'_> {
        let lock = self.with(|locks| locks.entry(key.clone()).or_default().clone());
        // Made before the wait: who gives up waiting leaves nothing behind either.
        let mut turn = Turn {
            turns: self,
            key: key.clone(),
            held: None,
        };
        turn.held = Some(lock.lock_owned().await);
        turn
    }
    fn with<T>(&self, what: impl FnOnce(&mut Locks) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Nobody else writes the key while this is there.
#[derive(Debug)]
pub(super) struct Turn<'t> {
    turns: &'t Turns,
    key: Arc<str>,
    held: Option<OwnedMutexGuard<()>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.with(|locks| {
            self.held = None;
            // The map's own is the last one: nobody waits.
            if locks
                .get(&self.key)
                .is_some_and(|lock| Arc::strong_count(lock) == 1)
            {
                locks.remove(&self.key);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn one_at_a_time_and_nothing_is_left() {
        let turns = Arc::new(Turns::default());
        let inside = Arc::new(AtomicUsize::new(0));
        let tasks = (0..32).map(|n| {
            let (turns, inside) = (turns.clone(), inside.clone());
            tokio::spawn(async move {
                let _turn = turns.take(&["a", "b"][n % 2].into()).await;
                assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert!(turns.with(|locks| locks.is_empty()));
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_nothing() {
        let turns = Turns::default();
        let key: Arc<str> = "a".into();
        let first = turns.take(&key).await;
        let second = tokio::time::timeout(std::time::Duration::from_millis(1), turns.take(&key));
        assert!(second.await.is_err());
        drop(first);
        assert!(turns.with(|locks| locks.is_empty()));
    }
}
