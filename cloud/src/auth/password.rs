//! Passwords: argon2id on blocking threads, a bounded number at a time.
//!
//! Each hash takes some 20 MB and tens of milliseconds by design; without the
//! bound a burst of sign-ins would take the machine. The memory is kept for the
//! next one: allocators keep blocks of that size for each thread that ever
//! freed one, which came to hundreds of megabytes.

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use std::sync::{Arc, Mutex, PoisonError};
use subtle::ConstantTimeEq;
use thiserror::Error;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;
use zxcvbn::{Score, zxcvbn};

/// Shortest password accepted.
pub(super) const MIN_LENGTH: usize = 10;
/// Longest password accepted: hashing reads all of it.
pub(super) const MAX_LENGTH: usize = 1024;
/// Hashes computed at a time; each keeps its memory.
const AT_ONCE: usize = 2;
/// Memory of a hash in KiB, passes and lanes (OWASP's recommendation).
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// Most memory in KiB that a stored hash may ask for.
const MAX_MEMORY: u32 = 64 * 1024;
/// Characters of a password that are neither the product nor its owner's name.
const LEFT: usize = 6;
/// Length of a hash.
const OUTPUT: usize = 32;

/// Why a password was not accepted or could not be checked.
#[derive(Debug, Error)]
pub enum PasswordError {
    /// Too short or too long.
    #[error("The password must have {MIN_LENGTH} to {MAX_LENGTH} characters.")]
    Length,
    /// Among the first that somebody would try.
    #[error("{0}")]
    Weak(String),
    /// No memory, no randomness, or the process is ending.
    #[error("the password could not be hashed: {0}")]
    Failed(String),
}

impl PasswordError {
    fn failed(why: impl std::fmt::Display) -> Self {
        Self::Failed(why.to_string())
    }
}

/// Hashes and checks passwords. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Passwords {
    slots: Arc<Semaphore>,
    memory: Arc<Mutex<Vec<Memory>>>,
    /// Checked when there is no such user, so that both take as long.
    decoy: Arc<str>,
}

/// Working memory of one hash at a time.
type Memory = Vec<Block>;

impl Passwords {
    /// Prepares the decoy.
    ///
    /// # Errors
    /// [`PasswordError::Failed`].
    pub fn new() -> Result<Self, PasswordError> {
        let mut memory = Memory::new();
        let decoy = hash(b"nobody's password", &mut memory)?;
        Ok(Self {
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            memory: Arc::new(Mutex::new(vec![memory])),
            decoy: decoy.into(),
        })
    }

