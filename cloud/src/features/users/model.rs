//! What people look like from outside.

use crate::{
    auth::{Account, SessionSecret},
    authz::{Can, Role},
    db::ScopeKind,
    feature::{self, Feature},
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// The part of the hierarchy that somebody sees.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ScopeBody {
    /// Its level.
    #[schema(value_type = ScopeKind)]
    pub kind: String,
    /// Its id; none for the platform.
    pub id: Option<Uuid>,
    /// Its name.
    pub name: String,
}

/// Who is signed in.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct User {
    /// Identity.
    pub id: Uuid,
    /// E-mail address.
    pub email: String,
    /// Name.
    pub name: String,
    /// Role at the scope.
    pub role: Role,
    /// What they see.
    pub scope: ScopeBody,
    /// What they may do: screens offer nothing else.
    pub may: Vec<Can>,
}

/// A session as its owner sees it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SessionBody {
    /// Who is signed in.
    pub user: User,
    /// To be sent as `X-CSRF-Token` with every unsafe request.
    pub csrf_token: String,
}

impl SessionBody {
    /// Of an account with its session, and what it may do with each feature.
    #[must_use]
    pub fn new(features: &[Feature], account: &Account, secret: &SessionSecret) -> Self {
        let (role, scope) = (Role::parse(&account.role), account.scope);
        Self {
            user: User {
                id: account.user_id,
                email: account.email.clone(),
                name: account.name.clone(),
                role,
                scope: ScopeBody {
                    kind: scope.kind().to_owned(),
                    id: scope.id(),
                    name: account.scope_name.clone(),
                },
                may: feature::rights(features).filter(|what| what.by(role, &scope)).collect(),
            },
            csrf_token: secret.csrf_token(),
        }
    }
}

/// A person in a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, sqlx::FromRow)]
pub struct UserListItem {
    /// Identity.
    pub id: Uuid,
    /// E-mail address.
    pub email: String,
    /// Name.
    pub name: String,
    /// Role at the scope.
    #[schema(value_type = Role)]
    pub role: String,
    /// Kind of scope.
    #[schema(value_type = ScopeKind)]
    pub scope_kind: String,
    /// Id of what the scope is about.
    pub scope_id: Option<Uuid>,
    /// Name of what the scope is about.
    pub scope_name: String,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// Last sign-in.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_login_at: Option<OffsetDateTime>,
    /// Whether sign-in is barred.
    pub disabled: bool,
}
