//! Who acts, in which role, over which part of the hierarchy, and what that
//! allows. Which rows exist for them is the database's word (G8); this is about
//! what they may do with what they see.
//!
//! What is not visible answers 404; what is visible and not allowed, 403.

use crate::{audit::AuditActor, db::Scope};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};
use uuid::Uuid;

/// A role at a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything at the scope.
    Admin,
    /// Works on computers and sites; manages no people.
    Technician,
    /// Looks.
    Viewer,
}

impl Role {
    /// Reads the schema's word. An unknown word allows the least.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "admin" => Self::Admin,
            "technician" => Self::Technician,
            _ => Self::Viewer,
        }
    }

    /// Whether it allows all that another does.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        let rank = |role| match role {
            Self::Viewer => 0,
            Self::Technician => 1,
            Self::Admin => 2,
        };
        rank(self) >= rank(other)
    }

    /// The schema's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Technician => "technician",
            Self::Viewer => "viewer",
        }
    }
}

/// What a request is about to do. Every endpoint names one. Whose it is declares it, and
/// its feature lists it ([`crate::feature::Feature::rights`]), by which sessions and the
/// document tell of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Can {
    word: &'static str,
    least: Role,
    scopes: Scopes,
}

/// At which scopes somebody may do something, if their role is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scopes {
    /// At each.
    All,
    /// At those that are more than one site.
    AboveSites,
    /// At the platform: its operators only.
    Platform,
}

impl Can {
    /// Look at what the scope sees.
    pub const VIEW: Self = Self::new("view", Role::Viewer, Scopes::All);

    /// By its word on the wire, the least role that allows it, and at which scopes.
    #[must_use]
    pub const fn new(word: &'static str, least: Role, scopes: Scopes) -> Self {
        Self { word, least, scopes }
    }

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.word
    }

    /// Whether a role at a scope allows it.
    #[must_use]
    pub fn by(self, role: Role, scope: &Scope) -> bool {
        let by_scope = match self.scopes {
            Scopes::All => true,
            Scopes::AboveSites => !matches!(scope, Scope::Site(..)),
            Scopes::Platform => *scope == Scope::Platform,
        };
        by_scope && role.covers(self.least)
    }
}

impl std::fmt::Display for Can {
    /// Its line in the table of rights.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scopes = match self.scopes {
            Scopes::All => "",
            Scopes::AboveSites => ", not of a site alone",
            Scopes::Platform => " of the platform",
        };
        write!(f, "`{}`: {}{scopes}", self.word, self.least.as_str())
    }
}

impl Serialize for Can {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word)
    }
}

impl PartialSchema for Can {
    /// Without its words, which only the list of features has.
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).into()
    }
}

impl ToSchema for Can {}

/// Who is behind a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The user's or the key's id.
    pub id: Uuid,
    /// What it is.
    pub kind: ActorKind,
    /// E-mail address of a user, name of a key.
    pub name: String,
    /// E-mail address of the person who acts, or whose key does.
    pub person_name: String,
    /// Its role.
    pub role: Role,
    /// What it sees.
    pub scope: Scope,
}

/// What an actor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// A person with a session.
    User {
        /// The session in use.
        session: Uuid,
    },
    /// An API key.
    ApiKey {
        /// The person whose it is.
        owner: Uuid,
    },
}

/// By whom a request is counted: a person, and whether by one of their keys. All keys of
/// a person together get half of what the person may, so that no key shuts its
/// owner out, who can then revoke it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// The person who acts, or whose key does.
    pub person: Uuid,
    /// Whether a key acts.
    pub by_key: bool,
}

impl Actor {
    /// By whom its requests are counted.
    #[must_use]
    pub fn sender(&self) -> Sender {
        let by_key = matches!(self.kind, ActorKind::ApiKey { .. });
        Sender { person: self.person(), by_key }
    }

    /// The person who acts, or whose key does.
    #[must_use]
    pub fn person(&self) -> Uuid {
        match self.kind {
            ActorKind::User { .. } => self.id,
            ActorKind::ApiKey { owner } => owner,
        }
    }

    /// Whether it may.
    #[must_use]
    pub fn may(&self, what: Can) -> bool {
        what.by(self.role, &self.scope)
    }

    /// As it stands in the audit log.
    #[must_use]
    pub fn audit(&self, request_id: &str) -> AuditActor {
        let name = match self.kind {
            ActorKind::User { .. } => self.name.clone(),
            ActorKind::ApiKey { .. } => format!("key:{} ({})", self.name, self.person_name),
        };
        AuditActor { name, id: Some(self.id), request_id: request_id.to_owned() }
    }
}
