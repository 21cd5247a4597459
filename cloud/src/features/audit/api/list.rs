//! `GET /audit`

use super::super::store::{self, AuditFilter};
use crate::{
    audit::{AuditEntry, READ_AUDIT},
    context::{Ctx, ScopeQuery},
    http::{Page, PageQuery, Problem, Query},
};
use axum::Json;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Words that actor, action, target or detail contain.
    #[serde(default)]
    q: String,
    /// Only by this actor.
    #[serde(default)]
    actor: String,
    /// Only of this partner.
    partner_id: Option<Uuid>,
    /// Only of this organization.
    organization_id: Option<Uuid>,
    /// Only of this site.
    site_id: Option<Uuid>,
    /// Most items, 1 to 500; 100 when absent.
    #[serde(default, deserialize_with = "crate::http::limit")]
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Read the audit log, latest first
#[utoipa::path(get, path = "/audit", tag = "audit", params(Filter),
    responses((status = 200, body = Page<AuditEntry>), (status = "4XX", body = Problem)))]
pub(super) async fn list_audit(
    ctx: Ctx,
    Query(filter): Query<Filter>,
) -> Result<Json<Page<AuditEntry>>, Problem> {
    let page = PageQuery { limit: filter.limit, cursor: filter.cursor };
    let wanted = AuditFilter { q: &filter.q, actor: &filter.actor, device: None };
    let part = ScopeQuery {
        partner_id: filter.partner_id,
        organization_id: filter.organization_id,
        site_id: filter.site_id,
    };
    let mut tx = ctx.begin_within(READ_AUDIT, &part).await?;
    Ok(Json(store::audit(&mut tx, &wanted, &page).await?))
}
