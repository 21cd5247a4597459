//! The site's settings, as last heard from the cloud, and what devices are told of them
//! and of this relay's package cache.

#[cfg(test)]
mod tests;

use crate::{
    cache::policy::Policy,
    store::{
        StoreError, StoreHandle,
        part::Part,
        txn::{Txn, read_meta},
    },
};
use redb::ReadTransaction;
use std::sync::OnceLock;
use tokio::sync::watch;
use unifyit_protocol::{
    config::{DeviceConfig, PackageCache, SiteConfig},
    ids::TokenId,
};

/// Name of the single value in the store.
const SITE: &str = "site";

/// The settings, as a part of the store.
pub(crate) struct Settings;

/// What holds.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Settings of the site.
    site: watch::Sender<SiteConfig>,
    /// The package cache as devices are told of it, without the console's hosts.
    package_cache: OnceLock<PackageCache>,
}

impl Default for Shared {
    fn default() -> Self {
        let site = watch::Sender::new(SiteConfig::default());
        Self { site, package_cache: OnceLock::new() }
    }
}

impl Shared {
    /// Whether the console took a token back.
    pub(crate) fn revokes(&self, token: TokenId) -> bool {
        self.site.borrow().revoked_tokens.contains(&token)
    }
}

impl Part for Settings {
    type Tables<'t> = ();
    type Memory = ();
    /// The new ones.
    type Gathered = Option<SiteConfig>;
    type Shared = Shared;

    fn fill(tx: &ReadTransaction, shared: &Shared) -> Result<(), StoreError> {
        if let Some(site) = read_meta::<SiteConfig>(tx, SITE)? {
            shared.site.send_replace(site);
        }
        Ok(())
    }

    fn publish(new: Option<SiteConfig>, shared: &Shared) {
        if let Some(site) = new {
            shared.site.send_replace(site);
        }
    }
}

impl StoreHandle {
    /// Settings of the site, as last heard from the cloud.
    #[must_use]
    pub fn site_config(&self) -> watch::Receiver<SiteConfig> {
        self.parts().settings.site.subscribe()
    }

    /// Says from now on that this relay has a package cache. The hosts are those
    /// that it allows by itself.
    pub fn offer_package_cache(&self, offer: PackageCache) {
        let _first_word_holds = self.parts().settings.package_cache.set(offer);
    }

    /// What devices are told: the cloud's settings, and this relay's package cache.
    #[must_use]
    pub fn device_config(&self) -> DeviceConfig {
        let site = self.parts().settings.site.borrow();
        let mut config = site.device.clone();
        config.package_cache = PackageCache::default();
        if let Some(offer) = self.parts().settings.package_cache.get() {
            config.package_cache = offer.clone();
            config.package_cache.hosts.extend(site.cache_hosts.iter().cloned());
            // Each ends up as a line of some package manager's file.
            config.package_cache.hosts.retain(|host| Policy::is_host(host));
            let plain = |name: &String| name.bytes().all(|b| b.is_ascii_graphic());
            config.package_cache.addresses.retain(plain);
            // The bounds of the wire.
            config.package_cache.hosts.truncate(1024);
            config.package_cache.addresses.truncate(64);
        }
        config
    }
}

impl Txn<'_> {
    /// The settings that hold.
    pub(crate) fn site_settings(&mut self) -> Result<SiteConfig, StoreError> {
        Ok(self.get_meta(SITE)?.unwrap_or_default())
    }

    /// Takes new settings, unless they are older than those that hold.
    pub(crate) fn take_site_config(&mut self, config: SiteConfig) -> Result<bool, StoreError> {
        if config.revision < self.site_settings()?.revision {
            return Ok(false);
        }
        self.put_meta(SITE, &config)?;
        self.gathered.settings = Some(config);
        Ok(true)
    }
}
