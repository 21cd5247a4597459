//! The master key: one AES-256-GCM key under which the cloud's secrets rest.
//!
//! Sealed layout: version (1) ‖ nonce (12) ‖ ciphertext and tag. What a secret
//! is for and whose it is are associated data: a sealed value opens only in the
//! place that it was sealed for. Nonces are random; at 2³² seals a key the risk
//! of a repeat is still below 2⁻³², far beyond any number of organizations.

use super::TrustError;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::fmt;
use zeroize::Zeroizing;

/// Layout of what this build seals.
const VERSION: u8 = 1;

/// The key under which secrets rest. Never shown, never logged.
pub struct MasterKey(LessSafeKey);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl MasterKey {
    /// The key made of these bytes.
    ///
    /// # Errors
    /// [`TrustError::MasterKeyFormat`] when the cipher refuses the key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, TrustError> {
        UnboundKey::new(&AES_256_GCM, bytes)
            .map(|key| Self(LessSafeKey::new(key)))
            .map_err(|_| TrustError::MasterKeyFormat)
    }

    /// Reads 32 bytes in base64.
    ///
    /// # Errors
    /// [`TrustError::MasterKeyFormat`].
    pub fn from_text(text: &str) -> Result<Self, TrustError> {
        let bytes =
            Zeroizing::new(STANDARD.decode(text.trim()).map_err(|_| TrustError::MasterKeyFormat)?);
        let bytes: &[u8; 32] =
            bytes.as_slice().try_into().map_err(|_| TrustError::MasterKeyFormat)?;
        Self::from_bytes(bytes)
    }

    /// Makes a key and its text form.
    ///
    /// # Errors
    /// [`TrustError::Randomness`].
    pub fn generate() -> Result<(Self, Zeroizing<String>), TrustError> {
        let mut bytes = Zeroizing::new([0u8; 32]);
        rand::fill(bytes.as_mut_slice()).map_err(|_| TrustError::Randomness)?;
        let text = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
        Ok((Self::from_bytes(&bytes)?, text))
    }

    /// Seals a secret. `what` names its kind, `owner` whose it is.
    ///
    /// # Errors
    /// [`TrustError::Randomness`].
    pub fn seal(&self, what: &str, owner: &[u8], secret: &[u8]) -> Result<Vec<u8>, TrustError> {
        let mut nonce = [0u8; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| TrustError::Randomness)?;
        // The tag's room is reserved first: growing the vector would leave a
        // copy of the secret behind in freed memory.
        let mut body = Vec::with_capacity(secret.len() + AES_256_GCM.tag_len());
        body.extend_from_slice(secret);
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated(what, owner)),
                &mut body,
            )
            .map_err(|_| TrustError::Randomness)?;
        Ok([[VERSION].as_slice(), &nonce, &body].concat())
    }

    /// Opens what [`Self::seal`] made for the same `what` and `owner`.
    ///
    /// # Errors
    /// [`TrustError::Sealed`].
    pub fn open(
        &self,
        what: &str,
        owner: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TrustError> {
        let rest = sealed.strip_prefix([VERSION].as_slice()).ok_or(TrustError::Sealed)?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or(TrustError::Sealed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| TrustError::Sealed)?;
        let mut bytes = Zeroizing::new(body.to_vec());
        let plain = self
            .0
            .open_in_place(nonce, Aad::from(associated(what, owner)), &mut bytes)
            .map_err(|_| TrustError::Sealed)?
            .len();
        bytes.truncate(plain);
        Ok(bytes)
    }
}

/// Kind and owner, unambiguously joined.
fn associated(what: &str, owner: &[u8]) -> Vec<u8> {
    [what.as_bytes(), &[0], owner].concat()
}
