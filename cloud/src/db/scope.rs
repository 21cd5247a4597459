//! The tree's two words: a [`Scope`] is a subtree, what somebody or a transaction may
//! see; a [`Place`] is a spot, where a row stands. Both carry the ids of all ancestors.
//!
//! A scope is read from the database with its level in words: the platform is everything
//! only where the row says so, and never because an id is absent.

use serde::{Deserialize, Serialize};
use sqlx::{FromRow, Row, postgres::PgRow};
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

    /// Reads a scope from its level's word and the ids of exactly the ancestors that the
    /// level has.
    ///
    /// # Errors
    /// [`NoScope`] when the word is unknown, or an id is missing or one too many.
    pub fn from_columns(
        kind: &str,
        partner: Option<Uuid>,
        organization: Option<Uuid>,
        site: Option<Uuid>,
    ) -> Result<Self, NoScope> {
        match (kind, partner, organization, site) {
            ("platform", None, None, None) => Ok(Self::Platform),
            ("partner", Some(p), None, None) => Ok(Self::Partner(PartnerId(p))),
            ("organization", Some(p), Some(o), None) => {
                Ok(Self::Organization(PartnerId(p), OrganizationId(o)))
            }
            ("site", Some(p), Some(o), Some(s)) => {
                Ok(Self::Site(PartnerId(p), OrganizationId(o), SiteId(s)))
            }
            _ => Err(NoScope(kind.to_owned())),
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

impl FromRow<'_, PgRow> for Scope {
    /// Of the columns `scope`, `partner_id`, `organization_id` and `site_id`.
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let (partner, organization) = (row.try_get("partner_id")?, row.try_get("organization_id")?);
        Self::from_columns(row.try_get("scope")?, partner, organization, row.try_get("site_id")?)
            .map_err(sqlx::Error::decode)
    }
}

/// Columns that are no scope: whoever has only these sees nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ids of the ancestors are not those of the scope {0:?}")]
pub struct NoScope(String);

/// Where a row stands: the ancestors that it carries.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_what_its_word_and_its_ids_both_say() {
        let ids = [1, 2, 3].map(Uuid::from_u128);
        let (p, o, s) = (PartnerId(ids[0]), OrganizationId(ids[1]), SiteId(ids[2]));
        let scopes =
            [Scope::Platform, Scope::Partner(p), Scope::Organization(p, o), Scope::Site(p, o, s)];
        for kind in scopes.map(|scope| scope.kind()).into_iter().chain(["", "Platform", "reseller"])
        {
            for named in 0..8 {
                let id = |at: usize| (named >> at & 1 == 1).then_some(ids[at]);
                let read = Scope::from_columns(kind, id(0), id(1), id(2));
                let own = Place { partner: id(0), organization: id(1), site: id(2) };
                let right = scopes.into_iter().find(|s| s.kind() == kind && s.place() == own);
                assert_eq!(read.ok(), right, "{kind} with {own:?}");
            }
        }
    }
}
