//! Places for connections that have finished their handshake: so many in all, so
//! many from one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How often it is said in the log that there was no place.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// The places. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total: usize,
    per_ip: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_ip: HashMap<IpAddr, usize>,
    said: Option<Instant>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    ip: IpAddr,
}

impl Places {
    pub(super) fn new(total: usize, per_ip: usize) -> Self {
        Self(Arc::new(Inner { total, per_ip, taken: Mutex::default() }))
    }

    /// A place for one more, or why there is none.
    pub(super) fn take(&self, ip: IpAddr) -> Result<Place, &'static str> {
        let ip = crate::tls::gate::neighbourhood(ip);
        let mut taken = self.taken();
        let own = taken.by_ip.get(&ip).copied().unwrap_or_default();
        let (reason, setting) = match (taken.all >= self.0.total, own >= self.0.per_ip) {
            (true, _) => ("connections_full", "max_connections"),
            (_, true) => ("connections_of_address", "max_connections_per_ip"),
            _ => ("", ""),
        };
        if !reason.is_empty() {
            if taken.said.is_none_or(|at| at.elapsed() >= SAID_EVERY) {
                taken.said = Some(Instant::now());
                tracing::warn!(%ip, own, all = taken.all, "an HTTPS connection found no place; where many computers share an address, raise https.{setting}");
            }
            return Err(reason);
        }
        taken.by_ip.insert(ip, own + 1);
        taken.all += 1;
        drop(taken);
        Ok(Place { places: self.clone(), ip })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all = taken.all.saturating_sub(1);
        if let Some(own) = taken.by_ip.get_mut(&self.ip) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.by_ip.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn one_address_leaves_places_to_others_and_gives_its_own_back() {
        let places = Places::new(5, 3);
        let (greedy, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut held: Vec<_> = (0..3).map(|_| places.take(greedy).unwrap()).collect();
        assert_eq!(places.take(greedy).unwrap_err(), "connections_of_address");
        let _one = places.take(other).unwrap();
        drop(held.pop());
        assert!(places.take(greedy).is_ok());
        drop(held);
        assert_eq!(places.taken().by_ip.len(), 1);
    }
}
