//! Who may use a device's identity: which certificate, which computer.
//!
//! Of a device's keys only the newest is let in. The one before it stays good until
//! the newest was used once, because the answer that carried its certificate may
//! have been lost. A key that this store never heard of is let in when it was
//! certified later than the one it knows: the relay's disk may be an older copy. A
//! renewal keeps the key, so a computer that is set back to an older copy of itself
//! comes in as before.
//!
//! A computer that is installed anew gets its device back only where that was
//! allowed for the device. Two computers with one identity are kept apart: the one
//! that had it first goes on, the other waits until it is given its own. They are
//! told apart by the names that they give themselves at each start, each with the
//! name under which it was welcomed last: copies have that in common until they are
//! noticed, and no longer.

use super::{DeviceRecord, Key, NewDevice, record::Split};
use crate::{
    broker::{Admission, Named},
    identity::ca::{BACKDATE, Proof},
    store::{StoreError, StoreHandle, rows as stored, tables, txn::Txn},
};
use redb::ReadableTable as _;
use std::{net::IpAddr, sync::PoisonError};
use unifyit_protocol::{
    ids::{DeviceId, TokenId},
    lane::Lane,
    link::{Enrolled, SiteAudit, UpRecord},
};
use uuid::Uuid;

/// Keys certified and not used yet that are remembered of a device.
const MAX_OFFERED: usize = 4;

/// How often it is written down that a replaced key of a device was refused.
pub(super) const SAY_AGAIN_MS: u64 = 3_600_000;

/// What a key is to a device.
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
        match &self.key {
            None => Standing::Newer,
            Some(in_use) if in_use.sha256 == proof.key => Standing::InUse,
            Some(in_use) => {
                let newer = proof.since_s > in_use.since_s || self.offered.contains(&proof.key);
                if newer { Standing::Newer } else { Standing::Replaced }
            }
        }
    }

    /// The key is used for the first time. One that was certified at an enrolment
    /// ends what that enrolment replaces: who else had the identity, and the
    /// permission.
    fn use_key(&mut self, proof: &Proof, now_ms: u64) {
        // Whatever the key before was certified for until this moment is no later.
        let now_s = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
        let since_s = proof.since_s.max(now_s.saturating_sub(BACKDATE.whole_seconds()));
        self.key = Some(Key { sha256: proof.key, since_s });
        if self.offered.contains(&proof.key) {
            self.offered.clear();
            self.reenrol_until_ms = 0;
            self.sharing = None;
        }
    }

    fn offer(&mut self, key: [u8; 32]) {
        self.offered.retain(|offered| *offered != key);
        self.offered.push(key);
        let over = self.offered.len().saturating_sub(MAX_OFFERED);
        self.offered.drain(..over);
    }

    fn knows(&self, key: &[u8; 32]) -> bool {
        self.key.is_some_and(|in_use| in_use.sha256 == *key) || self.offered.contains(key)
    }
}

/// What the store knows of a machine that asks to join.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// The device that this very key was certified for: its answer was lost.
    pub(super) of_key: Option<DeviceRecord>,
    /// The device whose re-enrolment was allowed.
    pub(super) allowed: Option<DeviceRecord>,
    /// A device of the same machine whose re-enrolment was not.
    pub(super) known: Option<DeviceRecord>,
}

