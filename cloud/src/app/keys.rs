//! The keys that a database was made with, before anything works with it.
//!
//! A state folder that was lost, or put back without its keys, must not be filled
//! with others: everything would seem well until the first command.

use crate::{
    config::Config,
    db::{Db, DbError, Scope},
    trust::Trust,
};
use anyhow::{Context, ensure};
use unifyit_protocol::ids::OrganizationId;
use uuid::Uuid;

/// Takes the master key, and tries it on the organization that came last.
pub(super) async fn load(db: &Db, config: &Config) -> anyhow::Result<Trust> {
    let last = last_authority(db).await.context("the organizations' keys cannot be looked at")?;
    let text = std::env::var("UNIFYIT_MASTER_KEY").ok();
    let trust = Trust::load(text.as_deref(), &config.master_key_file(), last.is_some())?;
    if let Some((organization, sealed)) = last {
        ensure!(
            trust.opens(organization, &sealed),
            "the master key opens none of this database's organizations: it is another installation's. \
             Put the one back that they were made with ({}, or UNIFYIT_MASTER_KEY)",
            config.master_key_file().display(),
        );
    }
    Ok(trust)
}

async fn last_authority(db: &Db) -> Result<Option<(OrganizationId, Vec<u8>)>, DbError> {
    let mut tx = db.tenant(&Scope::Platform).await?;
    let last: Option<(Uuid, Vec<u8>)> = sqlx::query_as(
        "SELECT organization_id, sealed_seed FROM organization_keys \
         ORDER BY created_at DESC, organization_id LIMIT 1",
    )
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(last.map(|(id, sealed)| (OrganizationId(id), sealed)))
}
