//! How many connections there may be: strangers cannot take the places of those who have shown who they are, nor one
//! address those of all others.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// One in so many is for those who have not shown who they are.
const STRANGERS: usize = 4;
/// Of these, one in so many is for one address.
const STRANGERS_OF_ONE: usize = 4;
/// As many as that are there for them at least.
const FEW: usize = 4;
/// Kept for root on this host.
const LOCAL: usize = 64;

/// Who sits where.
#[derive(Clone, Debug)]
pub struct Seats(Arc<Mutex<Taken>>);

#[derive(Debug)]
struct Taken {
    seats: usize,
    all: usize,
    strangers: BTreeMap<IpAddr, usize>,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
    stranger: Mutex<Option<IpAddr>>,
}

impl Seats {
    /// So many.
    pub fn new(seats: usize) -> Self {
        Seats(Arc::new(Mutex::new(Taken {
            seats,
            all: 0,
            strangers: BTreeMap::new(),
        })))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for somebody from there.
    pub fn stranger(&self, from: IpAddr) -> Option<Seat> {
        let from = from.to_canonical();
        let mut taken = self.lock();
        let own = taken.strangers.get(&from).copied().unwrap_or(0);
        let strangers: usize = taken.strangers.values().sum();
        if taken.all >= taken.seats
            || strangers >= taken.strangers()
            || own >= taken.strangers_of_one()
        {
            return None;
        }
        taken.all += 1;
        *taken.strangers.entry(from).or_default() += 1;
        drop(taken);
        Some(Seat {
            seats: self.clone(),
            stranger: Mutex::new(Some(from)),
        })
    }

    /// A place for root on this host.
    pub fn local(&self) -> Option<Seat> {
        let mut taken = self.lock();
        if taken.all >= taken.seats + LOCAL {
            return None;
        }
        taken.all += 1;
        drop(taken);
        Some(Seat {
            seats: self.clone(),
            stranger: Mutex::new(None),
        })
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.lock().all
    }
}

impl Seat {
    /// Whoever sits there has shown who they are.
    pub fn known(&self) {
        let stranger = self.stranger.lock();
        if let Some(from) = stranger.unwrap_or_else(PoisonError::into_inner).take() {
            self.seats.lock().forget(from);
        }
    }
}

impl Taken {
    fn strangers(&self) -> usize {
        (self.seats / STRANGERS).max(FEW * FEW)
    }
    fn strangers_of_one(&self) -> usize {
        (self.strangers() / STRANGERS_OF_ONE).max(FEW)
    }
    fn forget(&mut self, from: IpAddr) {
        if let Some(count) = self.strangers.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                self.strangers.remove(&from);
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.known();
        self.seats.lock().all -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_take_no_more_than_their_share() {
        let seats = Seats::new(1024);
        let one = IpAddr::from([10, 0, 0, 1]);
        let crowd: Vec<Seat> = std::iter::from_fn(|| seats.stranger(one)).collect();
        assert_eq!(crowd.len(), 64);
        let others: Vec<Seat> = (2..)
            .map_while(|last| seats.stranger(IpAddr::from([10, 0, last, 1])))
            .collect();
        assert_eq!(crowd.len() + others.len(), 256);
        crowd[0].known();
        crowd[0].known();
        let again = seats.stranger(one);
        assert!(again.is_some() && seats.stranger(one).is_none());
        drop(crowd);
        assert!(seats.stranger(one).is_some());
        drop((others, again));
        assert_eq!(seats.taken(), 0);
    }

    #[test]
    fn root_finds_a_place_when_all_are_taken() {
        let seats = Seats::new(3);
        let sitting: Vec<_> = (0..3)
            .map(|_| {
                let seat = seats.stranger(IpAddr::from([10, 0, 0, 1])).unwrap();
                seat.known();
                seat
            })
            .collect();
        assert!(seats.stranger(IpAddr::from([10, 0, 0, 2])).is_none());
        assert_eq!(
            std::iter::from_fn(|| seats.local().map(std::mem::forget)).count(),
            LOCAL
        );
        drop(sitting);
        assert_eq!(seats.taken(), LOCAL);
    }
}
