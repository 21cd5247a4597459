//! What part of the hierarchy a transaction may see, and where a row stands.

use serde::{Deserialize, Serialize};
use unifyit_protocol::ids::{OrganizationId, PartnerId, SiteId};
use utoipa::ToSchema;
use uuid::Uuid;

/// Levels of the hierarchy, by their words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScopeKind {
    /// Everything.
    Platform,
    /// A partner.
    Partner,
    /// An organization.
    Organization,
    /// A site.
    Site,
}

/// A subtree of platform > partner > organization > site. Carries the ids of all
/// ancestors, like the rows do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everything. Only for platform operators and the service's own jobs.
    Platform,
    /// A partner with all its organizations.
    Partner(PartnerId),
    /// An organization with all its sites.
    Organization(PartnerId, OrganizationId),
    /// One site. Also what a relay's records are written under.
    Site(PartnerId, OrganizationId, SiteId),
}

impl Scope {
    /// The word for it in the API and in the schema.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Partner(_) => "partner",
            Self::Organization(..) => "organization",
            Self::Site(..) => "site",
        }
    }

    /// The id of what it is about; none for the platform.
    #[must_use]
    pub fn id(&self) -> Option<Uuid> {
        match self {
            Self::Platform => None,
            Self::Partner(id) => Some(id.0),
            Self::Organization(_, id) => Some(id.0),
            Self::Site(_, _, id) => Some(id.0),
        }
    }

    /// Reads a scope from its ancestors' columns.
    #[must_use]
    pub fn from_columns(
        partner: Option<Uuid>,
        organization: Option<Uuid>,
        site: Option<Uuid>,
    ) -> Self {
        match (partner, organization, site) {
            (None, ..) => Self::Platform,
            (Some(p), None, _) => Self::Partner(PartnerId(p)),
            (Some(p), Some(o), None) => Self::Organization(PartnerId(p), OrganizationId(o)),
            (Some(p), Some(o), Some(s)) => Self::Site(PartnerId(p), OrganizationId(o), SiteId(s)),
        }
    }

    /// Where a row about this scope itself stands.
    #[must_use]
    pub fn place(&self) -> Place {
        match *self {
            Self::Platform => Place::default(),
            Self::Partner(p) => Place { partner: Some(p.0), ..Place::default() },
            Self::Organization(p, o) => {
                Place { partner: Some(p.0), organization: Some(o.0), site: None }
            }
            Self::Site(p, o, s) => Place::site(p, o, s),
        }
    }

    /// Whether a row at `place` is inside: the same rule as the row policies'.
    #[must_use]
    pub fn sees(&self, place: &Place) -> bool {
        let own = self.place();
        let within = |own: Option<Uuid>, row: Option<Uuid>| own.is_none() || own == row;
        within(own.partner, place.partner)
            && within(own.organization, place.organization)
            && within(own.site, place.site)
    }

    /// The transaction's settings: scope, partner, organization, site.
    pub(super) fn settings(&self) -> [String; 4] {
        let Place { partner, organization, site } = self.place();
        let text = |id: Option<Uuid>| id.map(|id| id.hyphenated().to_string()).unwrap_or_default();
        [self.kind().to_owned(), text(partner), text(organization), text(site)]
    }
}

/// The ancestors that a row carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, sqlx::FromRow)]
pub struct Place {
    /// Its partner; none at the platform.
    #[sqlx(rename = "partner_id")]
    pub partner: Option<Uuid>,
    /// Its organization; none above.
    #[sqlx(rename = "organization_id")]
    pub organization: Option<Uuid>,
    /// Its site; none above.
    #[sqlx(rename = "site_id")]
    pub site: Option<Uuid>,
}

impl Place {
    /// At a site.
    #[must_use]
    pub fn site(partner: PartnerId, organization: OrganizationId, site: SiteId) -> Self {
        Self { partner: Some(partner.0), organization: Some(organization.0), site: Some(site.0) }
    }

    /// The scope that is this place with all below it.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope::from_columns(self.partner, self.organization, self.site)
    }
}
