//! Extractors whose refusals are problems that say what is wrong.

use super::{Problem, strict::Strict};
use axum::{
    extract::{
        FromRequest, FromRequestParts, Request,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::StatusCode,
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

/// A JSON body. Objects are read by their fields' names only.
///
/// A handler that needs a right takes a `Result` of it, and looks at that after the
/// right: who may not send a thing is told that, and not how to write it.
#[derive(Debug, Clone)]
pub struct Body<T>(pub T);

/// Reads a value strictly.
struct Read<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(Strict(deserializer)).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let axum::Json(Read(body)) = axum::Json::<Read<T>>::from_request(request, state).await?;
        Ok(Self(body))
    }
}

/// Parameters after the question mark.
#[derive(Debug, Clone, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Problem))]
pub struct Query<T>(pub T);

/// Parameters in the path. What is no id names nothing, hence 404.
#[derive(Debug, Clone, FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Problem))]
pub struct Path<T>(pub T);

impl Problem {
    /// 413: more of a body than anybody may send.
    #[must_use]
    pub fn too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "urn:unifyit:too_large",
            "The request is too large",
            "Send a smaller body; the limit is one megabyte.",
        )
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::too_large(),
            StatusCode::UNPROCESSABLE_ENTITY => Self::invalid(rejection.body_text()),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "urn:unifyit:media_type",
                "Not JSON",
                "Send the body with `Content-Type: application/json`.",
            ),
            _ => Self::malformed(rejection.body_text()),
        }
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::malformed(rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(_: PathRejection) -> Self {
        Self::not_found()
    }
}
