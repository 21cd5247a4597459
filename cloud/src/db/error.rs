//! What can go wrong with a statement, sorted by what the caller does about it.

use thiserror::Error;

/// A statement or a connection failed.
#[derive(Debug, Error)]
pub enum DbError {
    /// The database cannot be reached or has no connection free. It mends itself
    /// or is mended; the request may be repeated.
    #[error("the database cannot be reached: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// Two transactions were in each other's way; the request may be repeated.
    #[error("the transaction was in the way of another: {0}")]
    Conflict(#[source] sqlx::Error),
    /// A row like this is there already, or one that it needs is not.
    #[error("the statement breaks the rule {constraint}")]
    Constraint {
        /// Name of the constraint in the schema.
        constraint: String,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// Anything else: a fault in the program or the schema.
    #[error("the statement failed: {0}")]
    Query(#[source] sqlx::Error),
}

impl DbError {
    /// Whether the named constraint was broken.
    #[must_use]
    pub fn breaks(&self, name: &str) -> bool {
        matches!(self, Self::Constraint { constraint, .. } if constraint == name)
    }
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error::{Database, Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
        match &error {
            Io(_) | PoolTimedOut | PoolClosed | Tls(_) | Protocol(_) | WorkerCrashed => {
                Self::Unavailable(error)
            }
            Database(said) => match said.code().as_deref() {
                // Serialization failure, deadlock.
                Some("40001" | "40P01") => Self::Conflict(error),
                // Connection trouble, too many connections, shutdown, start-up,
                // the login refused, the database not there.
                Some(code)
                    if code.starts_with("08")
                        || code.starts_with("28")
                        || code.starts_with("57P")
                        || code == "53300"
                        || code == "3D000" =>
                {
                    Self::Unavailable(error)
                }
                Some(code) if code.starts_with("23") => Self::Constraint {
                    constraint: said.constraint().unwrap_or_default().to_owned(),
                    source: error,
                },
                _ => Self::Query(error),
            },
            _ => Self::Query(error),
        }
    }
}
