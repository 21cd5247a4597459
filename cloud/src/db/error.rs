//! What can go wrong with a statement, sorted by what the caller does about it.

use thiserror::Error;

/// A statement or a connection failed.
#[derive(Debug, Error)]
pub enum DbError {
    /// The database cannot be reached, has no connection free or no room. It
    /// mends itself or is mended; the request may be repeated.
    #[error("the database cannot do its work ({cause:?}): {source}")]
    Unavailable {
        /// What keeps it from it.
        cause: Cause,
        /// What it said.
        #[source]
        source: sqlx::Error,
    },
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

/// What keeps the database from its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It does not answer, or has no connection free.
    Away,
    /// Its disk is full.
    DiskFull,
    /// It lacks memory or another resource.
    Exhausted,
    /// It may not write: a standby, or set to read only.
    ReadOnly,
    /// Its disk or its files are faulty.
    Faulty,
    /// It answers and refuses.
    Refused,
}

impl Cause {
    /// For whoever asks; what the database said stands in the log.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Away => "The database cannot be reached.",
            Self::DiskFull => "The database's disk is full.",
            Self::Exhausted => "The database has run out of memory or another resource.",
            Self::ReadOnly => {
                "The database accepts no writes: it is a standby or set to read only."
            }
            Self::Faulty => "The database cannot read or write its files.",
            Self::Refused => "The database refuses to work; the log says why.",
        }
    }
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
        let unavailable = |cause, source| Self::Unavailable { cause, source };
        match &error {
            Io(_) | PoolTimedOut | PoolClosed | Tls(_) | Protocol(_) | WorkerCrashed => {
                unavailable(Cause::Away, error)
            }
            Database(said) => match said.code().as_deref() {
                Some("53100") => unavailable(Cause::DiskFull, error),
                Some("25006") => unavailable(Cause::ReadOnly, error),
                Some(code) if code.starts_with("58") || code.starts_with("XX") => {
                    unavailable(Cause::Faulty, error)
                }
                Some(code) if code.starts_with("53") && code != "53300" => {
                    unavailable(Cause::Exhausted, error)
                }
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
                    unavailable(Cause::Away, error)
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
