//! `POST /api-keys`
//!
//! Takes no idempotency key: its answer holds the secret, which is stored nowhere.

use super::super::{MANAGE_API_KEYS, model::NewApiKey, store, store::KeyToBe};
use crate::{
    audit::AuditTarget,
    auth::ApiKeySecret,
    authz::{ActorKind, Role},
    context::{Ctx, ScopeQuery},
    features::tenants,
    http::{Body, Problem},
};
use axum::{Json, http::StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// Longest validity: ten years.
const MAX_SECONDS: i64 = 10 * 366 * 24 * 3600;

/// A key to be. Role and scope are its maker's unless narrower ones are named. A
/// key that a key makes lasts no longer than that one.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ApiKeyInput {
    /// What it is for.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// Seconds until it expires; never when absent.
    #[serde(default)]
    #[schema(minimum = 60, maximum = 316_224_000)]
    expires_in_s: Option<i64>,
    /// A lesser role than the maker's.
    #[serde(default)]
    role: Option<Role>,
    /// Only for this partner.
    #[serde(default)]
    partner_id: Option<Uuid>,
    /// Only for this organization.
    #[serde(default)]
    organization_id: Option<Uuid>,
    /// Only for this site.
    #[serde(default)]
    site_id: Option<Uuid>,
}

/// Make an API key
///
/// It ends with the person whose it is: when they are disabled, when they may
/// less than the key, or when its organization is deleted.
#[utoipa::path(post, path = "/api-keys", tag = "api keys", request_body = ApiKeyInput,
    responses((status = 201, body = NewApiKey), (status = "4XX", body = Problem)))]
pub(super) async fn create_api_key(
    ctx: Ctx,
    input: Result<Body<ApiKeyInput>, Problem>,
) -> Result<(StatusCode, Json<NewApiKey>), Problem> {
    ctx.require(MANAGE_API_KEYS)?;
    let Body(input) = input?;
    let name = tenants::checked_name(&input.name)?;
    if input.expires_in_s.is_some_and(|s| !(60..=MAX_SECONDS).contains(&s)) {
        return Err(Problem::invalid("expires_in_s must be 60 seconds to ten years."));
    }
    let role = input.role.unwrap_or(ctx.actor.role);
    if !ctx.actor.role.covers(role) {
        return Err(Problem::invalid("A key cannot have a higher role than its maker."));
    }
    let part = ScopeQuery {
        partner_id: input.partner_id,
        organization_id: input.organization_id,
        site_id: input.site_id,
    };
    let mut expires_at = input.expires_in_s.map(|s| ctx.now() + time::Duration::seconds(s));
    let mut parent = None;
    if let ActorKind::ApiKey { .. } = ctx.actor.kind {
        let mut tx = ctx.begin(MANAGE_API_KEYS).await?;
        let ends = store::expiry(&mut tx, ctx.actor.id).await?;
        expires_at = expires_at.into_iter().chain(ends).min();
        parent = Some(ctx.actor.id);
    }
    let secret = ApiKeySecret::generate().ok_or_else(Problem::internal)?;
    let key = secret.text();
    let mut tx = ctx.begin_within(MANAGE_API_KEYS, &part).await?;
    let scope = tx.scope().copied().unwrap_or(ctx.actor.scope);
    let key_to_be = KeyToBe {
        name: &name,
        hash: secret.hash(),
        hint: key.chars().take(10).collect(),
        role,
        scope,
        owner: ctx.actor.person(),
        parent,
        expires_at,
    };
    let item = store::create(&mut tx, &ctx.actor, key_to_be).await?;
    let target = AuditTarget::at(scope.place(), format!("API key {name}"));
    let detail = format!("{} of {}", role.as_str(), item.created_by);
    ctx.audit(&mut tx, "api_key.create", &target, &detail).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(NewApiKey { item, key })))
}
