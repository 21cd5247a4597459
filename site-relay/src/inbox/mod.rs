//! The inbox: commands from the cloud and how each fares on each device.
//!
//! A command is durable here before the cloud's lane is acknowledged (G1). A
//! delivery row a device says where it stands; the fan-out repeats what a device
//! has not answered, the device's guard sees to it that it runs once (G3). The
//! id stays known until the command's expiry, so that a repeat of the record is
//! recognised even when everything is done.

mod recent;
mod rows;

pub use recent::CommandView;

use crate::store::{StoreError, rows as stored, tables, txn::Txn};
use redb::{ReadTransaction, ReadableTable};
use rows::{COMMANDS, CommandRecord, DELIVERIES, GUESSED, status_byte, status_of};
use std::collections::HashSet;
use unifyit_protocol::{
    compare::KnownCommand,
    ids::{CommandId, DeviceId},
    lan::Deliver,
    link::{DeliverCommand, Progress},
    outcome::{CommandEvent, Status},
};

/// Live commands kept at most (G10).
pub(crate) const MAX_COMMANDS: usize = 4096;
/// How long after its expiry a finished command is remembered.
const KEEP_DONE_MS: u64 = 3_600_000;
/// How long after its expiry a command is remembered whose devices never said
/// how it ended.
const KEEP_OPEN_MS: u64 = 31 * 24 * 3_600_000;
/// Finished commands forgotten in one commit at most.
const MAX_PRUNED: usize = 64;

/// The inbox, as a part of the store.
pub(crate) struct Inbox;

/// A command that was stored in the inbox.
#[derive(Debug, Clone)]
pub(crate) struct NewCommand {
    /// Its id.
    pub(crate) command: CommandId,
    /// What devices get.
    pub(crate) payload: bytes::Bytes,
    /// Not to be delivered from then on.
    pub(crate) expires_ms: u64,
    /// To whom.
    pub(crate) devices: Vec<DeviceId>,
    /// Those of them that had it before, in a time of which this disk knows nothing.
    pub(crate) handed: Vec<DeviceId>,
    /// Those of `handed` of whom nobody heard that they had started it.
    pub(crate) unheard: Vec<DeviceId>,
}

/// A command of the inbox with its deliveries, as read at start.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    /// The command.
    pub(crate) command: NewCommand,
    /// Where it stands, by device.
    pub(crate) statuses: Vec<(DeviceId, Status)>,
}

/// Reads what is not finished, oldest first.
pub(crate) fn load(tx: &ReadTransaction) -> Result<Vec<Loaded>, StoreError> {
    load_beside(tx, &HashSet::new())
}

/// As [`load`], without the content of commands that are known: all of it is of any
/// size.
pub(crate) fn load_beside(
    tx: &ReadTransaction,
    known: &HashSet<CommandId>,
) -> Result<Vec<Loaded>, StoreError> {
    let deliveries = tx.open_table(DELIVERIES)?;
    let mut all = Vec::new();
    for row in tx.open_table(COMMANDS)?.range::<u128>(..)? {
        let (key, value) = row?;
        let record: Option<CommandRecord> = stored::read("commands", value.value());
        let Some(record) = record.filter(|r| r.done_ms == 0) else { continue };
        let id = key.value();
        let (mut statuses, mut unheard) = (Vec::new(), Vec::new());
        for row in deliveries.range((id, 0)..=(id, u128::MAX))? {
            let (key, value) = row?;
            let (device, (status, at)) = (tables::device_of(key.value().1), value.value());
            statuses.push((device, status_of(status)));
            if at & GUESSED != 0 {
                unheard.push(device);
            }
        }
        let command = CommandId(uuid::Uuid::from_u128(id));
        let payload = if known.contains(&command) { Vec::new() } else { record.payload };
        let command = NewCommand {
            command,
            payload: payload.into(),
            expires_ms: record.expires_ms,
            devices: statuses.iter().map(|(device, _)| *device).collect(),
            handed: Vec::new(),
            unheard,
        };
        all.push((record.received_ms, Loaded { command, statuses }));
    }
    all.sort_by_key(|(received, _)| *received);
    Ok(all.into_iter().map(|(_, loaded)| loaded).collect())
}

