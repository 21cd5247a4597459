//! `POST /partners`

use super::{
    super::{MANAGE_PARTNERS, Partner, store},
    checked_name,
};
use crate::{
    audit::AuditTarget,
    context::Ctx,
    db::Scope,
    http::{Body, Idempotency, Problem},
};
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use unifyit_protocol::ids::PartnerId;
use utoipa::ToSchema;

/// A partner to be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct NewPartner {
    /// Name.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
}

/// Create a partner
#[utoipa::path(post, path = "/partners", tag = "partners", request_body = NewPartner,
    responses((status = 201, body = Partner), (status = "4XX", body = Problem)))]
pub(super) async fn create_partner(
    ctx: Ctx,
    key: Idempotency,
    input: Result<Body<NewPartner>, Problem>,
) -> Result<Response, Problem> {
    ctx.require(MANAGE_PARTNERS)?;
    let Body(input) = input?;
    let name = checked_name(&input.name)?;
    let mut tx = ctx.begin(MANAGE_PARTNERS).await?;
    if let Some(replay) = key.claim(&ctx, &mut tx, &input).await? {
        return Ok(replay.into_response());
    }
    let id = PartnerId::generate();
    store::create_partner(&mut tx, id, &name).await?;
    let target = AuditTarget::at(Scope::Partner(id).place(), format!("partner {name}"));
    ctx.audit(&mut tx, "partner.create", &target, "").await?;
    let partner = store::partner(&mut tx, id).await?.ok_or_else(Problem::internal)?;
    key.answer(&ctx, &mut tx, StatusCode::CREATED, &partner)?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(partner)).into_response())
}
