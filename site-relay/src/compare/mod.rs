//! What this relay holds, told to the cloud at the start of an epoch, and what the
//! cloud answers of things that this disk has forgotten.
//!
//! A disk that was put back to an older copy does not know it. It shows when the
//! cloud has numbers that this disk never gave out; what was written in between is
//! then stated as a gap from the copy's last commit to the start, of a size that
//! nobody knows (G6).

use crate::{
    devices::{DeviceRecord, TokenRecord},
    store::{StoreError, part::Part, tables, txn::Txn},
};
use unifyit_protocol::{
    compare::{KnownCommand, KnownToken, MAX_HELD, MAX_KNOWN, SiteHolds, SiteKnown, TellAgain},
    config::SiteConfig,
    ids::DeviceId,
    lane::{Ack, Forgotten, Lane, MAX_RECORD},
    link::{DeviceGap, UpRecord},
    report::Gap,
};

const RESTORED: &str = "The relay was restored from an older copy; what it had not passed on to the cloud since that copy was made is lost.";
const CLOUD_RESTORED: &str =
    "The cloud was restored from an older copy and lost what came after that copy was made.";

/// By how much a report may be dated before the moment in which it got here, and the
/// cloud's clock be off this one.
const APPLIED_SLACK_MS: u64 = 60_000;

/// Bytes of columns that are told anew in one commit: all devices' acknowledgements
/// wait for it, and measurements share the lane.
const TOLD_AT_ONCE: usize = 4 * 1024 * 1024;

/// How much one commit tells anew.
#[derive(Debug, Default)]
pub(crate) struct TellRoom {
    /// Bytes so far.
    told: usize,
}

/// What is told of what this relay holds, as a part of the store.
pub(crate) struct Comparison;

/// What is remembered of it.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Whether the cloud was told since what this relay holds.
    pub(crate) told: bool,
    /// Whether this store is an older copy, and the cloud did not say yet what devices
    /// had of its commands.
    asks: bool,
    /// How often it turned out that the cloud lacks what it was told.
    cloud_forgot: u64,
}

impl Part for Comparison {
    type Tables<'t> = ();
    type Memory = Memory;
    type Gathered = ();
    type Shared = ();

    fn carry(memory: &mut Memory, before: Memory) {
        (memory.asks, memory.cloud_forgot) = (before.asks, before.cloud_forgot);
    }
}

