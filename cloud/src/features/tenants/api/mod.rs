//! Endpoints of partners and organizations.

mod create_organization;
mod create_partner;
mod delete_organization;
mod get_organization;
mod get_partner;
mod list_organizations;
mod list_partner_organizations;
mod list_partners;
mod update_organization;

use crate::{context::AppState, http::Problem};
use utoipa_axum::{router::OpenApiRouter, routes};

/// All of them.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_partners::list_partners, create_partner::create_partner))
        .routes(routes!(get_partner::get_partner))
        .routes(routes!(list_partner_organizations::list_partner_organizations))
        .routes(routes!(
            list_organizations::list_organizations,
            create_organization::create_organization
        ))
        .routes(routes!(
            get_organization::get_organization,
            update_organization::update_organization,
            delete_organization::delete_organization
        ))
}

/// A name as people give it: trimmed, 1 to 200 characters, none of control.
///
/// # Errors
/// 422 otherwise.
pub fn checked_name(name: &str) -> Result<String, Problem> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 200 || name.chars().any(char::is_control) {
        return Err(Problem::invalid("The name must have 1 to 200 characters on one line."));
    }
    Ok(name.to_owned())
}
