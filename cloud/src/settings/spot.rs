//! Where a document stands: a partner, an organization, a site or a device.

use crate::db::{DbError, Place, TenantTx};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The kinds of places where documents stand, from the widest to the nearest.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// A partner, for all of its organizations.
    Partner,
    /// An organization, for all of its sites.
    Organization,
    /// A site, for its relay and all of its devices.
    Site,
    /// Devices that have a tag in common. Composed, and not stored yet.
    Group,
    /// One device.
    Device,
}

impl Level {
    /// The level of a word in a path.
    #[must_use]
    pub fn of_path(word: &str) -> Option<Self> {
        Some(match word {
            "partners" => Self::Partner,
            "organizations" => Self::Organization,
            "sites" => Self::Site,
            "devices" => Self::Device,
            _ => return None,
        })
    }

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Partner => "partner",
            Self::Organization => "organization",
            Self::Site => "site",
            Self::Group => "group",
            Self::Device => "device",
        }
    }
}

/// A place where a document may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// What kind of place.
    pub level: Level,
    /// Which.
    pub id: Uuid,
    /// The ancestors that its row carries.
    pub place: Place,
    /// As it is shown.
    pub name: String,
}

impl Spot {
    /// The device, if it is one.
    #[must_use]
    pub fn device(&self) -> Option<Uuid> {
        (self.level == Level::Device).then_some(self.id)
    }
}

#[derive(sqlx::FromRow)]
struct Found {
    #[sqlx(flatten)]
    place: Place,
    name: String,
}

/// The place of that level and id, if the transaction sees it.
///
/// # Errors
/// [`DbError`].
pub async fn find(tx: &mut TenantTx, level: Level, id: Uuid) -> Result<Option<Spot>, DbError> {
    let sql = match level {
        Level::Partner => {
            "SELECT id AS partner_id, NULL::uuid AS organization_id, NULL::uuid AS site_id, name \
             FROM partners WHERE id = $1 AND deleted_at IS NULL"
        }
        Level::Organization => {
            "SELECT partner_id, id AS organization_id, NULL::uuid AS site_id, name \
             FROM organizations WHERE id = $1 AND deleted_at IS NULL"
        }
        Level::Site => {
            "SELECT partner_id, organization_id, id AS site_id, name \
             FROM sites WHERE id = $1 AND deleted_at IS NULL"
        }
        Level::Group => return Ok(None),
        Level::Device => {
            "SELECT partner_id, organization_id, site_id, \
                 CASE WHEN name = '' THEN hostname ELSE name END AS name \
             FROM devices WHERE id = $1"
        }
    };
    let found: Option<Found> = sqlx::query_as(sql).bind(id).fetch_optional(&mut **tx).await?;
    Ok(found.map(|Found { place, name }| Spot { level, id, place, name }))
}
