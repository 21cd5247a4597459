//! How often one address may ask to enrol.

use std::{
    net::IpAddr,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Addresses remembered; the least recently seen is forgotten first.
const ADDRESSES: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// A token bucket an address.
#[derive(Debug)]
pub(super) struct RatePerAddress {
    per_minute: f64,
    seen: Mutex<lru::LruCache<IpAddr, (f64, Instant)>>,
}

impl RatePerAddress {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute: f64::from(per_minute), seen: Mutex::new(lru::LruCache::new(ADDRESSES)) }
    }

    /// Whether the address may ask once more at this time.
    pub(super) fn allow(&self, address: IpAddr, now: Instant) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let full = self.per_minute;
        let (left, since) = seen.get_or_insert_mut(address, || (full, now));
        *left = (*left + now.duration_since(*since).as_secs_f64() * full / 60.0).min(full);
        *since = now;
        let allowed = *left >= 1.0;
        if allowed {
            *left -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_address_is_held_to_its_rate_and_does_not_spend_anothers() {
        let rate = RatePerAddress::new(6);
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let now = Instant::now();
        assert!((0..6).all(|_| rate.allow(one, now)));
        assert!(!rate.allow(one, now));
        assert!(rate.allow(other, now));
        assert!(rate.allow(one, now + Duration::from_secs(10)));
        assert!(!rate.allow(one, now + Duration::from_secs(10)));
    }
}
