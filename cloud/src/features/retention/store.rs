//! SQL of retention.

use crate::{
    db::{DbError, TenantTx},
    keeping::{Kept, Setting, policies},
};
use sqlx::{Postgres, QueryBuilder};
use unifyit_protocol::ids::PartnerId;

/// How long a partner's data are kept.
///
/// # Errors
/// [`DbError`].
pub(super) async fn get(
    tx: &mut TenantTx,
    settings: &[Setting],
    partner: PartnerId,
) -> Result<Kept, DbError> {
    let mut policies = policies(tx, settings, Some(partner)).await?;
    Ok(policies.own.remove(&partner.0).unwrap_or(policies.usual))
}

/// Sets it.
///
/// # Errors
/// [`DbError`].
pub(super) async fn set(tx: &mut TenantTx, partner: PartnerId, kept: &Kept) -> Result<(), DbError> {
    let mut query = QueryBuilder::<Postgres>::new("INSERT INTO retention (partner_id");
    for (setting, _) in kept.iter() {
        query.push(", ").push(setting.column);
    }
    query.push(") VALUES (").push_bind(partner.0);
    for (_, days) in kept.iter() {
        query.push(", ").push_bind(*days);
    }
    query.push(") ON CONFLICT (partner_id) DO UPDATE SET updated_at = now()");
    for (setting, _) in kept.iter() {
        query.push(format_args!(", {0} = excluded.{0}", setting.column));
    }
    query.build().execute(&mut **tx).await?;
    Ok(())
}
