//! What a task begins with, in one round trip: its request's key is claimed, the devices
//! that it means are looked up, and counters are taken for what will be signed for them.

use super::{create::SigningKey, targets::Target};
use crate::{
    db::{DbError, TenantTx},
    features::tasks::model::TargetsInput,
    http::Claim,
};
use sqlx::{Postgres, QueryBuilder, Row, postgres::PgRow};
use std::collections::BTreeMap;
use unifyit_protocol::ids::OrganizationId;

/// Up to so many devices, named and of one organization, counters are taken with the
/// look-up: one for each site, which is as many as are needed.
const FEW: i32 = 64;

/// What a task begins with.
#[derive(Debug, Default)]
pub(in super::super) struct Begun {
    /// The devices meant, as far as the scope sees them, with the relays that reach them;
    /// revoked ones are out.
    pub(in super::super) targets: Vec<Target>,
    /// Authorities with counters, where those are taken already.
    pub(in super::super) keys: BTreeMap<OrganizationId, SigningKey>,
}

/// Looks up whom a task means. Nothing where the key is claimed already.
pub(in super::super) async fn begin(
    tx: &mut TenantTx,
    claim: Option<&Claim<'_>>,
    targets: &TargetsInput,
) -> Result<Option<Begun>, DbError> {
    let named = targets.are_devices();
    let mut query = QueryBuilder::<Postgres>::new("WITH claimed AS (");
    match claim {
        Some(claim) => claim.push_to(&mut query),
        None => drop(query.push("SELECT true AS claimed")),
    }
    query.push(
        "), meant AS MATERIALIZED ( \
         SELECT d.id, d.partner_id, d.organization_id, d.site_id, r.id AS relay_id FROM devices d \
             LEFT JOIN relays r ON r.site_id = d.site_id AND r.revoked_at IS NULL \
             WHERE d.revoked_at IS NULL",
    );
    if named {
        query.push(" AND d.id = ANY(").push_bind(targets.device_ids.clone()).push(")");
    } else if !targets.all {
        query.push(" AND (d.id = ANY(").push_bind(targets.device_ids.clone());
        query.push(") OR d.site_id = ANY(").push_bind(targets.site_ids.clone());
        query.push(") OR d.organization_id = ANY(").push_bind(targets.organization_ids.clone());
        query.push(") OR ").push_bind(targets.tag.clone().filter(|t| !t.is_empty()));
        query.push(" = ANY(d.tags))");
    }
    query.push("), keyed AS (");
    if named {
        // After the claim, which it waits for, and never for several organizations at
        // once: those are locked in one order.
        query.push(
            "UPDATE organization_keys k SET command_counter = k.command_counter + w.sites \
             FROM (SELECT organization_id, count(DISTINCT site_id) AS sites FROM meant \
                 WHERE EXISTS (SELECT FROM claimed) \
                     AND (SELECT count(*) <= ",
        );
        query.push_bind(FEW);
        query.push(
            " AND count(DISTINCT organization_id) = 1 FROM meant) GROUP BY 1) w \
             WHERE k.organization_id = w.organization_id \
             RETURNING k.organization_id, k.sealed_seed, k.command_counter - w.sites + 1 AS next",
        );
    } else {
        query.push(
            "SELECT NULL::uuid AS organization_id, NULL::bytea AS sealed_seed, 0::int8 AS next",
        );
    }
    query.push(
        ") SELECT c.claimed, m.*, k.sealed_seed, k.next \
         FROM (SELECT EXISTS (SELECT FROM claimed) AS claimed) c LEFT JOIN meant m ON true \
             LEFT JOIN keyed k ON k.organization_id = m.organization_id ORDER BY m.site_id, m.id",
    );
    let rows = query.build().fetch_all(&mut **tx).await?;
    let mut begun = Begun::default();
    for row in &rows {
        if !row.try_get::<bool, _>("claimed")? {
            return Ok(None);
        }
        take(row, &mut begun)?;
    }
    Ok(Some(begun))
}

fn take(row: &PgRow, begun: &mut Begun) -> Result<(), sqlx::Error> {
    // A row without a device only says that the key is claimed.
    if row.try_get::<Option<uuid::Uuid>, _>("id")?.is_none() {
        return Ok(());
    }
    let target = <Target as sqlx::FromRow<_>>::from_row(row)?;
    if let Some(sealed) = row.try_get::<Option<Vec<u8>>, _>("sealed_seed")? {
        let next = row.try_get("next")?;
        begun.keys.entry(target.at.organization()).or_insert(SigningKey { sealed, next });
    }
    begun.targets.push(target);
    Ok(())
}
