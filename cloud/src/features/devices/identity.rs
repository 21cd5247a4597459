//! Whose identity is whose: permission to enrol again, and computers that share
//! one device's identity. SQL and the relay's word.

use super::{DeviceItem, store::items};
use crate::{
    audit::{self, AuditActor, AuditTarget},
    db::{DbError, TenantTx},
    link::{ApplyError, RelayIdentity},
    reports::{line, time_of},
};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use time::OffsetDateTime;
use unifyit_protocol::{
    ids::DeviceId,
    link::{SharedIdentity, SharingComputer},
};
use utoipa::ToSchema;
use uuid::Uuid;

/// Computers of one identity that are shown.
const MAX_COMPUTERS: usize = 8;

/// One of the computers that use a device's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Computer {
    /// What it calls itself since its start.
    pub id: Uuid,
    /// Host name.
    pub hostname: String,
    /// Address on its LAN.
    pub address: String,
    /// Whether it had the identity first. It goes on; the others get nothing.
    pub first: bool,
    /// When it was last heard.
    #[serde(with = "time::serde::rfc3339")]
    pub last_seen: OffsetDateTime,
}

impl Computer {
    /// As shown in a sentence.
    #[must_use]
    pub fn shown(&self) -> String {
        match (self.hostname.as_str(), self.address.as_str()) {
            ("", "") => "a computer".to_owned(),
            ("", address) => address.to_owned(),
            (name, "") => name.to_owned(),
            (name, address) => format!("{name} ({address})"),
        }
    }
}

/// Names all of them in a sentence.
#[must_use]
pub fn shown(computers: &[Computer]) -> String {
    let names: Vec<String> = computers.iter().map(Computer::shown).collect();
    names.join(" and ")
}

/// One of the computers that is to go: it gets an identity of its own, or is gone.
/// The first goes only where one is left to go on with the identity.
///
/// # Errors
/// The sentence for whoever asks. [`None`] in its place: there is no such computer.
pub(super) fn leaving(computers: &[Computer], id: Uuid) -> Result<&Computer, Option<&'static str>> {
    let leaves = computers.iter().find(|c| c.id == id).ok_or(None)?;
    if leaves.first && computers.len() > 2 {
        return Err(Some(
            "Several others wait: forget or separate them first, so that one is left to go on with the identity.",
        ));
    }
    Ok(leaves)
}

/// What is known of a device's identity.
#[derive(Debug, Clone, Default, sqlx::FromRow)]
pub(super) struct Standing {
    /// The computers that share it.
    pub(super) computers: Option<Json<Vec<Computer>>>,
    /// Until when its computer may enrol again.
    pub(super) reenrol_until: Option<OffsetDateTime>,
}

/// Reads it.
pub(super) async fn standing(tx: &mut TenantTx, id: DeviceId) -> Result<Standing, DbError> {
    Ok(sqlx::query_as(
        "SELECT computers, CASE WHEN reenrol_until > now() THEN reenrol_until END AS reenrol_until \
         FROM devices WHERE id = $1",
    )
    .bind(id.0)
    .fetch_optional(&mut **tx)
    .await?
    .unwrap_or_default())
}

/// Lets a device's computer enrol again until then.
pub(super) async fn allow_reenrolment(
    tx: &mut TenantTx,
    id: DeviceId,
    until: OffsetDateTime,
) -> Result<(), DbError> {
    sqlx::query("UPDATE devices SET reenrol_until = $2 WHERE id = $1")
        .bind(id.0)
        .bind(until)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Devices whose identity several computers use, the longest-standing first, with
/// who they are.
///
/// # Errors
/// [`DbError`].
pub async fn shared(
    tx: &mut TenantTx,
    most: usize,
) -> Result<Vec<(DeviceItem, Vec<Computer>, OffsetDateTime)>, DbError> {
    let rows: Vec<(Uuid, Json<Vec<Computer>>, OffsetDateTime)> = sqlx::query_as(
        "SELECT id, computers, coalesce(computers_since, now()) FROM devices \
         WHERE computers IS NOT NULL AND revoked_at IS NULL ORDER BY computers_since LIMIT $1",
    )
    .bind(i64::try_from(most).unwrap_or(i64::MAX))
    .fetch_all(&mut **tx)
    .await?;
    let ids: Vec<DeviceId> = rows.iter().map(|(id, ..)| DeviceId(*id)).collect();
    let devices = items(tx, &ids).await?;
    Ok(devices
        .into_iter()
        .filter_map(|item| {
            let (_, Json(computers), since) = rows.iter().find(|(id, ..)| *id == item.id)?.clone();
            Some((item, computers, since))
        })
        .collect())
}

/// The relay's word of which computers use an identity.
pub(super) async fn apply(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    told: SharedIdentity,
) -> Result<(), ApplyError> {
    let computer = |(n, c): (usize, &SharingComputer)| Computer {
        id: c.instance,
        hostname: line(&c.hostname, 255),
        address: line(&c.address, 64),
        first: n == 0,
        last_seen: time_of(c.last_ms),
    };
    let told_of = told.computers.iter().take(MAX_COMPUTERS).enumerate();
    let computers: Vec<Computer> = told_of.map(computer).collect();
    let now = (computers.len() > 1).then(|| Json(computers.clone()));
    let before: Option<(bool, String)> = sqlx::query_as(
        "UPDATE devices d SET computers = $2, \
             computers_since = CASE WHEN $2::jsonb IS NULL THEN NULL ELSE coalesce(d.computers_since, $3) END \
         FROM (SELECT id, computers IS NOT NULL AS shared FROM devices WHERE id = $1 FOR UPDATE) b \
         WHERE d.id = b.id \
         RETURNING b.shared, CASE WHEN d.name = '' THEN d.hostname ELSE d.name END",
    )
    .bind(told.device.0)
    .bind(now)
    .bind(time_of(told.at_ms))
    .fetch_optional(&mut **tx)
    .await?;
    let Some((was_shared, name)) = before else { return Ok(()) };
    let is_shared = computers.len() > 1;
    if was_shared == is_shared {
        return Ok(());
    }
    let (action, detail) = match is_shared {
        true => (
            "device.identity_shared",
            format!("{} use one identity. Only the first is served.", shown(&computers)),
        ),
        false => ("device.identity_single", "One computer uses the identity again.".to_owned()),
    };
    let actor = AuditActor { name: "relay".into(), id: Some(relay.id.0), ..AuditActor::system() };
    let target = AuditTarget::device(relay.place(), told.device.0, format!("device {name}"));
    audit::record_at(tx, &actor, action, &target, &detail, Some(time_of(told.at_ms))).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_first_of_several_stays_until_it_is_clear_who_goes_on() {
        let computer = |n| Computer {
            id: Uuid::from_u128(n),
            hostname: String::new(),
            address: String::new(),
            first: n == 1,
            last_seen: OffsetDateTime::UNIX_EPOCH,
        };
        let three: Vec<Computer> = (1..=3).map(computer).collect();
        let id = Uuid::from_u128;
        assert!(leaving(&three, id(1)).unwrap_err().is_some());
        assert_eq!(leaving(&three, id(3)).unwrap().id, id(3));
        assert_eq!(leaving(&three[..2], id(1)).unwrap().id, id(1), "the other goes on");
        assert_eq!(leaving(&three, id(9)), Err(None));
    }
}
