//! Computers that share one device's identity: which is which, and who may use it.
//!
//! A computer calls itself by another name at each start, and tells the one under
//! which it was welcomed last. Only the first is welcomed.

use super::{Computer, DeviceRecord, Sharing};
use crate::{
    broker::Named,
    store::{StoreError, txn::Txn},
};
use unifyit_protocol::{
    ids::DeviceId,
    lane::Lane,
    link::{SharedIdentity, SharingComputer, UpRecord},
};
use uuid::Uuid;

/// Computers beside the first that are remembered of a device.
const MAX_OTHERS: usize = 4;

/// What became of a computer that connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Judged {
    /// Whether it may use the identity.
    pub(super) may: bool,
    /// Whether something is known of it that was not.
    pub(super) changed: bool,
}

impl Computer {
    /// Whether it calls itself so, or did when it was let in last.
    pub(crate) fn is_called(&self, name: Uuid) -> bool {
        !name.is_nil() && (self.instance == name || self.now == name)
    }

    /// It connects. Whether that tells something.
    fn seen(&mut self, instance: Uuid, before: Option<Uuid>, address: &str) -> bool {
        let known = self.clone();
        // It was welcomed under the name that it had since.
        if before.is_some_and(|before| !before.is_nil() && before == self.now) {
            self.instance = self.now;
        }
        self.now = if self.instance == instance { Uuid::nil() } else { instance };
        address.clone_into(&mut self.address);
        *self != known
    }

    fn same_place(&self, other: &Self) -> bool {
        !self.hostname.is_empty()
            && (&self.hostname, &self.address) == (&other.hostname, &other.address)
    }
}

impl Sharing {
    fn members(&mut self) -> impl Iterator<Item = &mut Computer> {
        std::iter::once(&mut self.first).chain(&mut self.others)
    }

    fn position(&mut self, of: impl Fn(&Computer) -> bool) -> Option<usize> {
        self.members().position(|member| of(member))
    }

    fn member(&mut self, at: usize) -> Option<&mut Computer> {
        self.members().nth(at)
    }

    /// Whether a computer that connects may, and whether something is to be noted
    /// of it. What it says of itself tells computers apart, it gives no right: all of
    /// them hold the device's key.
    pub(super) fn judge(&mut self, named: Named, address: &str) -> Judged {
        let Some(instance) = named.instance.filter(|instance| !instance.is_nil()) else {
            // An agent without a name of its own.
            return Judged { may: self.first.address == address, changed: false };
        };
        let by_name = self.position(|member| member.is_called(instance));
        let by_past = named.before.and_then(|b| self.position(|m| m.is_called(b)));
        // One that never was welcomed anywhere, where only one has been.
        let alone = self.members().filter(|m| m.address == address).count() == 1;
        let by_place = match named.before.is_none() && alone {
            true => self.position(|m| m.address == address),
            false => None,
        };
        let at = by_name.or(by_past).or(by_place);
        let Some(at) = at else {
            let room = self.others.len() < MAX_OTHERS;
            if room {
                let address = address.to_owned();
                self.others.push(Computer { instance, address, ..Computer::default() });
            }
            return Judged { may: false, changed: room };
        };
        let replace = self.replace;
        let Some(member) = self.member(at) else { return Judged { may: false, changed: false } };
        let chosen = replace == Some(member.instance);
        let changed = member.seen(instance, named.before, address);
        if chosen {
            let id = member.instance;
            self.replace = Some(id);
        }
        Judged { may: at == 0 || chosen, changed }
    }

    /// Whether the computer that calls itself so is to get an identity of its own.
    pub(crate) fn replaces(&self, instance: Uuid) -> bool {
        let chosen = |c: &&Computer| self.replace == Some(c.instance);
        self.others.iter().find(chosen).is_some_and(|c| c.is_called(instance))
    }

    /// The computer that calls itself so, when it is to get an identity of its own.
    pub(super) fn replaced(&mut self, instance: Uuid) -> Option<&mut Computer> {
        if !self.replaces(instance) {
            return None;
        }
        self.others.iter_mut().find(|c| c.is_called(instance))
    }

