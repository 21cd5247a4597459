//! What the cloud may sign, and how it keeps the keys for it.
//!
//! Each organization has an Ed25519 authority. Its 32-byte seed exists in the
//! clear only while one signature is made: at rest it is sealed under the master
//! key ([`MasterKey`]) with the organization's id as associated data, so that a
//! row moved to another organization does not open. Callers hand in the sealed
//! bytes that they read from their tenant transaction, which keeps row security
//! the judge of who may use a key at all.
//!
//! Flow: [`Trust::load`] at start → [`Trust::new_authority`] when an
//! organization is made → `sign_*` for every token, command, grant and site
//! certificate.

mod file;
mod master;

pub use file::MASTER_KEY_FILE;
pub(crate) use file::create_private;
pub use master::MasterKey;

use std::{path::Path, sync::Arc};
use unifyit_protocol::{
    ProtocolError,
    command::Command,
    grant::{Grant, SiteCertificate},
    ids::OrganizationId,
    signing::{PublicKey, Signable, Signed, Signer25519},
    token::{InstallToken, TokenText},
};
use zeroize::Zeroizing;

/// Why a key could not be had or used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The master key is not 32 bytes of base64.
    #[error(
        "the master key is not 32 bytes in base64; make one with `openssl rand -base64 32` and set UNIFYIT_MASTER_KEY"
    )]
    MasterKeyFormat,
    /// The master key's file may be read by others.
    #[error("{0} may be read by other users; run `chmod 600 {0}` and start again")]
    Exposed(String),
    /// The master key's file cannot be read or made.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no master key, and the database was made with one.
    #[error(
        "this database holds organizations, and the master key that opens them is not at {0}; put that \
         file back from the backup of the state folder (owned by the service's user, mode 600), or set \
         UNIFYIT_MASTER_KEY to what it held. None was made: another key opens no organization"
    )]
    MasterKeyGone(String),
    /// There is no identity, and relays pinned one.
    #[error(
        "relays are enrolled with this cloud, and the identity that they know it by is not at {0}; put that \
         file back from the backup of the state folder (owned by the service's user, mode 600). If it is lost for \
         good, make the empty file {0}.lost: the next start makes another, and every relay must be enrolled anew"
    )]
    IdentityGone(String),
    /// The system gives no randomness, or the cipher failed.
    #[error("the system gives no randomness")]
    Randomness,
    /// The sealed key does not open.
    #[error(
        "a sealed key does not open: it was sealed under another master key or was changed; start with the master key that this installation was made with"
    )]
    Sealed,
    /// The value cannot be signed.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

/// A fresh authority: what to publish and what to store.
#[derive(Debug, Clone)]
pub struct NewAuthority {
    /// The public key, pinned by relays and agents.
    pub public: PublicKey,
    /// The seed, sealed for its organization.
    pub sealed: Vec<u8>,
}

/// Signs with organizations' authorities. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Trust {
    master: Arc<MasterKey>,
}

impl Trust {
    /// Takes the master key from `text` (the value of `UNIFYIT_MASTER_KEY`), or
    /// else from `file`, which is made at the first start: where `in_use` says that
    /// organizations exist already, a key made here would open none of them.
    ///
    /// # Errors
    /// [`TrustError`] with a sentence that says what to mend.
    pub fn load(text: Option<&str>, file: &Path, in_use: bool) -> Result<Self, TrustError> {
        let master = match text.map(str::trim).filter(|t| !t.is_empty()) {
            Some(text) => MasterKey::from_text(text)?,
            None => file::load_or_create(file, in_use)?,
        };
        Ok(Self::new(master))
    }

    /// Signs under a given master key.
    #[must_use]
    pub fn new(master: MasterKey) -> Self {
        Self { master: Arc::new(master) }
    }

    /// The key under which other secrets of the cloud are sealed.
    #[must_use]
    pub fn master(&self) -> &MasterKey {
        &self.master
    }

    /// Whether a stored authority opens under this master key.
    #[must_use]
    pub fn opens(&self, organization: OrganizationId, sealed: &[u8]) -> bool {
        self.master.open(AUTHORITY, organization.0.as_bytes(), sealed).is_ok()
    }

    /// Makes an organization's authority.
    ///
    /// # Errors
    /// [`TrustError::Randomness`].
    pub fn new_authority(&self, organization: OrganizationId) -> Result<NewAuthority, TrustError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        aws_lc_rs::rand::fill(seed.as_mut_slice()).map_err(|_| TrustError::Randomness)?;
        let public = Signer25519::from_seed(&seed).public();
        let sealed = self.master.seal(AUTHORITY, organization.0.as_bytes(), seed.as_slice())?;
        Ok(NewAuthority { public, sealed })
    }

    /// Signs a command for the organization that it names.
    ///
    /// # Errors
    /// [`TrustError::Sealed`] when `sealed` is not that organization's authority.
    pub fn sign_command(
        &self,
        sealed: &[u8],
        command: &Command,
    ) -> Result<Signed<Command>, TrustError> {
        self.sign(sealed, command.organization, command)
    }

    /// Signs an install token and gives its text form.
    ///
    /// # Errors
    /// [`TrustError::Sealed`] when `sealed` is not that organization's authority.
    pub fn sign_token(&self, sealed: &[u8], token: &InstallToken) -> Result<TokenText, TrustError> {
        self.sign(sealed, token.organization, token).map(TokenText::new)
    }

    /// Signs a relay's grant.
    ///
    /// # Errors
    /// [`TrustError::Sealed`] when `sealed` is not that organization's authority.
    pub fn sign_grant(&self, sealed: &[u8], grant: &Grant) -> Result<Signed<Grant>, TrustError> {
        self.sign(sealed, grant.organization, grant)
    }

    /// Gives the authority's word for a site's certificate authority.
    ///
    /// # Errors
    /// [`TrustError::Sealed`] when `sealed` is not that organization's authority.
    pub fn certify_site(
        &self,
        sealed: &[u8],
        certificate: &SiteCertificate,
    ) -> Result<Signed<SiteCertificate>, TrustError> {
        self.sign(sealed, certificate.organization, certificate)
    }

    fn sign<T: Signable>(
        &self,
        sealed: &[u8],
        organization: OrganizationId,
        value: &T,
    ) -> Result<Signed<T>, TrustError> {
        let opened = self.master.open(AUTHORITY, organization.0.as_bytes(), sealed)?;
        let seed: &[u8; 32] = opened.as_slice().try_into().map_err(|_| TrustError::Sealed)?;
        Ok(Signer25519::from_seed(seed).sign(value, None)?)
    }
}

/// What an authority's seal is for; see [`MasterKey::seal`].
const AUTHORITY: &str = "unifyit authority v1";

#[cfg(test)]
mod tests;
