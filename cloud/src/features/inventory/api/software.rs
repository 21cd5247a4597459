//! `GET /devices/{id}/software`

use super::super::{SoftwareItem, store};
use crate::{
    authz::Can,
    context::Ctx,
    features::devices,
    http::{Page, PageQuery, Path, Problem, Query},
};
use axum::Json;
use serde::Deserialize;
use unifyit_protocol::ids::DeviceId;
use utoipa::IntoParams;
use uuid::Uuid;

/// Which packages.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Text that manager or name contains.
    #[serde(default)]
    q: String,
    /// Most items, 1 to 500; 100 when absent.
    #[serde(default, deserialize_with = "crate::http::limit")]
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List a device's installed packages
#[utoipa::path(get, path = "/devices/{id}/software", tag = "devices",
    params(("id" = Uuid, Path), Filter),
    responses((status = 200, body = Page<SoftwareItem>), (status = "4XX", body = Problem)))]
pub(super) async fn list_software(
    ctx: Ctx,
    Path(id): Path<Uuid>,
    Query(filter): Query<Filter>,
) -> Result<Json<Page<SoftwareItem>>, Problem> {
    let page = PageQuery { limit: filter.limit, cursor: filter.cursor };
    let mut tx = ctx.begin(Can::VIEW).await?;
    let device =
        devices::store::find(&mut tx, DeviceId(id)).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(store::software(&mut tx, &device, &filter.q, &page).await?))
}
