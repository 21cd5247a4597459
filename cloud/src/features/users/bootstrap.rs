//! The first partner and administrator, made once.

use crate::{
    audit::{self, AuditActor, AuditTarget},
    auth::{PasswordError, Passwords},
    db::{Db, DbError, Scope, TenantTx},
    features::tenants,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use thiserror::Error;
use unifyit_protocol::ids::{PartnerId, UserId};
use uuid::Uuid;
use zeroize::Zeroizing;

/// Why the first administrator was not made.
#[derive(Debug, Error)]
pub enum BootstrapError {
    /// Somebody can sign in already.
    #[error("somebody can sign in already; ask them to invite you. Nothing was changed")]
    Done,
    /// The address is none.
    #[error("{0:?} is not an e-mail address")]
    Email(String),
    /// The password is not acceptable.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

impl From<sqlx::Error> for BootstrapError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

/// A password nobody can guess.
///
/// # Errors
/// [`BootstrapError::Randomness`].
pub fn random_password() -> Result<Zeroizing<String>, BootstrapError> {
    let mut bytes = Zeroizing::new([0u8; 18]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| BootstrapError::Randomness)?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
}

/// Makes the first partner and a platform administrator. Two runs at the same
/// time make one.
///
/// # Errors
/// [`BootstrapError`]; nothing was changed then.
pub async fn run(
    db: &Db,
    email: &str,
    password: Zeroizing<String>,
    partner_name: &str,
) -> Result<(), BootstrapError> {
    let email = email.trim();
    let valid =
        email.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    if !valid || email.len() > 254 || email.chars().any(char::is_whitespace) {
        return Err(BootstrapError::Email(email.to_owned()));
    }
    refuse_second(&mut db.tenant(&Scope::Platform).await?).await?;
    let hash = Passwords::new()?.hash(password, &[email]).await?;
    let mut tx = db.tenant(&Scope::Platform).await?;
    sqlx::query("SELECT pg_advisory_xact_lock(7161, 1)").execute(&mut *tx).await?;
    refuse_second(&mut tx).await?;
    let (partner, user) = (PartnerId::generate(), UserId::generate());
    tenants::store::create_partner(&mut tx, partner, partner_name).await?;
    sqlx::query("INSERT INTO users (id, email, name, password_hash) VALUES ($1, $2, $3, $4)")
        .bind(user.0)
        .bind(email)
        .bind(email.split('@').next().unwrap_or_default())
        .bind(hash)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "INSERT INTO memberships (id, user_id, role, scope) VALUES ($1, $2, 'admin', 'platform')",
    )
    .bind(Uuid::now_v7())
    .bind(user.0)
    .execute(&mut *tx)
    .await?;
    let target = AuditTarget::at(Scope::Platform.place(), format!("user {email}"));
    audit::record(&mut tx, &AuditActor::system(), "user.bootstrap", &target, "First administrator")
        .await?;
    tx.commit().await?;
    Ok(())
}

async fn refuse_second(tx: &mut TenantTx) -> Result<(), BootstrapError> {
    let done: bool = sqlx::query_scalar("SELECT any_user()").fetch_one(&mut **tx).await?;
    if done { Err(BootstrapError::Done) } else { Ok(()) }
}
