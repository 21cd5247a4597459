//! The statements of an enrolment.

use super::{Refusal, rules, rules::TokenRow};
use crate::{
    db::{Db, DbError, TenantTx},
    link::{RelayIdentity, relay::from_ms},
};
use libp2p::PeerId;
use sqlx::Row;
use unifyit_protocol::{
    enroll::EnrollRelay,
    ids::{OrganizationId, PartnerId, SiteId, TokenId},
    signing::PublicKey,
    token::InstallToken,
};
use uuid::Uuid;

/// An organization's authority: what is public, and what signs.
pub(super) struct Authority {
    pub(super) public: PublicKey,
    pub(super) sealed: Vec<u8>,
}

/// Where a token belongs, looked up before any scope is known.
pub(super) async fn place_of_token(
    db: &Db,
    token: TokenId,
) -> Result<Option<(PartnerId, OrganizationId, SiteId)>, DbError> {
    let question = || {
        sqlx::query_as::<_, (Uuid, Uuid, Uuid)>(
            "SELECT partner_id, organization_id, site_id FROM install_token_place($1)",
        )
        .bind(token.0)
    };
    let place = db.lookup(question).await?;
    Ok(place.map(|(partner, organization, site)| {
        (PartnerId(partner), OrganizationId(organization), SiteId(site))
    }))
}

pub(super) async fn authority(
    tx: &mut TenantTx,
    organization: OrganizationId,
) -> Result<Authority, Refusal> {
    let row = sqlx::query(
        "SELECT public_key, sealed_seed FROM organization_keys WHERE organization_id = $1",
    )
    .bind(organization.0)
    .fetch_one(&mut **tx)
    .await?;
    let public: Vec<u8> = row.try_get("public_key")?;
    let public = public.try_into().map_err(|_| sqlx::Error::RowNotFound)?;
    Ok(Authority { public: PublicKey(public), sealed: row.try_get("sealed_seed")? })
}

pub(super) async fn lock_token(
    tx: &mut TenantTx,
    token: TokenId,
) -> Result<Option<TokenRow>, DbError> {
    let row = sqlx::query(
        "SELECT kind, uses, used, revoked_at IS NOT NULL AS revoked FROM install_tokens \
         WHERE id = $1 FOR UPDATE",
    )
    .bind(token.0)
    .fetch_optional(&mut **tx)
    .await?;
    row.map(|row| {
        Ok(TokenRow {
            kind: row.try_get("kind")?,
            uses: row.try_get("uses")?,
            used: row.try_get("used")?,
            revoked: row.try_get("revoked")?,
        })
    })
    .transpose()
}

pub(super) async fn spend(tx: &mut TenantTx, token: &InstallToken) -> Result<(), DbError> {
    sqlx::query("UPDATE install_tokens SET used = used + 1 WHERE id = $1")
        .bind(token.id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Refuses a site that is deleted or served already.
pub(super) async fn check_site(tx: &mut TenantTx, site: SiteId) -> Result<(), Refusal> {
    let row = sqlx::query(
        "SELECT s.deleted_at IS NOT NULL AS deleted, r.hostname FROM sites s \
         LEFT JOIN relays r ON r.site_id = s.id AND r.revoked_at IS NULL WHERE s.id = $1",
    )
    .bind(site.0)
    .fetch_optional(&mut **tx)
    .await?;
    let gone = || Refusal::Said("The site of this install token was deleted.".into());
    let row = row.ok_or_else(gone)?;
    if row.try_get("deleted")? {
        return Err(gone());
    }
    match row.try_get::<Option<String>, _>("hostname")? {
        Some(hostname) => Err(Refusal::Said(rules::site_taken(&hostname))),
        None => Ok(()),
    }
}

pub(super) async fn insert_relay(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    peer: &PeerId,
    request: &EnrollRelay,
    now_ms: u64,
) -> Result<(), Refusal> {
    let inserted = sqlx::query(
        "INSERT INTO relays (id, partner_id, organization_id, site_id, peer_id, hostname, version, \
             ca_fingerprint, lan_https, down_epoch, enrolled_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(relay.id.0)
    .bind(relay.partner.0)
    .bind(relay.organization.0)
    .bind(relay.site.0)
    .bind(peer.to_base58())
    .bind(&request.hostname)
    .bind(&request.version)
    .bind(request.ca_fingerprint.as_slice())
    .bind(&request.lan_https)
    .bind(i64::try_from(now_ms).unwrap_or(i64::MAX))
    .bind(from_ms(now_ms))
    .execute(&mut **tx)
    .await
    .map_err(DbError::from);
    match inserted {
        Ok(_) => Ok(()),
        Err(error) if error.breaks("relays_one_active_per_site") => {
            Err(Refusal::Said(rules::site_taken("enrolled a moment ago")))
        }
        Err(error) => Err(error.into()),
    }
}

/// Takes over what an enrolled relay says of itself. False when its certificate
/// authority is another one.
pub(super) async fn renew_relay(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    request: &EnrollRelay,
) -> Result<bool, DbError> {
    let done = sqlx::query(
        "UPDATE relays SET hostname = $2, version = $3, lan_https = $4 \
         WHERE id = $1 AND ca_fingerprint = $5 AND revoked_at IS NULL",
    )
    .bind(relay.id.0)
    .bind(&request.hostname)
    .bind(&request.version)
    .bind(&request.lan_https)
    .bind(request.ca_fingerprint.as_slice())
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}