impl StoreHandle {
    /// Changes a device at once for those who ask, and durably soon. Not awaited:
    /// what is lost by a crash is found out again at the next connection. `change`
    /// says whether it changed anything.
    pub(super) fn note(
        &self,
        device: DeviceId,
        change: impl FnOnce(&mut DeviceRecord) -> bool,
        op: impl FnOnce(&mut Txn<'_>) -> Result<(), StoreError> + Send + 'static,
    ) {
        // Nothing changes in memory that has no place on its way to the disk.
        let Some(place) = self.place() else {
            tracing::debug!(%device, "a change of a device found no place; it is noted again");
            return;
        };
        {
            // In place: what was read before may be revoked meanwhile.
            let mut devices =
                self.parts().devices.all.write().unwrap_or_else(PoisonError::into_inner);
            let record = devices.get_mut(&device).filter(|record| !record.revoked);
            if !record.is_some_and(change) {
                return;
            }
        }
        place.send(op);
    }

    /// Remembers a new key of a device that is about to be certified.
    ///
    /// # Errors
    /// [`StoreError`] when it was not stored.
    pub async fn offered(&self, device: DeviceId, key: [u8; 32]) -> Result<(), StoreError> {
        self.write(move |txn| {
            let Some(mut record) = txn.device(device)? else { return Ok(()) };
            record.offer(key);
            txn.put_device(record)
        })
        .await
    }

    /// Gives a computer that shares an identity its own, where that was asked for:
    /// the same one as often as it asks, until it uses it. `None` when nobody asked
    /// for it.
    ///
    /// # Errors
    /// [`StoreError`] when nothing was stored.
    pub async fn separate(
        &self,
        shared: DeviceId,
        instance: Uuid,
        new: NewDevice,
    ) -> Result<Option<DeviceId>, StoreError> {
        self.write(move |txn| txn.separate(shared, instance, &new)).await
    }
}

impl Admission for StoreHandle {
    fn admit(&self, device: DeviceId, proof: &Proof) -> bool {
        let Some(record) = self.device(device).filter(|d| !d.revoked) else { return false };
        match record.standing(proof) {
            Standing::InUse => true,
            Standing::Newer => {
                let proof = *proof;
                let now_ms = self.now_ms();
                let change = |record: &mut DeviceRecord| {
                    let newer = record.standing(&proof) == Standing::Newer;
                    if newer {
                        record.use_key(&proof, now_ms);
                    }
                    newer
                };
                self.note(device, change, move |txn| txn.use_key(device, &proof, now_ms));
                true
            }
            Standing::Replaced => false,
        }
    }

    fn refused(&self, device: DeviceId, proof: &Proof, address: IpAddr) {
        let known = self.device(device).filter(|record| !record.revoked);
        if known.is_none_or(|record| record.standing(proof) != Standing::Replaced) {
            tracing::info!(%device, "a device that is not enrolled here, or was removed, was refused");
            return;
        }
        let (address, at_ms) = (address.to_canonical(), self.now_ms());
        tracing::warn!(%device, %address,
            "a key was refused that a newer one has replaced; it may be in wrong hands");
        {
            // Only devices that are known have a place in it.
            let mut said =
                self.parts().devices.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            if said.get(&device).is_some_and(|said| said.abs_diff(at_ms) < SAY_AGAIN_MS) {
                return;
            }
            said.insert(device, at_ms);
        }
        let detail = format!(
            "A computer at {address} showed a key of this device that a newer one has replaced. If it is the \
             right computer, allow its re-enrolment here, then enrol it again; if not, that key is in wrong hands."
        );
        let entry = SiteAudit {
            at_ms,
            action: "device.key_refused".into(),
            actor: device.to_string(),
            detail,
        };
        self.note(device, |_| true, move |txn| txn.audit_entry(entry));
    }

    fn is_guest(&self, device: DeviceId, computer: Named) -> bool {
        let sharing = self.device(device).and_then(|record| record.sharing);
        sharing.zip(computer.instance).is_some_and(|(sharing, name)| sharing.replaces(name))
    }

