//! Which devices a relay may speak of: those of its own site.
//!
//! A device id that is not known yet gets a row at the relay's site: its
//! enrolment travels in another lane and may come later. A device of another
//! site stays where it is; what is said of it is refused.

use crate::{
    db::TenantTx,
    link::{ApplyError, RelayIdentity},
};
use lru::LruCache;
use std::{
    collections::{BTreeSet, HashSet},
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};
use unifyit_protocol::ids::{DeviceId, SiteId};
use uuid::Uuid;

/// Devices remembered as known, over all sites.
const REMEMBERED: usize = 200_000;
/// Most devices of one site; a relay that names more is broken or hostile.
const MAX_DEVICES: i64 = 20_000;

/// Remembers whose a device is; devices do not move.
pub(super) struct Own {
    known: Mutex<LruCache<DeviceId, SiteId>>,
}

impl Default for Own {
    fn default() -> Self {
        let size = NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN);
        Self { known: Mutex::new(LruCache::new(size)) }
    }
}

impl Own {
    /// The database is another: devices that are remembered may be gone from it.
    pub(super) fn forget(&self, site: SiteId) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> =
            known.iter().filter(|(_, of)| **of == site).map(|(device, _)| *device).collect();
        for device in gone {
            known.pop(&device);
        }
    }

    /// Those of `named` that are the relay's own.
    pub(super) async fn check(
        &self,
        tx: &mut TenantTx,
        relay: &RelayIdentity,
        named: &BTreeSet<DeviceId>,
    ) -> Result<HashSet<DeviceId>, ApplyError> {
        let mut own = HashSet::with_capacity(named.len());
        let mut ask = Vec::new();
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for device in named {
                match known.get(device) {
                    Some(site) if *site == relay.site => {
                        own.insert(*device);
                    }
                    Some(_) => {}
                    None => ask.push(device.0),
                }
            }
        }
        if !ask.is_empty() {
            let seen = visible(tx, &ask).await?;
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for device in &seen {
                known.put(*device, relay.site);
            }
            drop(known);
            ask.retain(|id| !seen.contains(&DeviceId(*id)));
            own.extend(seen);
        }
        if !ask.is_empty() {
            own.extend(add(tx, relay, &ask).await?);
        }
        if own.len() < named.len() {
            tracing::warn!(
                relay = %relay.id, refused = named.len() - own.len(),
                "A relay spoke of devices that are not of its site."
            );
        }
        Ok(own)
    }
}

async fn visible(tx: &mut TenantTx, ids: &[Uuid]) -> Result<HashSet<DeviceId>, ApplyError> {
    let seen: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM devices WHERE id = ANY($1)")
        .bind(ids)
        .fetch_all(&mut **tx)
        .await?;
    Ok(seen.into_iter().map(DeviceId).collect())
}

async fn add(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    ids: &[Uuid],
) -> Result<Vec<DeviceId>, ApplyError> {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM devices WHERE site_id = $1")
        .bind(relay.site.0)
        .fetch_one(&mut **tx)
        .await?;
    let room = usize::try_from(MAX_DEVICES - count).unwrap_or_default();
    if room < ids.len() {
        tracing::error!(relay = %relay.id, "A site names more devices than a site may have.");
    }
    let added: Vec<Uuid> = sqlx::query_scalar(
        "INSERT INTO devices (id, partner_id, organization_id, site_id) \
         SELECT id, $2, $3, $4 FROM unnest($1::uuid[]) AS id ON CONFLICT DO NOTHING RETURNING id",
    )
    .bind(&ids[..room.min(ids.len())])
    .bind(relay.partner.0)
    .bind(relay.organization.0)
    .bind(relay.site.0)
    .fetch_all(&mut **tx)
    .await?;
    Ok(added.into_iter().map(DeviceId).collect())
}
