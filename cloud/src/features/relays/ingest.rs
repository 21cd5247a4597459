//! How the relay fares, and what happened at the site.

use crate::{
    audit::{self, AuditActor, AuditTarget},
    db::TenantTx,
    features::sites,
    link::{ApplyError, RelayIdentity, downlink},
    reports::{line, time_of},
};
use unifyit_protocol::link::{RelayStatus, SiteAudit};
use uuid::Uuid;

/// The relay's own report, each minute.
pub(super) async fn status(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    mut status: RelayStatus,
) -> Result<(), ApplyError> {
    status.version = line(&status.version, 64);
    let json = serde_json::to_value(&status).map_err(|e| ApplyError::Malformed(e.to_string()))?;
    sqlx::query(
        "UPDATE relays SET status = $2, status_at = now(), last_contact = now(), \
             version = coalesce(nullif($3, ''), version) WHERE id = $1",
    )
    .bind(relay.id.0)
    .bind(json)
    .bind(&status.version)
    .execute(&mut **tx)
    .await?;
    if status.settings_revision > 0 {
        let has = sites::acknowledged(tx, (relay.id, relay.site), status.settings_revision);
        downlink::settle(has.await)?;
    }
    Ok(())
}

/// Something that happened at the site, for the audit log.
pub(super) async fn audit(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    said: SiteAudit,
) -> Result<(), ApplyError> {
    // The prefix keeps a relay from writing rows that look like a person's.
    let name = format!("site:{}", line(&said.actor, 128));
    let actor = AuditActor { name, id: Some(relay.id.0), ..AuditActor::system() };
    let action = format!("site.{}", line(&said.action, 64));
    let target = match own_device(tx, relay, &said.actor).await? {
        Some((device, name)) => {
            AuditTarget::device(relay.place(), device, format!("device {name}"))
        }
        None => AuditTarget::at(relay.place(), ""),
    };
    let (detail, at) = (line(&said.detail, 1024), Some(time_of(said.at_ms)));
    Ok(audit::record_at(tx, &actor, &action, &target, &detail, at).await?)
}

/// The site's device of that id, if it is one: what is said of it stands in its
/// timeline.
async fn own_device(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    id: &str,
) -> Result<Option<(Uuid, String)>, ApplyError> {
    let Ok(id) = id.parse::<Uuid>() else { return Ok(None) };
    let found = sqlx::query_as(
        "SELECT id, CASE WHEN name = '' THEN hostname ELSE name END FROM devices \
         WHERE id = $1 AND site_id = $2",
    );
    Ok(found.bind(id).bind(relay.site.0).fetch_optional(&mut **tx).await?)
}

/// The relay joined its site, or joined it anew.
pub(super) async fn enrolled(tx: &mut TenantTx, relay: &RelayIdentity) -> Result<(), ApplyError> {
    let actor = AuditActor { name: "relay".into(), id: Some(relay.id.0), ..AuditActor::system() };
    let site = sites::store::get(tx, relay.site).await?;
    let shown = site.map_or_else(|| relay.id.to_string(), |(site, _)| format!("of {}", site.name));
    let target = AuditTarget::at(relay.place(), format!("relay {shown}"));
    Ok(audit::record(tx, &actor, "relay.enroll", &target, "").await?)
}
