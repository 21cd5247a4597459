//! Errors as clients see them: RFC 9457, a sentence that says what to do, and a
//! request id to quote. What went wrong inside goes to the log, never out.

use crate::{
    auth::PasswordError,
    db::{Cause, DbError},
    link::downlink::AppendError,
    trust::TrustError,
};
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap, time::Duration};
use utoipa::ToSchema;

/// A refused or failed request.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem: `about:blank` or `urn:unifyit:…`.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// The kind in a few words.
    pub title: Cow<'static, str>,
    /// HTTP status.
    pub status: u16,
    /// What happened and what to do.
    pub detail: Cow<'static, str>,
    /// To quote when asking for help; the log has it too.
    #[serde(default)]
    pub request_id: String,
    /// What is wrong with which field, where several are looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = BTreeMap<String, String>, required = false)]
    pub errors: Option<Box<FieldErrors>>,
    /// Seconds after which a repeat may succeed, for the answer's head.
    #[serde(skip)]
    retry_after: Option<u32>,
}

/// What is wrong, by field. Few problems have it, and all are handed around by value.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FieldErrors(pub BTreeMap<String, String>);

impl Problem {
    /// A problem of a kind of its own.
    pub fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            kind: kind.into(),
            title: title.into(),
            status: status.as_u16(),
            detail: detail.into(),
            request_id: String::new(),
            errors: None,
            retry_after: None,
        }
    }

    /// Says when a repeat may succeed, in whole seconds.
    #[must_use]
    pub fn after(mut self, rest: Duration) -> Self {
        self.retry_after = Some(u32::try_from(rest.as_secs() + 1).unwrap_or(u32::MAX));
        self
    }

    /// The input is not acceptable, and why.
    pub fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "urn:unifyit:invalid",
            "The input is not acceptable",
            detail,
        )
    }

    /// Fields are not acceptable, and why each.
    #[must_use]
    pub fn fields(errors: BTreeMap<String, String>) -> Self {
        let said = errors.iter().map(|(field, why)| format!("{field}: {why}"));
        let said = said.collect::<Vec<_>>().join(" ");
        Self { errors: Some(Box::new(FieldErrors(errors))), ..Self::invalid(said) }
    }

    /// The request cannot even be read.
    pub fn malformed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "urn:unifyit:malformed",
            "The request cannot be read",
            detail,
        )
    }

    /// The state of things does not allow it, and what to do first.
    pub fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "urn:unifyit:conflict",
            "Not possible as things are",
            detail,
        )
    }

    /// There is no such thing, or it is hidden from the actor.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "about:blank",
            "Not found",
            "There is nothing here, or it is outside your scope.",
        )
    }

    /// Nobody is signed in.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "urn:unifyit:unauthorized",
            "Not signed in",
            "Sign in, or send an API key as `Authorization: Bearer uak_…`.",
        )
    }

    /// The actor sees it and may not do that.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "urn:unifyit:forbidden",
            "Not allowed",
            "Your role does not allow this. Ask an administrator of your organization.",
        )
    }

    /// Too many requests.
    #[must_use]
    pub fn slow_down(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "urn:unifyit:rate_limited",
            "Too many requests",
            detail,
        )
    }

    /// A fault on this side; the cause is in the log under the request id.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "urn:unifyit:internal",
            "Something failed on our side",
            "Try again. If it stays, quote the request id to whoever runs this server.",
        )
    }

    /// The database cannot do its work, and why.
    #[must_use]
    pub fn unavailable(cause: Cause) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "urn:unifyit:unavailable",
            "Temporarily unavailable",
            format!("{} Nothing was changed; try again in a moment.", cause.sentence()),
        )
    }

    /// The status as a type.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        match &error {
            DbError::Unavailable { cause, .. } => {
                tracing::warn!(%error, "a request failed because the database is unavailable");
                Self::unavailable(*cause)
            }
            DbError::Conflict(_) => {
                tracing::info!(%error, "two transactions were in each other's way");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "urn:unifyit:busy",
                    "Somebody changed this at the same moment",
                    "Nothing was changed; try again.",
                )
            }
            DbError::Constraint { .. } => {
                tracing::info!(%error, "a request broke a rule of the schema");
                Self::conflict(
                    "Something with these values exists already, or what it refers to is gone.",
                )
            }
            // Row security refused the row: it would stand outside the scope.
            DbError::Query(sqlx::Error::Database(said))
                if said.code().as_deref() == Some("42501") =>
            {
                tracing::warn!(%error, "row security refused a write");
                Self::forbidden()
            }
            // A value that a client made up (inside a cursor, say) and that the
            // database cannot read.
            DbError::Query(sqlx::Error::Database(said))
                if said.code().is_some_and(|code| code.starts_with("22")) =>
            {
                tracing::info!(%error, "a request held a value that cannot be read");
                Self::malformed("A value of the request cannot be read.")
            }
            DbError::Query(_) => {
                tracing::error!(%error, "a statement failed");
                Self::internal()
            }
        }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        DbError::from(error).into()
    }
}

impl From<TrustError> for Problem {
    fn from(error: TrustError) -> Self {
        tracing::error!(%error, "a signature could not be made");
        Self::internal()
    }
}

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Length | PasswordError::Weak(_) => Self::invalid(error.to_string()),
            PasswordError::Failed(error) => {
                tracing::error!(%error, "a password could not be hashed");
                Self::internal()
            }
        }
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::NoRelay => Self::conflict("The site has no relay. Install one first."),
            AppendError::Full(_) => Self::conflict(error.to_string()),
            AppendError::TooLarge(_) => Self::invalid("This is too large to be sent to the site."),
            AppendError::Db(error) => error.into(),
            AppendError::Protocol(error) => {
                tracing::error!(%error, "a message to a relay could not be encoded");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if matches!(self.status, 429 | 503) {
            headers.insert(header::RETRY_AFTER, self.retry_after.unwrap_or(2).into());
        }
        // Kept for the layer that knows the request id and writes it in.
        response.extensions_mut().insert(self);
        response
    }
}
