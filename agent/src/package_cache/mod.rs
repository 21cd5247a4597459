//! Lets this computer's package managers use the site's package cache, and no
//! longer when there is none.
//!
//! The relay says in the settings it pushes where its cache is and from which
//! hosts it fetches. apt asks a program for each host whether to use a proxy
//! ([`answer`]), which says `DIRECT` when the relay does not answer, so apt is set
//! up once and works with and without the relay, and with and without this agent.
//! dnf and zypper know no such question: their repositories get a line with the
//! proxy while the cache answers and lose it when it does not ([`repos`]).
//!
//! What people set up stays: where a proxy is configured already nothing is added,
//! and only what bears the agent's mark is ever changed or removed.

pub mod hosts;
pub mod repos;
#[cfg(test)]
mod tests;

use crate::{config::Settings, feature::Feature, link::live::LiveQueue, platform::PackageManagers};
use std::{net::ToSocketAddrs, path::Path, sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};
use unifyit_protocol::config::{DeviceConfig, PackageCache};

/// How often it is looked whether the cache still answers. It goes and comes with the
/// relay, whose connection says so at once.
const LOOK: Duration = Duration::from_secs(300);
/// First pause after it did not answer; the pauses grow.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// A cache on the LAN that does not answer within this is away.
const PATIENCE: Duration = Duration::from_millis(800);
/// apt waits for this answer, for each host that it asks.
const APT_PATIENCE: Duration = Duration::from_millis(400);
/// A cache that was away for this long is gone: apt is not asked to look any more.
const GONE: Duration = Duration::from_secs(7 * 24 * 3600);
/// What apt takes as "without a proxy".
const DIRECT: &str = "DIRECT";

/// The package managers' cache, as a feature of the agent.
pub const FEATURE: Feature = Feature {
    name: "package cache",
    run: |work| Box::pin(follow(work.settings, work.config, work.live)),
};

/// Keeps the package managers set up as the relay says, until aborted.
async fn follow(
    settings: Settings,
    mut config: watch::Receiver<DeviceConfig>,
    live: Arc<LiveQueue>,
) {
    let managers = PackageManagers::new(&settings.root);
    let mut seen = Instant::now();
    let mut pause = LOOK_AGAIN;
    loop {
        let offer = config.borrow_and_update().package_cache.clone();
        let offer = if settings.package_cache { offer } else { PackageCache::default() };
        let up = live.is_up();
        let reachable = first_reachable(&offer).await;
        if reachable.is_some() {
            seen = Instant::now();
        }
        let well = reachable.is_some() || offer.is_off();
        pause = if well { LOOK_AGAIN } else { (pause * 2).min(LOOK) };
        let wait = if well { LOOK } else { pause };
        let gone = offer.is_off() || seen.elapsed() > GONE;
        let outcome =
            if gone { managers.leave() } else { managers.use_cache(&offer, reachable.as_deref()) };
        match outcome {
            Ok(changed) => {
                for file in changed {
                    tracing::info!(file = %file.display(), "the package cache's settings changed");
                }
            }
            Err(error) => tracing::warn!(%error, "package managers could not be set up"),
        }
        tokio::select! {
            () = sleep(wait) => {}
            () = live.link(!up) => pause = LOOK_AGAIN,
            changed = config.changed() => if changed.is_err() { return },
        }
    }
}

/// The first address of the cache that answers.
async fn first_reachable(offer: &PackageCache) -> Option<String> {
    if offer.is_off() {
        return None;
    }
    for address in &offer.addresses {
        if let Ok(Ok(_stream)) = timeout(PATIENCE, TcpStream::connect(address.as_str())).await {
            return Some(address.clone());
        }
    }
    None
}

/// What apt is told about one address: the cache's, or `DIRECT`. Anything that is
/// not right is a reason to go without, never to fail: apt would stop.
#[must_use]
pub fn answer(settings: &Path, url: &str) -> String {
    let offer = std::fs::read_to_string(settings).map(|text| hosts::parse(&text));
    let Ok(offer) = offer else { return DIRECT.into() };
    if !hosts::fetches(&offer.hosts, url) {
        return DIRECT.into();
    }
    let answers = |address: &&String| {
        let Ok(all) = address.to_socket_addrs() else { return false };
        let mut all = all.take(4);
        all.any(|a| std::net::TcpStream::connect_timeout(&a, APT_PATIENCE).is_ok())
    };
    let first = offer.addresses.iter().take(4).find(answers);
    first.map_or_else(|| DIRECT.into(), |address| format!("http://{address}"))
}
