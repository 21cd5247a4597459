//! Joining: a computer that asks for an identity and holds a token, and what a device
//! says of itself when it introduces itself.

use super::{DeviceRecord, admission::Candidates};
use crate::store::{StoreError, StoreHandle, rows as stored, tables, txn::Txn};
use unifyit_protocol::{
    ids::{DeviceId, TokenId},
    link::SiteAudit,
};

/// Longest text of a device about itself that is kept.
const MAX_TEXT: usize = 256;

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
    /// SHA-256 of its public key (SubjectPublicKeyInfo), which the request proves that
    /// it holds.
    pub key: [u8; 32],
    /// The device that it has proven to be, by a certificate that is good.
    pub proven: Option<DeviceId>,
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

impl StoreHandle {
    /// Counts one use of a token and enrols the device durably (G1). The same
    /// machine gets the id that it had only where that was allowed for the device:
    /// its name is no secret, and whoever holds a token could take another's place.
    ///
    /// # Errors
    /// [`StoreError`] when nothing was stored.
    pub async fn enroll_agent(
        &self,
        token: TokenId,
        uses: u32,
        device: NewDevice,
    ) -> Result<EnrollDecision, StoreError> {
        if self.token_revoked(token) {
            return Ok(EnrollDecision::Revoked);
        }
        self.write(move |txn| txn.enroll(token, uses, &device)).await
    }
}

impl Txn<'_> {
    fn enroll(
        &mut self,
        token: TokenId,
        uses: u32,
        new: &NewDevice,
    ) -> Result<EnrollDecision, StoreError> {
        let mut record = self.token(token)?;
        if record.revoked {
            return Ok(EnrollDecision::Revoked);
        }
        let Candidates { of_key, allowed, known } = self.candidates(new)?;
        if let Some(same) = of_key {
            // The answer to this very request was lost: nothing is spent twice.
            return Ok(EnrollDecision::Accepted { device: same.device });
        }
        if record.used >= uses {
            return Ok(EnrollDecision::UsedUp);
        }
        record.used += 1;
        self.put_token(token, record)?;
        let proven = match new.proven {
            // Both computers of a shared identity could prove it.
            Some(device) => self.device(device)?.filter(|d| !d.revoked && d.sharing.is_none()),
            None => None,
        };
        let allowed = proven.or(allowed);
        let device = allowed.as_ref().map_or(new.proposed, |d| d.device);
        if allowed.is_none()
            && let Some(known) = known
        {
            let detail = format!(
                "{} enrolled with the machine identity of {}, whose re-enrolment was not allowed; it got an identity of its own.",
                clipped(&new.hostname),
                known.hostname
            );
            self.audit_entry(SiteAudit {
                at_ms: new.at_ms,
                action: "device.enrolled_beside".into(),
                actor: device.to_string(),
                detail,
            })?;
            if known.machine.is_empty() {
                // Only the row that this one takes over tells whose machine it is.
                self.put_device(DeviceRecord { machine: new.machine.clone(), ..known })?;
            }
        }
        if !new.machine.is_empty() {
            let key = tables::device_key(device);
            self.machines()?.insert(new.machine.as_str(), key)?;
        }
        self.join(new, device, Some(token), None)?;
        Ok(EnrollDecision::Accepted { device })
    }

    /// A device introduced itself.
    pub(crate) fn hello(
        &mut self,
        device: DeviceId,
        hostname: &str,
        version: &str,
    ) -> Result<(), StoreError> {
        let Some(mut record) = self.device(device)? else { return Ok(()) };
        let (hostname, version) = (clipped(hostname), clipped(version));
        if record.hostname != hostname || record.version != version {
            (record.hostname, record.version) = (hostname, version);
            self.put_device(record)?;
        }
        Ok(())
    }
}

/// A device's word about itself, cut to what is kept.
fn clipped(text: &str) -> String {
    stored::clipped(text, MAX_TEXT)
}