    /// Hashes a password that is to be kept. `about` is what others know of its
    /// owner, which makes no good password.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn hash(
        &self,
        password: Zeroizing<String>,
        about: &[&str],
    ) -> Result<String, PasswordError> {
        if !(MIN_LENGTH..=MAX_LENGTH).contains(&password.chars().count())
            || password.len() > 4 * MAX_LENGTH
        {
            return Err(PasswordError::Length);
        }
        let about: Vec<String> = about.iter().map(|&word| word.to_owned()).collect();
        self.run(move |memory| {
            strong(&password, &about)?;
            hash(password.as_bytes(), memory)
        })
        .await
    }

    /// Hashes something short that staff type, like a PIN; its length is the
    /// caller's rule.
    ///
    /// # Errors
    /// [`PasswordError::Failed`].
    pub async fn hash_short(&self, secret: Zeroizing<String>) -> Result<String, PasswordError> {
        self.run(move |memory| hash(secret.as_bytes(), memory)).await
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
        self.run(move |memory| {
            let exists = known.is_some();
            let known = known.unwrap_or_else(|| decoy.to_string());
            Ok(exists & matches(password.as_bytes(), &known, memory)?)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let slot = self.slots.clone().acquire_owned().await.map_err(PasswordError::failed)?;
        let kept = self.memory.clone();
        tokio::task::spawn_blocking(move || {
            let pool = || kept.lock().unwrap_or_else(PoisonError::into_inner);
            let mut memory = pool().pop().unwrap_or_default();
            let result = work(&mut memory);
            // As many as there are slots, because each slot gives back one.
            pool().push(memory);
            drop(slot);
            result
        })
        .await
        .map_err(PasswordError::failed)?
    }
}

/// Refuses what a list of common passwords, or somebody who knows the owner,
/// would come to soon.
fn strong(password: &str, about: &[String]) -> Result<(), PasswordError> {
    let mut known: Vec<&str> = vec!["unifyit", "rmm"];
    for word in about {
        known.push(word);
        known.extend(word.split(['@', '.', '-', '_', '+', ' ']).filter(|part| part.len() > 2));
    }
    let mut rest = password.to_lowercase();
    for word in known.iter().filter(|word| word.len() > 2) {
        rest = rest.replace(&word.to_lowercase(), "");
    }
    let judged = zxcvbn(password, &known);
    if judged.score() >= Score::Three && rest.chars().count() >= LEFT {
        return Ok(());
    }
    let why = judged.feedback().and_then(|f| f.warning()).map(|w| format!(" {w}"));
    Err(PasswordError::Weak(format!(
        "The password is easy to guess.{} Use some words that do not belong together, or a password manager.",
        why.unwrap_or_default()
    )))
}

fn hash(password: &[u8], memory: &mut Memory) -> Result<String, PasswordError> {
    let (cost, passes, lanes) = COST;
    let params = Params::new(cost, passes, lanes, None).map_err(PasswordError::failed)?;
    let mut salt = [0u8; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(PasswordError::failed)?;
    let mut output = [0u8; OUTPUT];
    let encoded = ParamsString::try_from(&params).map_err(PasswordError::failed)?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    derive(&argon, password, &salt, &mut output, memory)?;
    let text = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: encoded,
        salt: Some(Salt::new(&salt).map_err(PasswordError::failed)?),
        hash: Some(Output::new(&output).map_err(PasswordError::failed)?),
    };
    Ok(text.to_string())
}

fn matches(password: &[u8], known: &str, memory: &mut Memory) -> Result<bool, PasswordError> {
    let parsed = PasswordHash::new(known).map_err(PasswordError::failed)?;
    let (Some(salt), Some(hash)) = (parsed.salt.as_ref(), parsed.hash.as_ref()) else {
        return Err(PasswordError::failed("a stored hash is not whole"));
    };
    let algorithm =
        Algorithm::try_from(parsed.algorithm.as_str()).map_err(PasswordError::failed)?;
    let version =
        parsed.version.map(Version::try_from).transpose().map_err(PasswordError::failed)?;
    let params = Params::try_from(&parsed).map_err(PasswordError::failed)?;
    if params.m_cost() > MAX_MEMORY {
        return Err(PasswordError::failed("a stored hash asks for too much memory"));
    }
    let mut output = [0u8; Output::MAX_LENGTH];
    let output = output
        .get_mut(..hash.len())
        .ok_or_else(|| PasswordError::failed("a stored hash is too long"))?;
    let argon = Argon2::new(algorithm, version.unwrap_or_default(), params);
    derive(&argon, password, salt.as_ref(), output, memory)?;
    Ok(output.ct_eq(hash.as_bytes()).into())
}

fn derive(
    argon: &Argon2<'_>,
    password: &[u8],
    salt: &[u8],
    output: &mut [u8],
    memory: &mut Memory,
) -> Result<(), PasswordError> {
    let blocks = argon.params().block_count();
    if memory.len() < blocks {
        memory.resize(blocks, Block::default());
    }
    argon
        .hash_password_into_with_memory(password, salt, output, &mut memory[..blocks])
        .map_err(PasswordError::failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn a_password_is_known_again_and_its_memory_is_used_again() {
        let passwords = Passwords::new().unwrap();
        let given = |text: &str| Zeroizing::new(text.to_owned());
        let first = passwords.memory.lock().unwrap()[0].as_ptr();
        let known = passwords.hash(given("correct horse battery"), &[]).await.unwrap();
        let tries = (0..12).map(|n| {
            let right = n % 3 == 0;
            let said = if right { "correct horse battery" } else { "wrong horse battery" };
            let (known, passwords) = (Some(known.clone()), passwords.clone());
            async move { assert_eq!(passwords.verify(given(said), known).await.unwrap(), right) }
        });
        futures::future::join_all(tries).await;
        assert!(!passwords.verify(given("nobody's password"), None).await.unwrap());
        let kept = passwords.memory.lock().unwrap();
        assert!(kept.len() <= AT_ONCE, "{} memories are kept", kept.len());
        assert!(kept.iter().any(|memory| memory.as_ptr() == first), "the first is used again");
    }

    #[test]
    fn a_hash_of_the_library_itself_is_understood() {
        let text =
            "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$bCT+cWbVt5JDCtpcVZEAhpLDDDNbb2MV8vcQVqkXlnU";
        let mut memory = Memory::new();
        assert!(!matches(b"another", text, &mut memory).unwrap());
        assert!(matches(b"x", "nonsense", &mut memory).is_err());
    }

    #[test]
    fn what_is_tried_first_is_refused_with_a_reason() {
        let about = ["ann.smith@acme.example".to_owned(), "Ann Smith".to_owned()];
        for weak in ["password12", "1234567890", "qwertyuiop", "ann.smith2026", "unifyitrmm1"] {
            let said = strong(weak, &about).map_err(|e| e.to_string());
            assert!(said.as_ref().is_err_and(|e| e.contains("easy to guess")), "{weak}: {said:?}");
        }
        for fine in ["correct horse battery", "another long password", "x7#Kq!vB2m-pZ"] {
            strong(fine, &about).unwrap();
        }
    }
}
