//! `POST /api-keys`
//!
//! Takes no idempotency key: its answer holds the secret, which is stored nowhere.

use super::super::{model::NewApiKey, store};
use crate::{
    audit::AuditTarget,
    auth::ApiKeySecret,
    authz::Can,
    context::Ctx,
    features::tenants,
    http::{Body, Problem},
};
use axum::{Json, http::StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;

/// Longest validity: ten years.
const MAX_SECONDS: i64 = 10 * 366 * 24 * 3600;

/// A key to be. It gets its maker's role and scope.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ApiKeyInput {
    /// What it is for.
    name: String,
    /// Seconds until it expires; never when absent.
    #[serde(default)]
    expires_in_s: Option<i64>,
}

/// Make an API key
#[utoipa::path(post, path = "/api-keys", tag = "api keys", request_body = ApiKeyInput,
    responses((status = 201, body = NewApiKey), (status = "4XX", body = Problem)))]
pub(super) async fn create_api_key(
    ctx: Ctx,
    Body(input): Body<ApiKeyInput>,
) -> Result<(StatusCode, Json<NewApiKey>), Problem> {
    ctx.require(Can::ManageApiKeys)?;
    let name = tenants::checked_name(&input.name)?;
    if input.expires_in_s.is_some_and(|s| !(60..=MAX_SECONDS).contains(&s)) {
        return Err(Problem::invalid("expires_in_s must be 60 seconds to ten years."));
    }
    let expires_at = input.expires_in_s.map(|s| ctx.now() + time::Duration::seconds(s));
    let secret = ApiKeySecret::generate().ok_or_else(Problem::internal)?;
    let key = secret.text();
    let hint: String = key.chars().take(10).collect();
    let mut tx = ctx.begin(Can::ManageApiKeys).await?;
    let item = store::create(&mut tx, &ctx.actor, &name, (secret.hash(), hint), expires_at).await?;
    let target = AuditTarget::at(ctx.actor.scope.place(), format!("API key {name}"));
    ctx.audit(&mut tx, "api_key.create", &target, "").await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(NewApiKey { item, key })))
}