    fn may_use(&self, device: DeviceId, computer: Named, address: IpAddr) -> bool {
        let Some(mut record) = self.device(device) else { return true };
        let Some(sharing) = &mut record.sharing else { return true };
        let address = address.to_canonical().to_string();
        let judged = sharing.judge(computer, &address);
        if judged.changed {
            let noted = address.clone();
            let change = move |record: &mut DeviceRecord| {
                record.sharing.as_mut().is_some_and(|s| s.judge(computer, &noted).changed)
            };
            self.note(device, change, move |txn| txn.judged(device, computer, &address));
        }
        judged.may
    }
}

impl Txn<'_> {
    /// A key is used for the first time.
    fn use_key(&mut self, device: DeviceId, proof: &Proof, now_ms: u64) -> Result<(), StoreError> {
        let Some(mut record) = self.device(device)? else { return Ok(()) };
        if record.revoked || record.standing(proof) != Standing::Newer {
            return Ok(());
        }
        let was_shared = record.sharing.is_some();
        record.use_key(proof, now_ms);
        let split = record.split.take();
        match was_shared && record.sharing.is_none() {
            true => self.put_sharing(record)?,
            false => self.put_device(record)?,
        }
        match split {
            Some(Split { device, instance }) => self.forget_computer(device, instance),
            None => Ok(()),
        }
    }

    /// What is known of a machine that asks to join with a key. Its host name is
    /// enough where re-enrolment was allowed: a system that was installed anew has
    /// another machine identity.
    pub(super) fn candidates(&mut self, new: &NewDevice) -> Result<Candidates, StoreError> {
        let now_ms = self.now_ms;
        let owner = match new.machine.as_str() {
            "" => None,
            machine => self.machines()?.get(machine)?.map(|id| tables::device_of(id.value())),
        };
        let mut found = Candidates::default();
        let mut named = Vec::new();
        for record in self.all_devices()? {
            if record.revoked {
                continue;
            }
            let same_machine = !new.machine.is_empty()
                && (record.machine == new.machine || owner == Some(record.device));
            let allowed = record.reenrol_until_ms > now_ms;
            if record.knows(&new.key) {
                found.of_key = Some(record);
            } else if same_machine && allowed {
                found.allowed = Some(record);
            } else if same_machine {
                found.known = Some(record);
            } else if allowed && record.hostname.eq_ignore_ascii_case(&new.hostname) {
                named.push(record);
            }
        }
        if found.allowed.is_none() && found.known.is_none() && named.len() == 1 {
            found.allowed = named.pop();
        }
        Ok(found)
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

    fn separate(
        &mut self,
        shared: DeviceId,
        instance: Uuid,
        new: &NewDevice,
    ) -> Result<Option<DeviceId>, StoreError> {
        let Some(mut record) = self.device(shared)? else { return Ok(None) };
        let Some(computer) = record.sharing.as_mut().and_then(|s| s.replaced(instance)) else {
            return Ok(None);
        };
        let split = Split { device: shared, instance: computer.instance };
        let given = computer.own;
        if let Some(own) = given
            && let Some(mut own) = self.device(own)?.filter(|own| !own.revoked)
        {
            own.offer(new.key);
            let device = own.device;
            self.put_device(own)?;
            return Ok(Some(device));
        }
        computer.own = Some(new.proposed);
        self.put_device(record)?;
        self.join(new, new.proposed, None, Some(split))?;
        Ok(Some(new.proposed))
    }

    /// Writes a device that joins, and tells the cloud. What it had goes on holding
    /// until the new key is used.
    pub(super) fn join(
        &mut self,
        new: &NewDevice,
        device: DeviceId,
        token: Option<TokenId>,
        split: Option<Split>,
    ) -> Result<(), StoreError> {
        let before = self.device(device)?;
        let mut record = before.unwrap_or_else(|| DeviceRecord::new(device, new.at_ms));
        record.hostname = stored::clipped(&new.hostname, 256);
        record.version = stored::clipped(&new.version, 256);
        record.machine.clone_from(&new.machine);
        record.split = split;
        record.offer(new.key);
        let (hostname, version) = (record.hostname.clone(), record.version.clone());
        self.put_device(record)?;
        let token = token.unwrap_or(TokenId(Uuid::nil()));
        let record = Enrolled { device, hostname, version, token, at_ms: new.at_ms };
        self.append(Lane::Urgent, &UpRecord::Enrolled(record))
    }
}
