//! A relay's own coming and going in the database.

use super::SessionDeps;
use crate::{
    db::{Db, DbError, Scope, TenantTx},
    link::{
        ApplyError, Link, RelayChange, RelayIdentity,
        address::is_address,
        records::Records,
        registry::Slot,
        relay::{from_ms, now_ms},
        sisters,
    },
};
use sqlx::Row;
use std::time::Duration;
use time::OffsetDateTime;
use unifyit_protocol::{
    clock::sentence,
    ids::{OrganizationId, PartnerId, RelayId, SiteId},
    link::LinkHello,
};

/// The session began, with a clock that is so far ahead of ours.
pub(super) async fn online(
    deps: &SessionDeps,
    relay: &RelayIdentity,
    hello: &LinkHello,
    ahead_ms: i64,
) -> Result<(), DbError> {
    if let Some(sentence) = sentence("A relay's", ahead_ms) {
        tracing::warn!(relay = %relay.id, "{sentence}");
    }
    let version: String = hello.version.chars().filter(|c| !c.is_control()).take(64).collect();
    let lan_https = addresses(relay, &hello.lan_https);
    let sister_addresses = addresses(relay, &hello.sister_addresses);
    let mut tx = deps.db.tenant(&relay.scope()).await?;
    let (was, moved): (bool, bool) = sqlx::query_as(
        "UPDATE relays r SET online = true, connected_since = now(), last_contact = now(), version = $2, \
             state_since = CASE WHEN r.online THEN r.state_since ELSE now() END, \
             lan_https = CASE WHEN cardinality($3::text[]) = 0 THEN r.lan_https ELSE $3 END, \
             sister_addresses = $4, clock_ahead_ms = $5 \
         FROM (SELECT id, online, sister_addresses FROM relays WHERE id = $1 FOR UPDATE) old \
         WHERE r.id = old.id RETURNING old.online, old.sister_addresses <> $4",
    )
    .bind(relay.id.0)
    .bind(version)
    .bind(lan_https)
    .bind(sister_addresses)
    .bind(ahead_ms)
    .fetch_one(&mut *tx)
    .await?;
    if moved {
        sisters::nudge(&mut tx, relay.id).await?;
    }
    if !was {
        log(&mut tx, relay, true, from_ms(now_ms())).await?;
    }
    told(deps.records.as_ref(), &mut tx, relay, RelayChange::Online).await?;
    tx.commit().await
}

/// Where a relay says that it is reached, as far as those are addresses.
fn addresses<'a>(relay: &RelayIdentity, all: &'a [String]) -> Vec<&'a str> {
    let fit: Vec<&str> =
        all.iter().map(String::as_str).filter(|at| is_address(at)).take(16).collect();
    if fit.len() < all.len() {
        tracing::warn!(relay = %relay.id, named = all.len(), kept = fit.len(),
            "A relay named more than 16 addresses, or one that is no host:port; those were left out.");
    }
    fit
}

/// The session ended. Stores it unless another one takes over, however long the
/// database is away: a relay that went must not be shown as connected.
pub(super) async fn gone(deps: &SessionDeps, relay: &RelayIdentity, slot: &Slot) {
    let at = from_ms(now_ms());
    let mut pause = Duration::from_millis(500);
    // Nobody may use what is left of it.
    slot.cancel.cancel();
    while deps.link.is_latest(relay.id, slot) {
        let Err(error) = offline(deps, relay, Some(at), None).await else { return };
        tracing::warn!(relay = %relay.id, %error, "A relay's absence could not be stored yet.");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}

/// Marks a relay as away since `at`, or since it was last heard of; never since earlier,
/// as a node's clock may be behind the database's. Of a session
/// that began at another moment than `since`, nothing is said.
async fn offline(
    deps: &SessionDeps,
    relay: &RelayIdentity,
    at: Option<OffsetDateTime>,
    since: Option<OffsetDateTime>,
) -> Result<(), DbError> {
    let mut tx = deps.db.tenant(&relay.scope()).await?;
    let went: Option<OffsetDateTime> = sqlx::query_scalar(
        "UPDATE relays SET online = false, state_since = coalesce(greatest($2, last_contact), now()), \
             connected_since = NULL, last_contact = greatest(last_contact, $2) \
         WHERE id = $1 AND online AND ($3::timestamptz IS NULL OR connected_since = $3) \
         RETURNING state_since",
    )
    .bind(relay.id.0)
    .bind(at)
    .bind(since)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(went) = went {
        log(&mut tx, relay, false, went).await?;
        told(deps.records.as_ref(), &mut tx, relay, RelayChange::Offline).await?;
    }
    tx.commit().await
}

/// Relays that the database believes to be connected and that have no session:
/// the cloud or the database stopped in between. Looked at some time after the
/// start, so that a restart of the cloud is not mistaken for an outage of every
/// site, and then now and again; what fails for one relay is tried again with the
/// next look.
pub(in crate::link) async fn sweep(deps: &SessionDeps, link: &Link) -> Result<(), DbError> {
    for (relay, since) in believed_online(&deps.db).await? {
        if link.online(relay.id) {
            continue;
        }
        if let Err(error) = offline(deps, &relay, None, since).await {
            tracing::warn!(relay = %relay.id, %error, "A relay that stayed away could not be marked.");
        }
    }
    Ok(())
}

type Believed = (RelayIdentity, Option<OffsetDateTime>);

async fn believed_online(db: &Db) -> Result<Vec<Believed>, DbError> {
    let mut tx = db.tenant(&Scope::Platform).await?;
    let rows = sqlx::query(
        "SELECT id, partner_id, organization_id, site_id, connected_since FROM relays WHERE online",
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    rows.iter()
        .map(|row| {
            let relay = RelayIdentity {
                id: RelayId(row.try_get("id")?),
                partner: PartnerId(row.try_get("partner_id")?),
                organization: OrganizationId(row.try_get("organization_id")?),
                site: SiteId(row.try_get("site_id")?),
            };
            Ok((relay, row.try_get("connected_since")?))
        })
        .collect()
}

async fn log(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    online: bool,
    at: OffsetDateTime,
) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO presence_log (partner_id, organization_id, site_id, relay_id, online, at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(relay.partner.0)
    .bind(relay.organization.0)
    .bind(relay.site.0)
    .bind(relay.id.0)
    .bind(online)
    .bind(at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Lets the features follow a change of the relay itself.
pub(super) async fn told(
    records: &dyn Records,
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    change: RelayChange,
) -> Result<(), DbError> {
    match records.relay_changed(tx, relay, change).await {
        Ok(()) => Ok(()),
        Err(ApplyError::Db(error)) => Err(error),
        Err(ApplyError::Malformed(why)) => Err(DbError::Query(sqlx::Error::Protocol(why))),
    }
}
