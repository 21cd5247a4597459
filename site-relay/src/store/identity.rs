//! Who may use a device's identity: which certificate, which computer.
//!
//! Only the newest certificate of a device is let in. The one before it stays good
//! until the newest was used once, because the answer that carried it may have been
//! lost. A certificate that this store never heard of is let in when it was issued
//! later than the one it knows: the relay's disk may be an older copy.
//!
//! A computer that is installed anew gets its device back only where that was
//! allowed for the device. Two computers with one identity are kept apart: the one
//! that had it first goes on, the other waits until it is given its own.

use super::{
    StoreHandle, Typed,
    actor::Message,
    error::StoreError,
    rows,
    tables::{self, Certificate, Computer, DeviceRecord, Sharing},
    txn::Txn,
};
use crate::{broker::Admission, identity::ca::Proof};
use redb::ReadableTable as _;
use std::net::IpAddr;
use tokio::sync::oneshot;
use unifyit_protocol::{
    ids::{DeviceId, TokenId},
    lane::Lane,
    link::{Enrolled, SharedIdentity, SharingComputer, UpRecord},
};
use uuid::Uuid;

/// Certificates issued and not used yet that are remembered of a device.
const MAX_ISSUED: usize = 4;
/// Computers beside the first that are remembered of a device.
const MAX_OTHERS: usize = 4;

/// What a certificate is to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The one in use.
    InUse,
    /// A newer one, used for the first time.
    Newer,
    /// One that a newer one has replaced.
    Replaced,
}

impl DeviceRecord {
    fn standing(&self, proof: &Proof) -> Standing {
        match &self.certificate {
            None => Standing::Newer,
            Some(in_use) if in_use.sha256 == proof.sha256 => Standing::InUse,
            Some(in_use) => {
                let newer = proof.since_s > in_use.since_s || self.issued.contains(&proof.sha256);
                if newer { Standing::Newer } else { Standing::Replaced }
            }
        }
    }

    fn use_certificate(&mut self, proof: &Proof) {
        self.certificate = Some(Certificate { sha256: proof.sha256, since_s: proof.since_s });
        self.issued.retain(|issued| *issued != proof.sha256);
    }
}

impl Sharing {
    /// Whether a computer that connects may, and whether something is to be noted
    /// of it. What it says of itself tells computers apart, it gives no right.
    fn judge(&mut self, instance: Uuid, address: &str) -> (bool, bool) {
        if self.first.instance == instance {
            return (true, false);
        }
        if instance.is_nil() {
            return (self.first.address == address, false);
        }
        if self.others.iter().any(|other| other.instance == instance) {
            return (self.replace == Some(instance), false);
        }
        if self.first.address == address {
            self.first.instance = instance;
            return (true, true);
        }
        // One of the others after a start, by its address or because it is the only one.
        let at = self.others.iter().position(|o| o.address == address).unwrap_or_default();
        let Some(other) = self.others.get_mut(at) else { return (true, false) };
        let before = std::mem::replace(&mut other.instance, instance);
        address.clone_into(&mut other.address);
        if self.replace == Some(before) {
            self.replace = Some(instance);
        }
        (self.replace == Some(instance), true)
    }

    fn told(&self, device: DeviceId, at_ms: u64) -> SharedIdentity {
        let computers = std::iter::once(&self.first).chain(&self.others);
        let told = |c: &Computer| SharingComputer {
            instance: c.instance,
            hostname: c.hostname.clone(),
            address: c.address.clone(),
            last_ms: c.last_ms,
        };
        SharedIdentity { device, at_ms, computers: computers.map(told).collect() }
    }
}

