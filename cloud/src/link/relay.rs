//! Who a relay is, as the database knows it.

use crate::db::{Db, DbError, Place, Scope};
use libp2p::PeerId;
use unifyit_protocol::ids::{OrganizationId, PartnerId, RelayId, SiteId};
use uuid::Uuid;

/// An enrolled relay and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayIdentity {
    /// Its id.
    pub id: RelayId,
    /// Its partner.
    pub partner: PartnerId,
    /// Its organization.
    pub organization: OrganizationId,
    /// Its site.
    pub site: SiteId,
}

impl RelayIdentity {
    /// What its records may touch.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope::Site(self.partner, self.organization, self.site)
    }

    /// Where its rows stand.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::site(self.partner, self.organization, self.site)
    }
}

/// What is known of a peer id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownPeer {
    pub(super) relay: RelayIdentity,
    pub(super) revoked: bool,
}

/// Whether any relay is enrolled, and so pinned this cloud's identity.
pub(super) async fn any(db: &Db) -> Result<bool, DbError> {
    let mut tx = db.tenant(&Scope::Platform).await?;
    let any = sqlx::query_scalar("SELECT EXISTS (SELECT FROM relays WHERE revoked_at IS NULL)")
        .fetch_one(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(any)
}

/// Looks a peer id up, before any scope is known.
pub(super) async fn by_peer(db: &Db, peer: &PeerId) -> Result<Option<KnownPeer>, DbError> {
    type Row = (Uuid, Uuid, Uuid, Uuid, bool);
    let question = || {
        sqlx::query_as::<_, Row>(
            "SELECT id, partner_id, organization_id, site_id, revoked FROM relay_by_peer($1)",
        )
        .bind(peer.to_base58())
    };
    let row = db.lookup(question).await?;
    Ok(row.map(|(relay, partner, organization, site, revoked)| KnownPeer {
        relay: RelayIdentity {
            id: RelayId(relay),
            partner: PartnerId(partner),
            organization: OrganizationId(organization),
            site: SiteId(site),
        },
        revoked,
    }))
}

/// The peer ids of all active relays.
pub(super) async fn active_peers(db: &Db) -> Result<Vec<PeerId>, DbError> {
    let mut tx = db.tenant(&Scope::Platform).await?;
    let texts: Vec<String> =
        sqlx::query_scalar("SELECT peer_id FROM relays WHERE revoked_at IS NULL")
            .fetch_all(&mut *tx)
            .await?;
    tx.commit().await?;
    Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
}

/// The clock, Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    let ms = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    u64::try_from(ms).unwrap_or_default()
}

/// A wire's Unix milliseconds as the database's time. What lies outside of the
/// years that PostgreSQL and JSON agree on is pulled in: clocks of devices are
/// hostile too.
#[must_use]
pub(crate) fn from_ms(ms: u64) -> time::OffsetDateTime {
    const YEAR_9999: u64 = 253_402_300_799_000;
    let nanos = i128::from(ms.min(YEAR_9999)) * 1_000_000;
    time::OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}
