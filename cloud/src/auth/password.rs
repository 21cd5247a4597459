//! Passwords: argon2id on blocking threads, a bounded number at a time.
//!
//! Each hash takes some 20 MB and tens of milliseconds by design; without the
//! bound a burst of sign-ins would take the machine.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Shortest password accepted.
pub(super) const MIN_LENGTH: usize = 10;
/// Longest password accepted: hashing reads all of it.
pub(super) const MAX_LENGTH: usize = 1024;
/// Hashes computed at a time.
const AT_ONCE: usize = 4;
/// Memory of a hash in KiB, passes and lanes (OWASP's recommendation).
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);

/// Why a password was not accepted or could not be checked.
#[derive(Debug, Error)]
pub enum PasswordError {
    /// Too short or too long.
    #[error("The password must have {MIN_LENGTH} to {MAX_LENGTH} characters.")]
    Length,
    /// No memory, no randomness, or the process is ending.
    #[error("the password could not be hashed: {0}")]
    Failed(String),
}

/// Hashes and checks passwords. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Passwords {
    slots: Arc<Semaphore>,
    /// Checked when there is no such user, so that both take as long.
    decoy: Arc<str>,
}

impl Passwords {
    /// Prepares the decoy.
    ///
    /// # Errors
    /// [`PasswordError::Failed`].
    pub fn new() -> Result<Self, PasswordError> {
        let decoy = hash(b"nobody's password")?;
        Ok(Self { slots: Arc::new(Semaphore::new(AT_ONCE)), decoy: decoy.into() })
    }

    /// Hashes a password that is to be kept.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn hash(&self, password: Zeroizing<String>) -> Result<String, PasswordError> {
        if !(MIN_LENGTH..=MAX_LENGTH).contains(&password.chars().count())
            || password.len() > 4 * MAX_LENGTH
        {
            return Err(PasswordError::Length);
        }
        self.run(move || hash(password.as_bytes())).await
    }

    /// Hashes something short that staff type, like a PIN; its length is the
    /// caller's rule.
    ///
    /// # Errors
    /// [`PasswordError::Failed`].
    pub async fn hash_short(&self, secret: Zeroizing<String>) -> Result<String, PasswordError> {
        self.run(move || hash(secret.as_bytes())).await
    }

    /// Whether the password is the one behind `known`; without one, takes as
    /// long and says no.
    ///
    /// # Errors
    /// [`PasswordError::Failed`].
    pub async fn verify(
        &self,
        password: Zeroizing<String>,
        known: Option<String>,
    ) -> Result<bool, PasswordError> {
        if password.len() > 4 * MAX_LENGTH {
            return Ok(false);
        }
        let decoy = self.decoy.clone();
        self.run(move || {
            let exists = known.is_some();
            let known = known.unwrap_or_else(|| decoy.to_string());
            let parsed =
                PasswordHash::new(&known).map_err(|e| PasswordError::Failed(e.to_string()))?;
            let matches = Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok();
            Ok(exists && matches)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let failed = |what: String| PasswordError::Failed(what);
        let slot = self.slots.clone().acquire_owned().await.map_err(|e| failed(e.to_string()))?;
        tokio::task::spawn_blocking(move || {
            let result = work();
            drop(slot);
            result
        })
        .await
        .map_err(|e| failed(e.to_string()))?
    }
}

fn hash(password: &[u8]) -> Result<String, PasswordError> {
    let failed = |e: String| PasswordError::Failed(e);
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).map_err(|e| failed(e.to_string()))?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Ok(argon.hash_password(password).map_err(|e| failed(e.to_string()))?.to_string())
}
