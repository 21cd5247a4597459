//! Who this relay is: its libp2p key (the very key that grants name), its
//! site's certificate authority, and its enrolment.
//!
//! Everything stands in the state folder, sealed under a key that is bound to
//! the machine ([`folder`]). [`Keys`] exist before enrolment, because the cloud
//! certifies them; [`Identity`] is keys and enrolment together, built once at
//! start.

pub mod ca;
pub mod folder;
pub mod names;
pub mod server;

use crate::enroll::RelayRecord;
use libp2p::{PeerId, identity::Keypair};
use std::fmt;
use time::OffsetDateTime;
use unifyit_protocol::{codec, signing::Signer25519};
use zeroize::Zeroizing;

use ca::SiteCa;
use folder::{FolderError, StateFolder};

const SEED_FILE: &str = "relay.key";
const RECORD_FILE: &str = "enrolment";

/// Why the identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The folder or a file of it.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A file opened and held something else.
    #[error(
        "{0} in the state folder is damaged. Restore the folder from a backup, or delete it and enrol again."
    )]
    Damaged(&'static str),
    /// The library refused.
    #[error("the certificate authority cannot be used: {0}")]
    Certificate(String),
    /// No enrolment yet.
    #[error(
        "this relay is not enrolled. Run: unifyit-relay enroll --token <token from the console>"
    )]
    NotEnrolled,
}

/// The relay's own keys.
pub struct Keys {
    seed: Zeroizing<[u8; 32]>,
    keypair: Keypair,
    /// The site's certificate authority.
    pub ca: SiteCa,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("peer", &self.peer_id()).finish_non_exhaustive()
    }
}

impl Keys {
    /// Loads the keys, making those that do not exist yet.
    ///
    /// # Errors
    /// [`IdentityError`] when the folder cannot be used or a file is damaged.
    pub fn load_or_make(folder: &StateFolder, now: OffsetDateTime) -> Result<Self, IdentityError> {
        let seed = match read_seed(folder)? {
            Some(seed) => seed,
            None => {
                let seed = Zeroizing::new(rand::random::<[u8; 32]>());
                folder.write_sealed(SEED_FILE, seed.as_slice())?;
                seed
            }
        };
        Self::of(seed, SiteCa::load_or_make(folder, now)?)
    }

    /// Loads the keys that are there, and makes none.
    ///
    /// # Errors
    /// [`IdentityError`] when one is missing or damaged.
    pub fn load(folder: &StateFolder) -> Result<Self, IdentityError> {
        let seed = read_seed(folder)?.ok_or(IdentityError::Damaged(SEED_FILE))?;
        Self::of(seed, SiteCa::load(folder)?)
    }

    fn of(seed: Zeroizing<[u8; 32]>, ca: SiteCa) -> Result<Self, IdentityError> {
        let keypair =
            Keypair::ed25519_from_bytes(*seed).map_err(|_| IdentityError::Damaged(SEED_FILE))?;
        Ok(Self { seed, keypair, ca })
    }

    /// The key as libp2p takes it.
    #[must_use]
    pub fn keypair(&self) -> &Keypair {
        &self.keypair
    }

    /// The name that the cloud knows this relay by.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.keypair.public().to_peer_id()
    }

    /// The same key, for signing local work under the grant.
    #[must_use]
    pub fn signer(&self) -> Signer25519 {
        Signer25519::from_seed(&self.seed)
    }
}

/// All that makes an enrolled relay one.
#[derive(Debug)]
pub struct Identity {
    /// Its keys.
    pub keys: Keys,
    /// What the cloud gave at enrolment.
    pub record: RelayRecord,
}

impl Identity {
    /// Loads keys and enrolment.
    ///
    /// # Errors
    /// [`IdentityError::NotEnrolled`] before enrolment; else as [`Keys::load`].
    pub fn load(folder: &StateFolder) -> Result<Self, IdentityError> {
        let record = read_record(folder)?.ok_or(IdentityError::NotEnrolled)?;
        Ok(Self { keys: Keys::load(folder)?, record })
    }

    /// SHA-256 of the site CA's certificate in DER: what agents pin.
    #[must_use]
    pub fn ca_fingerprint(&self) -> [u8; 32] {
        self.keys.ca.fingerprint()
    }
}

fn read_seed(folder: &StateFolder) -> Result<Option<Zeroizing<[u8; 32]>>, IdentityError> {
    let Some(bytes) = folder.read_sealed(SEED_FILE)? else { return Ok(None) };
    let seed = <[u8; 32]>::try_from(bytes.as_slice());
    seed.map(|seed| Some(Zeroizing::new(seed))).map_err(|_| IdentityError::Damaged(SEED_FILE))
}

/// Reads the enrolment, if there is one.
///
/// # Errors
/// [`IdentityError`] when it is there and unusable.
pub fn read_record(folder: &StateFolder) -> Result<Option<RelayRecord>, IdentityError> {
    let Some(bytes) = folder.read_sealed(RECORD_FILE)? else { return Ok(None) };
    codec::decode(&bytes).map(Some).map_err(|_| IdentityError::Damaged(RECORD_FILE))
}

/// Keeps an enrolment, replacing the one before.
///
/// # Errors
/// [`IdentityError`] when it cannot be written.
pub fn write_record(folder: &StateFolder, record: &RelayRecord) -> Result<(), IdentityError> {
    let bytes = codec::encode(record).map_err(|_| IdentityError::Damaged(RECORD_FILE))?;
    Ok(folder.write_sealed(RECORD_FILE, &bytes)?)
}

#[cfg(test)]
mod tests;