impl Txn<'_> {
    /// Whether the cloud is asked what devices had of its commands.
    pub(crate) fn asks_the_cloud(&self) -> bool {
        self.mem.parts.compare.asks
    }

    /// How often the cloud forgot what it was told: whoever tells it only what is new tells
    /// all again when that rises.
    pub(crate) fn cloud_forgot(&self) -> u64 {
        self.mem.parts.compare.cloud_forgot
    }

    /// A session begins, and the cloud stands at `peer`. Says once what was lost on
    /// either side, and tells what this relay holds: in the first session after a
    /// start, and when one of the two was restored. Returns the devices whose whole
    /// inventory is wanted.
    pub(crate) fn compare(
        &mut self,
        peer: &[Ack],
        lost: &[Forgotten],
        applied_ms: &[u64],
    ) -> Result<Vec<DeviceId>, StoreError> {
        for lost in lost {
            let from_ms = applied_ms.get(lost.lane.index()).copied().filter(|ms| *ms != 0);
            let count = lost.through.saturating_sub(lost.from) + 1;
            self.lost(
                lost.lane,
                count,
                from_ms.unwrap_or(self.now_ms),
                self.now_ms,
                CLOUD_RESTORED,
            )?;
        }
        let written = self.mem.lanes.of(Lane::Urgent).epoch();
        let old = !self.mem.parts.compare.told && self.mem.opened.is_older_than(peer, written);
        if old {
            let before = self.mem.opened;
            tracing::warn!(
                from_ms = before.written_ms,
                "this relay was restored from an older copy of its disk; the cloud is asked for what it forgot"
            );
            let from_ms = if before.written_ms == 0 { before.opened_ms } else { before.written_ms };
            for lane in Lane::ALL {
                self.lost(lane, 0, from_ms, before.opened_ms, RESTORED)?;
            }
            self.mem.parts.compare.asks = true;
        }
        self.mem.parts.compare.cloud_forgot += u64::from(!lost.is_empty());
        let mut wanted = Vec::new();
        if !self.mem.parts.compare.told || !lost.is_empty() {
            let lost_state = lost.iter().any(|lost| lost.lane == Lane::State);
            if lost_state {
                let since_ms = applied_ms.get(Lane::State.index()).copied().unwrap_or_default();
                wanted = self.want_inventories(since_ms)?;
            }
            self.tell_holds(lost_state)?;
            self.mem.parts.compare.told = true;
        }
        Ok(wanted)
    }

    /// The cloud lost what came after `since_ms` of the inventories. Changes that wait,
    /// or that come next, may overtake the word on what this relay holds, and would make
    /// the cloud believe that it has all: who told something since is asked from here.
    fn want_inventories(&mut self, since_ms: u64) -> Result<Vec<DeviceId>, StoreError> {
        let mut wanted = Vec::new();
        for device in self.enrolled()? {
            let mut facts = self.device_facts(device)?;
            let waits = self.mem.waiting.contains_key(&(tables::lane_key(Lane::State), device));
            let later =
                facts.inventory_ms != 0 && facts.inventory_ms + APPLIED_SLACK_MS >= since_ms;
            if waits || later {
                facts.ask();
                self.put_facts(device, &facts)?;
                wanted.push(device);
            }
        }
        if !wanted.is_empty() {
            tracing::warn!(
                devices = wanted.len(),
                "the cloud lost inventories; their computers are asked for them anew"
            );
        }
        Ok(wanted)
    }

    fn lost(
        &mut self,
        lane: Lane,
        count: u64,
        from_ms: u64,
        to_ms: u64,
        reason: &str,
    ) -> Result<(), StoreError> {
        let (from_ms, to_ms) = (from_ms.min(to_ms), to_ms);
        let gap = Gap { lane, count, from_ms, to_ms, reason: reason.to_owned() };
        self.append(Lane::Urgent, &UpRecord::Gap(DeviceGap { device: None, gap }))
    }

    /// Tells the cloud what this relay holds as of this commit. Inventory that waits
    /// brings the cloud up to date by itself, unless the cloud lost what that leans on;
    /// whoever is asked for all of it anyway does, too.
    pub(crate) fn tell_holds(&mut self, lost_state: bool) -> Result<(), StoreError> {
        let asks = self.mem.parts.compare.asks;
        let mut holds = SiteHolds { at_ms: self.now_ms, asks, ..SiteHolds::default() };
        holds.settings = self.site_settings()?;
        let revoked_tokens = std::mem::take(&mut holds.settings.revoked_tokens);
        holds.ahead = true;
        holds.shared = Some(Vec::new());
        let mut shared = Vec::new();
        for record in self.all_devices()? {
            if record.revoked {
                holds.revoked.push(record.device);
                continue;
            }
            holds.devices.push(record.device);
            let told = record.sharing.as_ref().map(|s| s.told(record.device, self.now_ms));
            shared.extend(told.map(UpRecord::Shared));
            if record.sharing.is_some() {
                holds.shared.get_or_insert_default().push(record.device);
            }
            holds.note_last(self.told(record.device)?.online);
            let facts = self.device_facts(record.device)?;
            let (told_ms, asked) = (facts.inventory_ms, facts.ask_inventory);
            let waits = (tables::lane_key(Lane::State), record.device);
            let says = lost_state || !self.mem.waiting.contains_key(&waits);
            if told_ms != 0 && !asked && says {
                holds.note_inventory(u32::try_from(told_ms / 1000).unwrap_or(u32::MAX));
            }
        }
        for (token, record) in self.newest_tokens(MAX_KNOWN)? {
            let revoked = record.revoked || revoked_tokens.contains(&token);
            holds.tokens.push(KnownToken { token, used: record.used, revoked });
        }
        holds.commands = self.live_commands()?;
        let most = holds.devices.len().max(holds.revoked.len()).max(holds.commands.len());
        let fits = |record: &UpRecord| Ok::<_, StoreError>(record.encode()?.len() <= MAX_RECORD);
        let mut record = UpRecord::Holds(Box::new(holds.clone()));
        if most <= MAX_HELD && !fits(&record)? {
            // Better the rest than nothing.
            (holds.ahead, holds.settings.cache_ahead) = (false, Vec::new());
            record = UpRecord::Holds(Box::new(holds.clone()));
        }
        if most <= MAX_HELD && fits(&record)? {
            self.append(Lane::Urgent, &record)?;
            return shared.iter().try_for_each(|told| self.append(Lane::Urgent, told));
        }
        tracing::warn!(most, "this relay holds more than one message can tell the cloud");
        let settings = SiteConfig {
            revision: holds.settings.revision,
            device: holds.settings.device,
            ui_pin_hash: holds.settings.ui_pin_hash,
            ..SiteConfig::default()
        };
        let cut = SiteHolds { at_ms: self.now_ms, settings, cut: true, ..SiteHolds::default() };
        self.append(Lane::Urgent, &UpRecord::Holds(Box::new(cut)))
    }

    /// The cloud lacks what devices told. Their columns are known here; their
    /// inventories are asked for, of those that are away when they come back.
    /// What is more than `room` takes waits until the cloud asks again, which it does.
    pub(crate) fn devices_tell_again(
        &mut self,
        again: &TellAgain,
        room: &mut TellRoom,
    ) -> Result<(), StoreError> {
        for (device, wanted) in again.columns() {
            if !self.tell_series(device, wanted, &mut room.told, TOLD_AT_ONCE)? {
                let bytes = room.told;
                tracing::warn!(bytes, "the cloud asks for more columns than are told at once");
                break;
            }
        }
        for device in &again.inventory {
            if self.device(*device)?.is_some_and(|known| !known.revoked) {
                let mut facts = self.device_facts(*device)?;
                facts.ask();
                self.put_facts(*device, &facts)?;
            }
        }
        Ok(())
    }

    /// Takes back what this disk has forgotten: devices that joined, uses of tokens.
    /// A device that is known stays as it is, above all a revoked one. Returns who had
    /// commands of which this disk did not know that they were handed out.
    pub(crate) fn take_known(&mut self, known: SiteKnown) -> Result<Vec<KnownCommand>, StoreError> {
        if known.answered {
            self.mem.parts.compare.asks = false;
        }
        for known in known.devices {
            if self.device(known.device)?.is_some() {
                continue;
            }
            tracing::info!(device = %known.device, "the cloud named a device that this disk had forgotten");
            let record = DeviceRecord::known(&known);
            self.put_device(record)?;
        }
        for known in known.tokens {
            let record = self.token(known.token)?;
            let used = record.used.max(known.used);
            self.put_token(known.token, TokenRecord { used, ..record })?;
            if known.revoked {
                self.revoke_token(known.token)?;
            }
        }
        let mut had = Vec::new();
        for known in known.had {
            if self.had_before(known)? {
                had.push(known);
            }
        }
        Ok(had)
    }
}

#[cfg(test)]
mod tests;