impl StoreHandle {
    /// Changes a device at once for those who ask, and durably soon. Not awaited:
    /// what is lost by a crash is found out again at the next connection.
    fn note(
        &self,
        record: DeviceRecord,
        op: impl FnOnce(&mut Txn<'_>) -> Result<(), StoreError> + Send + 'static,
    ) {
        let core = &self.inner.core;
        core.devices
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(record.device, record);
        let (reply, _nobody_asks) = oneshot::channel();
        let job = Typed { op: Some(op), value: None, reply };
        if self.inner.writer.try_send(Message::Job(Box::new(job))).is_err() {
            tracing::debug!("a change of a device was not stored; it is noted again");
        }
    }

    /// Remembers a certificate that is about to be handed out.
    ///
    /// # Errors
    /// [`StoreError`] when it was not stored.
    pub async fn issued(&self, device: DeviceId, sha256: [u8; 32]) -> Result<(), StoreError> {
        self.write(move |txn| {
            let Some(mut record) = txn.device(device)? else { return Ok(()) };
            record.issued.retain(|issued| *issued != sha256);
            record.issued.push(sha256);
            let over = record.issued.len().saturating_sub(MAX_ISSUED);
            record.issued.drain(..over);
            txn.put_device(record)
        })
        .await
    }

    /// From now on this certificate alone is good: the computer enrolled anew.
    ///
    /// # Errors
    /// [`StoreError`] when it was not stored.
    pub async fn certified(&self, device: DeviceId, proof: Proof) -> Result<(), StoreError> {
        self.write(move |txn| {
            let Some(mut record) = txn.device(device)? else { return Ok(()) };
            record.issued.clear();
            record.use_certificate(&proof);
            txn.put_device(record)
        })
        .await
    }

    /// Gives a computer that shares an identity its own, where that was asked for.
    /// `None` when it was not.
    ///
    /// # Errors
    /// [`StoreError`] when nothing was stored.
    pub async fn separate(
        &self,
        shared: DeviceId,
        instance: Uuid,
        new: super::NewDevice,
    ) -> Result<Option<DeviceId>, StoreError> {
        self.write(move |txn| txn.separate(shared, instance, &new)).await
    }
}

impl Admission for StoreHandle {
    fn admit(&self, device: DeviceId, proof: &Proof) -> bool {
        let Some(mut record) = self.device(device).filter(|d| !d.revoked) else { return false };
        match record.standing(proof) {
            Standing::InUse => true,
            Standing::Newer => {
                record.use_certificate(proof);
                let proof = *proof;
                self.note(record, move |txn| match txn.device(device)? {
                    Some(mut record) if record.standing(&proof) == Standing::Newer => {
                        record.use_certificate(&proof);
                        txn.put_device(record)
                    }
                    _ => Ok(()),
                });
                true
            }
            Standing::Replaced => {
                tracing::warn!(%device,
                    "a certificate was refused that a newer one has replaced; its key may be in wrong hands");
                false
            }
        }
    }

    fn may_use(&self, device: DeviceId, computer: Option<Uuid>, address: IpAddr) -> bool {
        let Some(mut record) = self.device(device) else { return true };
        let Some(sharing) = &mut record.sharing else { return true };
        let address = address.to_canonical().to_string();
        let instance = computer.unwrap_or_default();
        let (may, noted) = sharing.judge(instance, &address);
        if noted {
            self.note(record, move |txn| {
                let Some(mut record) = txn.device(device)? else { return Ok(()) };
                if let Some(sharing) = &mut record.sharing {
                    sharing.judge(instance, &address);
                }
                txn.put_sharing(record)
            });
        }
        may
    }
}

impl Txn<'_> {
    /// The device that an enrolling machine gets back, when that was allowed; and
    /// whether another one of that machine exists.
    pub(super) fn of_machine(
        &mut self,
        machine: &str,
    ) -> Result<(Option<DeviceRecord>, Option<DeviceRecord>), StoreError> {
        if machine.is_empty() {
            return Ok((None, None));
        }
        let now_ms = self.now_ms;
        let owner = self.machines()?.get(machine)?.map(|id| tables::device_of(id.value()));
        let (mut allowed, mut known) = (None, None);
        for row in self.devices()?.range::<u128>(..)? {
            let Some(record) = rows::read::<DeviceRecord>("devices", row?.1.value()) else {
                continue;
            };
            if record.revoked || (record.machine != machine && owner != Some(record.device)) {
                continue;
            }
            if record.reenrol_until_ms > now_ms {
                allowed = Some(record);
            } else {
                known = Some(record);
            }
        }
        Ok((allowed, known))
    }

