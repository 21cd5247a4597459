//! Whom a task is for, and where that is.

use crate::db::{DbError, Place, TenantTx};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use unifyit_protocol::ids::{DeviceId, OrganizationId, PartnerId, RelayId, SiteId};
use uuid::Uuid;

/// A site that something is sent to, with its active relay, if it has one.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub(in super::super) struct Reach {
    partner_id: Uuid,
    organization_id: Uuid,
    site_id: Uuid,
    relay_id: Option<Uuid>,
}

impl Reach {
    pub(in super::super) fn organization(&self) -> OrganizationId {
        OrganizationId(self.organization_id)
    }
    pub(in super::super) fn site(&self) -> SiteId {
        SiteId(self.site_id)
    }
    pub(in super::super) fn relay(&self) -> Option<RelayId> {
        self.relay_id.map(RelayId)
    }
    /// The place of the site's rows.
    pub(in super::super) fn place(&self) -> Place {
        Place::site(PartnerId(self.partner_id), self.organization(), self.site())
    }
}

/// A device that a task is for.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(in super::super) struct Target {
    id: Uuid,
    #[sqlx(flatten)]
    pub(in super::super) at: Reach,
}

impl Target {
    pub(in super::super) fn device(&self) -> DeviceId {
        DeviceId(self.id)
    }
}

/// How many devices each of some sites has.
pub(in super::super) async fn site_sizes(
    tx: &mut TenantTx,
    targets: &[Target],
) -> Result<HashMap<SiteId, i64>, DbError> {
    let sites: BTreeSet<Uuid> = targets.iter().map(|target| target.at.site_id).collect();
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT site_id, count(*) FROM devices WHERE site_id = ANY($1) AND revoked_at IS NULL GROUP BY 1",
    )
    .bind(sites.into_iter().collect::<Vec<_>>())
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|(site, count)| (SiteId(site), count)).collect())
}

/// The narrowest place that holds all targets.
pub(in super::super) fn place_of<'a>(targets: impl Iterator<Item = &'a Target> + Clone) -> Place {
    let Some(first) = targets.clone().next() else { return Place::default() };
    let same = |pick: fn(&Reach) -> Uuid| {
        let value = pick(&first.at);
        targets.clone().all(|t| pick(&t.at) == value).then_some(value)
    };
    let partner = same(|at| at.partner_id);
    let organization = partner.and_then(|_| same(|at| at.organization_id));
    let site = organization.and_then(|_| same(|at| at.site_id));
    Place { partner, organization, site }
}

/// The targets of each organization, with the narrowest place that holds them.
pub(in super::super) fn by_organization(targets: &[Target]) -> Vec<(Place, Vec<&Target>)> {
    let mut shares: BTreeMap<Uuid, Vec<&Target>> = BTreeMap::new();
    for target in targets {
        shares.entry(target.at.organization_id).or_default().push(target);
    }
    let mut placed = Vec::with_capacity(shares.len());
    for share in shares.into_values() {
        placed.push((place_of(share.iter().copied()), share));
    }
    placed
}
