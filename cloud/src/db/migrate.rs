//! Bringing the schema up to date, and checking that it is.
//!
//! Migrations run as the owner role and only by `unifyit-cloud migrate`; the
//! service merely checks. A login role that could look past row security makes
//! the service refuse to start: isolation would be a matter of luck (G8).

use super::{APP_ROLE, DbError};
use percent_encoding::percent_decode_str;
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, Row,
    migrate::{MigrateError as Failed, Migrator},
    postgres::{PgConnectOptions, PgRow},
};
use thiserror::Error;
use url::Url;

/// How often a migration is tried that got into a deadlock.
const ATTEMPTS: u32 = 5;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// A digest of all migrations: equal for two builds with the same schema.
#[cfg(test)]
pub(crate) fn schema_digest() -> String {
    let mut hasher = blake3::Hasher::new();
    for migration in MIGRATIONS.iter() {
        hasher.update(&migration.version.to_be_bytes()).update(&migration.checksum);
    }
    hasher.finalize().to_hex().to_string()
}

/// The schema or the roles are not as they must be.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// A migration failed; the database is as it was before it.
    #[error("a migration failed and was rolled back: {0}")]
    Migration(#[from] Failed),
    /// Whoever uses the database got in a migration's way, several times.
    #[error(
        "a migration waited for somebody who waited for it ({0}) and was rolled back; \
         stop every node of the service and run `unifyit-cloud migrate` again"
    )]
    InTheWay(String),
    /// The database cannot be reached or a statement failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The schema is older than this build.
    #[error("the database lacks the migrations {0:?}; run `unifyit-cloud migrate`")]
    Missing(Vec<i64>),
    /// The login role can see past row security.
    #[error(
        "the database role {0} is a superuser, has BYPASSRLS or owns the tables, so tenants would not be isolated; \
         point database_url at a plain login role (`unifyit-cloud migrate` makes the one that database_url names)"
    )]
    RoleTooStrong(String),
    /// The login role may not act as the application role.
    #[error(
        "the database role {0} may not act as {APP_ROLE}; run `GRANT {APP_ROLE} TO {0}` as the owner"
    )]
    RoleTooWeak(String),
    /// A URL is none.
    #[error("{0} is not a database URL (postgres://user:password@host:port/database): {1}")]
    Url(&'static str, String),
    /// A name from a URL that would need quoting beyond what is accepted.
    #[error("the role name {0:?} in database_url is not acceptable: letters, digits, _ and - only")]
    RoleName(String),
}

impl From<sqlx::Error> for MigrateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Applies all migrations as the owner, and makes the login role that
/// `app_url` names when it does not exist.
///
/// # Errors
/// [`MigrateError`].
pub async fn run(owner_url: &str, app_url: &str) -> Result<(), MigrateError> {
    let owner: PgConnectOptions = owner_url
        .parse()
        .map_err(|e: sqlx::Error| MigrateError::Url("migrate_url", e.to_string()))?;
    let mut connection = PgConnection::connect_with(&owner).await?;
    apply(&mut connection).await?;
    no_temporary_tables(&mut connection).await?;
    login_role(&mut connection, owner.get_username(), app_url).await?;
    connection.close().await?;
    Ok(())
}

/// Applies what is missing. A migration may be part of a deadlock with a service that
/// runs, and is then what the database ends: it is tried again, after that service.
async fn apply(connection: &mut PgConnection) -> Result<(), MigrateError> {
    let mut left = ATTEMPTS;
    loop {
        match MIGRATIONS.run_direct(None, connection, false).await {
            Err(Failed::ExecuteMigration(error, version)) if is_deadlock(&error) => {
                left -= 1;
                if left == 0 {
                    return Err(MigrateError::InTheWay(format!("migration {version}: {error}")));
                }
                tracing::warn!(version, %error, "A migration got into a deadlock and is tried again.");
            }
            done => return Ok(done?),
        }
    }
}

fn is_deadlock(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "40P01")
}

