//! Places of connections: so many in all, and so many for one address.
//!
//! One address cannot take all places. A proxy that stands before everybody may
//! take most of them: who comes through it is the proxy's to bound.

use crate::http::{Network, Networks};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::OwnedSemaphorePermit;

/// Who holds how many places. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Addresses(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// At most as many entries as there are places.
    held: Mutex<HashMap<Network, usize>>,
    each: usize,
    proxy: usize,
    proxies: Networks,
}

impl Addresses {
    /// Of `all` places, `each` for one address.
    pub(super) fn new(all: usize, each: usize, proxies: Networks) -> Self {
        let proxy = (all - all / 4).max(1);
        Self(Arc::new(Inner { held: Mutex::default(), each: each.max(1), proxy, proxies }))
    }

    /// A place for an address, or none when it holds its share.
    pub(super) fn take(&self, address: IpAddr, permit: OwnedSemaphorePermit) -> Option<Place> {
        let share = if self.0.proxies.contain(address) { self.0.proxy } else { self.0.each };
        let network = Network::of(address);
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(network).or_default();
        if *count >= share {
            return None;
        }
        *count += 1;
        drop(held);
        Some(Place { network, addresses: self.clone(), _permit: permit })
    }
}

/// A place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    network: Network,
    addresses: Addresses,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.addresses.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.network);
            }
        }
    }
}