impl Txn<'_> {
    /// Stores a command for its devices. `None` when it is known already or has
    /// nobody to go to. Devices that had it before, in a time that this disk lost,
    /// are asked what became of it, also after its expiry.
    pub(crate) fn take_command(
        &mut self,
        deliver: DeliverCommand,
    ) -> Result<Option<NewCommand>, StoreError> {
        let DeliverCommand { command, devices, expires_ms, signed, mut handed, unheard } = deliver;
        if self.command(command)?.is_some() {
            self.tell_again(command, &devices)?;
            return Ok(None);
        }
        let wanted = if devices.is_empty() { self.enrolled()? } else { devices };
        let full = self.mem.parts.inbox.commands >= MAX_COMMANDS;
        let mut targets = Vec::with_capacity(wanted.len());
        for device in wanted {
            let known = self.device(device)?.is_some_and(|d| !d.revoked);
            if known && handed.contains(&device) {
                targets.push(device);
            } else if expires_ms <= self.now_ms {
                self.told_by_relay(device, command, Status::Expired, None);
            } else if !known {
                let reason = "The device is not enrolled at this site.";
                self.told_by_relay(device, command, Status::Refused, Some(reason));
            } else if full {
                let reason = "The site relay holds too many unfinished commands.";
                self.told_by_relay(device, command, Status::Refused, Some(reason));
            } else {
                targets.push(device);
            }
        }
        if targets.is_empty() {
            return Ok(None);
        }
        let payload = Deliver::Command(signed).encode()?;
        let record = CommandRecord { expires_ms, received_ms: self.now_ms, payload, done_ms: 0 };
        self.put_command(command, &record)?;
        self.mem.parts.inbox.commands += 1;
        let now_ms = self.now_ms;
        for device in &targets {
            let key = (command.0.as_u128(), tables::device_key(*device));
            let had = handed.contains(device);
            let status = if had { Status::Running } else { Status::Pending };
            let guessed = if had && unheard.contains(device) { GUESSED } else { 0 };
            self.deliveries()?.insert(key, (status_byte(status), now_ms | guessed))?;
        }
        let payload = record.payload.into();
        handed.retain(|device| targets.contains(device));
        Ok(Some(NewCommand { command, payload, expires_ms, devices: targets, handed, unheard }))
    }

    /// The cloud sends a command that is known here: it was restored from an older
    /// copy and asks how the command fares. Only the states are remembered; of a guess,
    /// that it was sent, or it would come back as the cloud's own word.
    fn tell_again(&mut self, command: CommandId, devices: &[DeviceId]) -> Result<(), StoreError> {
        for device in devices {
            let key = (command.0.as_u128(), tables::device_key(*device));
            let status = self.deliveries()?.get(key)?.map(|row| match row.value() {
                (_, at) if at & GUESSED != 0 => Status::Sent,
                (status, _) => status_of(status),
            });
            if let Some(status) = status.filter(|s| *s != Status::Pending) {
                let reason = status.is_final().then_some(
                    "The cloud was restored from an older copy; of this result only the state is known.",
                );
                self.told_by_relay(*device, command, status, reason);
            }
        }
        Ok(())
    }

    /// A device had a command, as the cloud was told in a time that this disk lost. It
    /// is asked what became of it. Whether that was unknown here, or known as a guess.
    pub(crate) fn had_before(&mut self, known: KnownCommand) -> Result<bool, StoreError> {
        let KnownCommand { command, device, started } = known;
        let key = (command.0.as_u128(), tables::device_key(device));
        let guessed = self.deliveries()?.get(key)?.is_some_and(|row| row.value().1 & GUESSED != 0);
        let unknown = |here| matches!(here, Status::Pending | Status::Sent) || guessed && started;
        let had = self.step(command, device, Status::Running, unknown)?;
        if had && !started {
            let at = self.now_ms | GUESSED;
            self.deliveries()?.insert(key, (status_byte(Status::Running), at))?;
        }
        Ok(had)
    }

    /// Commands that are not finished.
    pub(crate) fn live_commands(&mut self) -> Result<Vec<CommandId>, StoreError> {
        let mut live = Vec::new();
        for row in self.commands()?.range::<u128>(..)? {
            let (key, value) = row?;
            let record = stored::read::<CommandRecord>("commands", value.value());
            if record.is_some_and(|r| r.done_ms == 0) {
                live.push(CommandId(uuid::Uuid::from_u128(key.value())));
            }
        }
        Ok(live)
    }

    /// A command went out to devices: tells the cloud once.
    pub(crate) fn mark_sent(
        &mut self,
        command: CommandId,
        devices: &[DeviceId],
    ) -> Result<(), StoreError> {
        for device in devices {
            if self.step(command, *device, Status::Sent, |s| s == Status::Pending)? {
                self.told_by_relay(*device, command, Status::Sent, None);
            }
        }
        Ok(())
    }

    /// A device reported on a command: passes it on, also for a command that the
    /// inbox does not know (a terminal, or one from before a restored disk).
    pub(crate) fn device_event(
        &mut self,
        device: DeviceId,
        event: CommandEvent,
    ) -> Result<(), StoreError> {
        // An end that was put in for want of an answer gives way to the device's own
        // word, and nothing that is told again takes an end back.
        let ends = event.status.is_final();
        self.step(event.command, device, event.status, |present| ends || !present.is_final())?;
        self.report_progress(Progress { device, event });
        Ok(())
    }

    /// The command's time is over for devices that did not start it. Returns
    /// them.
    pub(crate) fn expire(
        &mut self,
        command: CommandId,
        devices: &[DeviceId],
    ) -> Result<Vec<DeviceId>, StoreError> {
        let mut expired = Vec::new();
        for device in devices {
            let key = (command.0.as_u128(), tables::device_key(*device));
            let sent = self.deliveries()?.get(key)?.map(|row| status_of(row.value().0));
            let unanswered = |s| matches!(s, Status::Pending | Status::Sent);
            if self.step(command, *device, Status::Expired, unanswered)? {
                let reason = match sent {
                    Some(Status::Sent) => {
                        "It was sent to the device, which has not answered. Should it have started \
                         in time, its outcome follows."
                    }
                    _ => "The device was not online in time.",
                };
                self.told_by_relay(*device, command, Status::Expired, Some(reason));
                expired.push(*device);
            }
        }
        Ok(expired)
    }

    /// A device is out and says nothing any more: ends what was open on it.
    pub(crate) fn end_revoked(
        &mut self,
        device: DeviceId,
        commands: &[CommandId],
    ) -> Result<(), StoreError> {
        for command in commands {
            let key = (command.0.as_u128(), tables::device_key(device));
            let from = self.deliveries()?.get(key)?.map(|row| status_of(row.value().0));
            let (status, reason) = match from {
                Some(Status::Pending) => {
                    (Status::Refused, "The device was revoked before it was handed the command.")
                }
                Some(Status::Sent | Status::Running) => (
                    Status::Indeterminate,
                    "The device was revoked before it said what became of the command. If it runs, \
                     it may go on there until its time limit.",
                ),
                _ => continue,
            };
            if self.step(*command, device, status, |present| !present.is_final())? {
                self.told_by_relay(device, *command, status, Some(reason));
            }
        }
        Ok(())
    }

    /// Lets go of a command's content when no device has anything left to say.
    pub(crate) fn finish_command(&mut self, command: CommandId) -> Result<(), StoreError> {
        let Some(mut record) = self.command(command)?.filter(|r| r.done_ms == 0) else {
            return Ok(());
        };
        let id = command.0.as_u128();
        for row in self.deliveries()?.range((id, 0)..=(id, u128::MAX))? {
            if !status_of(row?.1.value().0).is_final() {
                return Ok(());
            }
        }
        record.payload = Vec::new();
        record.done_ms = self.now_ms;
        self.mem.parts.inbox.commands = self.mem.parts.inbox.commands.saturating_sub(1);
        self.put_command(command, &record)
    }

    /// Forgets commands whose time is long over. Returns them.
    pub(crate) fn prune_inbox(&mut self) -> Result<Vec<CommandId>, StoreError> {
        let now_ms = self.now_ms;
        let mut gone = Vec::new();
        for row in self.commands()?.range::<u128>(..)? {
            let (key, value) = row?;
            let Some(record) = stored::read::<CommandRecord>("commands", value.value()) else {
                continue;
            };
            let keep = if record.done_ms == 0 { KEEP_OPEN_MS } else { KEEP_DONE_MS };
            if record.expires_ms.max(record.done_ms).saturating_add(keep) <= now_ms {
                gone.push((key.value(), record.done_ms == 0));
            }
            if gone.len() >= MAX_PRUNED {
                break;
            }
        }
        for (id, open) in &gone {
            self.commands()?.remove(id)?;
            self.deliveries()?.retain_in((*id, 0)..=(*id, u128::MAX), |_, _| false)?;
            self.mem.parts.inbox.commands =
                self.mem.parts.inbox.commands.saturating_sub(usize::from(*open));
        }
        Ok(gone.into_iter().map(|(id, _)| CommandId(uuid::Uuid::from_u128(id))).collect())
    }

    /// Moves a delivery, when there is one that may move.
    fn step(
        &mut self,
        command: CommandId,
        device: DeviceId,
        to: Status,
        may: impl FnOnce(Status) -> bool,
    ) -> Result<bool, StoreError> {
        let key = (command.0.as_u128(), tables::device_key(device));
        let now_ms = self.now_ms;
        let table = self.deliveries()?;
        let Some(from) = table.get(key)?.map(|row| status_of(row.value().0)) else {
            return Ok(false);
        };
        if !may(from) {
            return Ok(false);
        }
        table.insert(key, (status_byte(to), now_ms))?;
        Ok(true)
    }

    fn told_by_relay(
        &mut self,
        device: DeviceId,
        command: CommandId,
        status: Status,
        reason: Option<&str>,
    ) {
        self.report_progress(Progress {
            device,
            event: CommandEvent {
                command,
                status,
                at_ms: self.now_ms,
                exit_code: None,
                reason: reason.map(str::to_owned),
                output_len: 0,
                output_cut: 0,
            },
        });
    }
}