    /// A computer took its turn. Its name may be one under which another came in by
    /// the same past: then they are two.
    fn meet(&mut self, computer: Computer) {
        let by_name = self.position(|member| member.is_called(computer.instance));
        let by_place = self.others.iter().position(|other| other.same_place(&computer));
        let at = by_name.or(by_place.map(|at| at + 1));
        let room = self.others.len() < MAX_OTHERS;
        match at.and_then(|at| self.member(at)) {
            Some(member) => {
                let now = if member.instance == computer.instance {
                    Uuid::nil()
                } else {
                    computer.instance
                };
                let (instance, own) = (member.instance, member.own);
                *member = Computer { instance, now, own, ..computer };
            }
            None if room => self.others.push(computer),
            None => {}
        }
    }

    /// The same but for when they were heard.
    fn same_as(&self, other: &Self) -> bool {
        let timeless = |sharing: &Self| {
            let mut sharing = sharing.clone();
            sharing.members().for_each(|member| member.last_ms = 0);
            sharing
        };
        timeless(self) == timeless(other)
    }

    /// As the cloud is told of it.
    pub(crate) fn told(&self, device: DeviceId, at_ms: u64) -> SharedIdentity {
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

impl Txn<'_> {
    /// Two computers use one identity: `first` had it before `other`.
    pub(crate) fn share(
        &mut self,
        device: DeviceId,
        first: Computer,
        other: Computer,
    ) -> Result<(), StoreError> {
        let Some(mut record) = self.device(device)? else { return Ok(()) };
        let before = record.sharing.clone();
        let sharing = record
            .sharing
            .get_or_insert_with(|| Sharing { first: first.clone(), ..Sharing::default() });
        sharing.meet(first);
        sharing.meet(other);
        // Each turn that they take is not another word to the cloud.
        if before.is_some_and(|before| before.same_as(sharing)) {
            return Ok(());
        }
        self.put_sharing(record)
    }

    /// A computer connected: what is known of it since.
    pub(super) fn judged(
        &mut self,
        device: DeviceId,
        computer: Named,
        address: &str,
    ) -> Result<(), StoreError> {
        let Some(mut record) = self.device(device)? else { return Ok(()) };
        let Some(sharing) = &mut record.sharing else { return Ok(()) };
        let before = sharing.told(device, 0);
        let changed = sharing.judge(computer, address).changed;
        match (changed, sharing.told(device, 0) == before) {
            (false, _) => Ok(()),
            // What a computer calls itself meanwhile is for this relay alone.
            (true, true) => self.put_device(record),
            (true, false) => self.put_sharing(record),
        }
    }

    /// Stores what computers share a device's identity, and tells the cloud.
    pub(super) fn put_sharing(&mut self, record: DeviceRecord) -> Result<(), StoreError> {
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
        if sharing.first.instance == instance {
            // It can be chosen too: the other then goes on with the identity.
            let [next] = sharing.others.as_mut_slice() else {
                tracing::warn!(%device, "which of several goes on is not for this relay to guess");
                return Ok(());
            };
            std::mem::swap(&mut sharing.first, next);
        }
        if !sharing.others.iter().any(|other| other.instance == instance) {
            return Ok(());
        }
        sharing.replace = Some(instance);
        self.put_sharing(record)
    }

    /// A computer uses the identity no longer: it has its own, or a technician says
    /// that it is gone. One that comes back is noticed anew.
    pub(crate) fn forget_computer(
        &mut self,
        device: DeviceId,
        instance: Uuid,
    ) -> Result<(), StoreError> {
        let Some(mut record) = self.device(device)? else { return Ok(()) };
        let Some(sharing) = &mut record.sharing else {
            // Whoever asks believes otherwise.
            return self.put_sharing(record);
        };
        if sharing.first.instance == instance {
            match sharing.others.len() {
                0 => {}
                1 => sharing.first = sharing.others.remove(0),
                // Which of several goes on is not for this relay to guess.
                _ => return Ok(()),
            }
        }
        sharing.others.retain(|other| other.instance != instance);
        sharing.replace = sharing.replace.filter(|chosen| *chosen != instance);
        if sharing.others.is_empty() {
            record.sharing = None;
        }
        self.put_sharing(record)
    }
}
