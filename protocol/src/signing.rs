//! Ed25519 signatures over exact bytes, each bound to what it is for.
//!
//! A [`Signed`] value is the bytes that were signed and the signatures over
//! them; whoever verifies decodes those very bytes. The purpose is mixed into
//! what is signed, so that a signature over a grant can never pass for one over
//! a command (domain separation). Two-person approval adds signatures to the
//! list without another format.

use crate::{ProtocolError, codec, grant::Grant};
use ed25519_dalek::{Signature as DalekSignature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fmt;

/// Most signatures over one value.
pub const MAX_SIGNATURES: usize = 8;

/// What a signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A [`crate::command::Command`].
    Command,
    /// A [`crate::grant::Grant`].
    Grant,
    /// A [`crate::token::InstallToken`].
    Token,
    /// A [`crate::grant::SiteCertificate`].
    SiteCertificate,
}

impl Purpose {
    fn context(self) -> &'static [u8] {
        match self {
            Self::Command => b"unifyit command v1\0",
            Self::Grant => b"unifyit grant v1\0",
            Self::Token => b"unifyit install token v1\0",
            Self::SiteCertificate => b"unifyit site certificate v1\0",
        }
    }
}

/// An Ed25519 public key, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PublicKey(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// One signature and the key that made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureBy {
    /// The signer.
    pub key: PublicKey,
    /// 64 bytes, RFC 8032.
    #[serde(with = "serde_bytes")]
    pub signature: Vec<u8>,
    /// How the signer got its right, when it is not the authority itself:
    /// a grant, signed by the authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Box<Signed<Grant>>>,
}

/// Bytes with the signatures over them. `T` is what the bytes decode to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Signed<T> {
    /// The very bytes that were signed: CBOR of `T`.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
    /// At least one, at most [`MAX_SIGNATURES`].
    #[serde(deserialize_with = "crate::codec::at_most::<MAX_SIGNATURES, _, _>")]
    pub signatures: Vec<SignatureBy>,
    #[serde(skip)]
    kind: std::marker::PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed")
            .field("bytes", &self.payload.len())
            .field("signatures", &self.signatures.len())
            .finish()
    }
}

/// A type that is signed for one purpose.
pub trait Signable: Serialize + DeserializeOwned {
    /// What a signature over this type is for.
    const PURPOSE: Purpose;
}

/// A private key of the organization's authority, a relay or an operator.
/// Wiped from memory when dropped.
pub struct Signer25519(SigningKey);

impl fmt::Debug for Signer25519 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer25519({:?})", self.public())
    }
}

impl Signer25519 {
    /// The key that grows from a 32-byte secret seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a value for the purpose of its type.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`] when it cannot be encoded.
    pub fn sign<T: Signable>(
        &self,
        value: &T,
        grant: Option<Signed<Grant>>,
    ) -> Result<Signed<T>, ProtocolError> {
        let payload = codec::encode(value)?;
        let signature = self.0.sign(&message(T::PURPOSE, &payload)).to_bytes().to_vec();
        Ok(Signed {
            payload,
            signatures: vec![SignatureBy {
                key: self.public(),
                signature,
                grant: grant.map(Box::new),
            }],
            kind: std::marker::PhantomData,
        })
    }
}

impl<T: Signable> Signed<T> {
    /// Checks that `key` signed these bytes for this purpose, then decodes them.
    ///
    /// # Errors
    /// [`ProtocolError::Signature`] when no signature by `key` holds,
    /// [`ProtocolError::Malformed`] when the signed bytes are not a `T`.
    pub fn verify(&self, key: &PublicKey) -> Result<T, ProtocolError> {
        let by = self
            .signatures
            .iter()
            .find(|s| s.key == *key)
            .ok_or(ProtocolError::Signature("it is not signed by the expected key"))?;
        self.check(by)?;
        codec::decode(&self.payload)
    }

    /// Checks one signature of the list against its own key. Whether that key
    /// has any right is the caller's question (see [`crate::grant::authorize`]).
    ///
    /// # Errors
    /// [`ProtocolError::Signature`] when it does not hold.
    pub fn check(&self, by: &SignatureBy) -> Result<(), ProtocolError> {
        let key = VerifyingKey::from_bytes(&by.key.0)
            .map_err(|_| ProtocolError::Signature("the key is not an Ed25519 key"))?;
        let signature = DalekSignature::from_slice(&by.signature)
            .map_err(|_| ProtocolError::Signature("the signature is not 64 bytes"))?;
        key.verify_strict(&message(T::PURPOSE, &self.payload), &signature)
            .map_err(|_| ProtocolError::Signature("the bytes or the signature were changed"))
    }

    /// Decodes the payload without checking any signature: for display and
    /// routing by couriers, which can delay but not forge (G7).
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`] when the bytes are not a `T`.
    pub fn peek(&self) -> Result<T, ProtocolError> {
        codec::decode(&self.payload)
    }
}

fn message(purpose: Purpose, payload: &[u8]) -> Vec<u8> {
    let context = purpose.context();
    let mut bytes = Vec::with_capacity(context.len() + payload.len());
    bytes.extend_from_slice(context);
    bytes.extend_from_slice(payload);
    bytes
}