/// Takes the right to temporary tables from everybody. Anew each time: rights on a
/// database are no part of a dump of it.
async fn no_temporary_tables(connection: &mut PgConnection) -> Result<(), MigrateError> {
    let statement: String = sqlx::query_scalar(
        "SELECT format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database())",
    )
    .fetch_one(&mut *connection)
    .await?;
    run_text(connection, statement).await
}

async fn login_role(
    connection: &mut PgConnection,
    owner: &str,
    app_url: &str,
) -> Result<(), MigrateError> {
    let not_a_url = |e: String| MigrateError::Url("database_url", e);
    let app: PgConnectOptions =
        app_url.parse().map_err(|e: sqlx::Error| not_a_url(e.to_string()))?;
    let name = app.get_username();
    if name == owner {
        return Err(MigrateError::RoleTooStrong(name.to_owned()));
    }
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        return Err(MigrateError::RoleName(name.to_owned()));
    }
    let can_login: Option<bool> =
        sqlx::query_scalar("SELECT rolcanlogin FROM pg_roles WHERE rolname = $1")
            .bind(name)
            .fetch_optional(&mut *connection)
            .await?;
    let password = password_of(app_url).map(|p| format!("PASSWORD '{}'", p.replace('\'', "''")));
    let password = password.unwrap_or_default();
    match can_login {
        None => {
            run_text(connection, format!(
                "CREATE ROLE \"{name}\" LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE {password}"
            )).await?;
            run_text(connection, format!("GRANT {APP_ROLE} TO \"{name}\"")).await?;
        }
        Some(false) if name == APP_ROLE => {
            run_text(connection, format!("ALTER ROLE \"{name}\" LOGIN {password}")).await?;
        }
        Some(_) if name != APP_ROLE => {
            run_text(connection, format!("GRANT {APP_ROLE} TO \"{name}\"")).await?;
        }
        Some(_) => {}
    }
    Ok(())
}

async fn run_text(connection: &mut PgConnection, text: String) -> Result<(), MigrateError> {
    sqlx::raw_sql(AssertSqlSafe(text)).execute(connection).await?;
    Ok(())
}

/// The password in a database URL; the options type does not give it back.
fn password_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let asked = url.query_pairs().find(|(name, _)| name == "password");
    let password = || Some(percent_decode_str(url.password()?).decode_utf8_lossy().into_owned());
    asked.map(|(_, password)| password.into_owned()).or_else(password)
}

/// Versions that this build needs and the database lacks.
///
/// # Errors
/// [`MigrateError::Db`] when the database cannot be asked.
pub async fn missing(connection: &mut PgConnection) -> Result<Vec<i64>, MigrateError> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    let applied: Vec<i64> = if exists {
        sqlx::query("SELECT version FROM _sqlx_migrations WHERE success")
            .try_map(|row: PgRow| row.try_get(0))
            .fetch_all(&mut *connection)
            .await?
    } else {
        Vec::new()
    };
    Ok(MIGRATIONS.iter().map(|m| m.version).filter(|v| !applied.contains(v)).collect())
}

/// Checks that the login role is bound by row security.
///
/// # Errors
/// [`MigrateError::RoleTooStrong`] or [`MigrateError::RoleTooWeak`].
pub async fn check_role(connection: &mut PgConnection) -> Result<(), MigrateError> {
    let (name, strong, member, exists): (String, bool, bool, bool) = sqlx::query_as(
        "SELECT session_user::text, r.rolsuper OR r.rolbypassrls OR EXISTS ( \
             SELECT FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace \
             AND c.relkind IN ('r', 'p') AND pg_has_role(session_user, c.relowner, 'MEMBER')), \
         coalesce((SELECT pg_has_role(session_user, a.oid, 'MEMBER') FROM pg_roles a WHERE a.rolname = $1), false), \
         EXISTS (SELECT FROM pg_roles WHERE rolname = $1) \
         FROM pg_roles r WHERE r.rolname = session_user",
    )
    .bind(APP_ROLE)
    .fetch_one(&mut *connection)
    .await?;
    if strong {
        return Err(MigrateError::RoleTooStrong(name));
    }
    if exists && !member {
        return Err(MigrateError::RoleTooWeak(name));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