    /// A technician lets a device's computer enrol again, or takes that back.
    pub(crate) fn allow_reenrolment(
        &mut self,
        device: DeviceId,
        until_ms: u64,
    ) -> Result<(), StoreError> {
        match self.device(device)? {
            Some(record) if !record.revoked => {
                self.put_device(DeviceRecord { reenrol_until_ms: until_ms, ..record })
            }
            _ => Ok(()),
        }
    }

    /// Two computers use one identity: `first` had it before `other`.
    pub(crate) fn share(
        &mut self,
        device: DeviceId,
        first: Computer,
        other: Computer,
    ) -> Result<(), StoreError> {
        let Some(mut record) = self.device(device)? else { return Ok(()) };
        let sharing = record
            .sharing
            .get_or_insert_with(|| Sharing { first: first.clone(), ..Sharing::default() });
        for computer in [first, other] {
            if sharing.first.instance == computer.instance {
                sharing.first = computer;
            } else {
                sharing.others.retain(|o| {
                    let same = (&o.hostname, &o.address) == (&computer.hostname, &computer.address);
                    o.instance != computer.instance && !same
                });
                sharing.others.push(computer);
                let over = sharing.others.len().saturating_sub(MAX_OTHERS);
                sharing.others.drain(..over);
            }
        }
        self.put_sharing(record)
    }

    /// Stores what computers share a device's identity, and tells the cloud.
    fn put_sharing(&mut self, record: DeviceRecord) -> Result<(), StoreError> {
        let (device, at_ms) = (record.device, self.now_ms);
        let told = match &record.sharing {
            Some(sharing) => sharing.told(device, at_ms),
            None => SharedIdentity { device, at_ms, computers: Vec::new() },
        };
        self.put_device(record)?;
        self.append(Lane::Urgent, &UpRecord::Shared(told))
    }

    /// A technician chose which of the computers gets an identity of its own.
    pub(crate) fn separate_identity(
        &mut self,
        device: DeviceId,
        instance: Uuid,
    ) -> Result<(), StoreError> {
        let Some(mut record) = self.device(device)? else { return Ok(()) };
        let Some(sharing) = &mut record.sharing else { return Ok(()) };
        // The one that had it first can be chosen too: the other then goes on with it.
        if sharing.first.instance == instance && !sharing.others.is_empty() {
            let next = sharing.others.remove(0);
            let before = std::mem::replace(&mut sharing.first, next);
            sharing.others.push(before);
        }
        if sharing.others.iter().any(|other| other.instance == instance) {
            sharing.replace = Some(instance);
        }
        self.put_device(record)
    }

    fn separate(
        &mut self,
        shared: DeviceId,
        instance: Uuid,
        new: &super::NewDevice,
    ) -> Result<Option<DeviceId>, StoreError> {
        let Some(mut record) = self.device(shared)? else { return Ok(None) };
        let Some(sharing) = &mut record.sharing else { return Ok(None) };
        if sharing.replace != Some(instance) {
            return Ok(None);
        }
        sharing.replace = None;
        sharing.others.retain(|other| other.instance != instance);
        if sharing.others.is_empty() {
            record.sharing = None;
        }
        self.put_sharing(record)?;
        self.join(new, new.proposed, None)?;
        Ok(Some(new.proposed))
    }

    /// Writes a device that joins, and tells the cloud.
    pub(super) fn join(
        &mut self,
        new: &super::NewDevice,
        device: DeviceId,
        token: Option<TokenId>,
    ) -> Result<(), StoreError> {
        let before = self.device(device)?;
        let (hostname, version) =
            (rows::clipped(&new.hostname, 256), rows::clipped(&new.version, 256));
        self.put_device(DeviceRecord {
            hostname: hostname.clone(),
            version: version.clone(),
            machine: new.machine.clone(),
            // It goes on holding until the one that is about to be issued takes its place.
            certificate: before.as_ref().and_then(|d| d.certificate),
            ..DeviceRecord::new(device, before.as_ref().map_or(new.at_ms, |d| d.enrolled_ms))
        })?;
        let token = token.unwrap_or(TokenId(Uuid::nil()));
        let record = Enrolled { device, hostname, version, token, at_ms: new.at_ms };
        self.append(Lane::Urgent, &UpRecord::Enrolled(record))
    }
}

#[cfg(test)]
mod tests;
