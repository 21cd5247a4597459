//! Who still waits for what: the courier's plan, without I/O.

use crate::store::{inbox::Loaded, txn::NewCommand};
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap};
use unifyit_protocol::{
    ids::{CommandId, DeviceId},
    outcome::Status,
};

/// A device that was handed a command and stays silent gets it again after
/// this, then after twice as long, and so on.
const REPEAT_MS: u64 = 5_000;
/// Longest pause between two repeats.
const REPEAT_MAX_MS: u64 = 60_000;
/// A device that was handed a command before its expiry may report this much
/// later before the command counts as expired: it may have started in time.
const ANSWER_GRACE_MS: u64 = 30_000;

#[derive(Debug)]
struct Delivery {
    /// When and how often it went out; `None` before.
    sent: Option<(u64, u32)>,
    /// Whether the device answered.
    answered: bool,
}

#[derive(Debug)]
struct Command {
    payload: Bytes,
    expires_ms: u64,
    /// Deliveries that are not final.
    open: HashMap<DeviceId, Delivery>,
}

/// The plan.
#[derive(Debug, Default)]
pub(super) struct Plan {
    commands: HashMap<CommandId, Command>,
    /// Commands of each device that it has not answered, oldest first.
    by_device: HashMap<DeviceId, BTreeSet<CommandId>>,
}

impl Plan {
    /// Takes up what the inbox held at start.
    pub(super) fn load(&mut self, loaded: Loaded) {
        let Loaded { command, statuses } = loaded;
        let id = command.command;
        let open: HashMap<_, _> = statuses
            .into_iter()
            .filter(|(_, status)| !status.is_final())
            .map(|(device, status)| {
                let sent = (status == Status::Sent).then_some((0, 0));
                (device, Delivery { sent, answered: status == Status::Running })
            })
            .collect();
        for (device, _) in open.iter().filter(|(_, d)| !d.answered) {
            self.by_device.entry(*device).or_default().insert(id);
        }
        let NewCommand { payload, expires_ms, .. } = command;
        self.commands.insert(id, Command { payload, expires_ms, open });
    }

    /// Takes up a command.
    pub(super) fn add(&mut self, command: NewCommand) {
        let NewCommand { command, payload, expires_ms, devices } = command;
        for device in &devices {
            self.by_device.entry(*device).or_default().insert(command);
        }
        let fresh = |device| (device, Delivery { sent: None, answered: false });
        let open = devices.into_iter().map(fresh).collect();
        self.commands.insert(command, Command { payload, expires_ms, open });
    }

    /// What a device has not answered.
    pub(super) fn open_for(&self, device: DeviceId) -> Vec<(DeviceId, CommandId)> {
        let commands = self.by_device.get(&device).into_iter().flatten();
        commands.map(|command| (device, *command)).collect()
    }

    /// What to hand out, as long as it may be.
    pub(super) fn payload(&self, command: CommandId, now_ms: u64) -> Option<Bytes> {
        let command = self.commands.get(&command).filter(|c| now_ms < c.expires_ms)?;
        Some(command.payload.clone())
    }

    /// It went out. Whether for the first time.
    pub(super) fn sent(&mut self, device: DeviceId, command: CommandId, now_ms: u64) -> bool {
        let command = self.commands.get_mut(&command);
        let Some(delivery) = command.and_then(|c| c.open.get_mut(&device)) else { return false };
        let first = delivery.sent.is_none();
        let times = delivery.sent.map_or(0, |(_, times)| times);
        delivery.sent = Some((now_ms, times.saturating_add(1)));
        first
    }

    /// Devices reported. Commands that are done on all of theirs.
    pub(super) fn answered(&mut self, reports: &[(DeviceId, CommandId, Status)]) -> Vec<CommandId> {
        let mut finished = Vec::new();
        for (device, id, status) in reports {
            self.settle(*device, *id);
            let Some(command) = self.commands.get_mut(id) else { continue };
            if status.is_final() {
                command.open.remove(device);
            } else if let Some(delivery) = command.open.get_mut(device) {
                delivery.answered = true;
            }
            if command.open.is_empty() {
                self.commands.remove(id);
                finished.push(*id);
            }
        }
        finished
    }

    /// Deliveries whose time is over, by command.
    pub(super) fn expired(&mut self, now_ms: u64) -> Vec<(CommandId, Vec<DeviceId>)> {
        let mut all = Vec::new();
        for (id, command) in &mut self.commands {
            if now_ms < command.expires_ms {
                continue;
            }
            let late = now_ms >= command.expires_ms.saturating_add(ANSWER_GRACE_MS);
            let over = |d: &Delivery| !d.answered && (d.sent.is_none() || late);
            let devices: Vec<DeviceId> =
                command.open.iter().filter(|(_, d)| over(d)).map(|(device, _)| *device).collect();
            if !devices.is_empty() {
                command.open.retain(|_, d| !over(d));
                all.push((*id, devices));
            }
        }
        for (id, devices) in &all {
            for device in devices {
                self.settle(*device, *id);
            }
            if self.commands.get(id).is_some_and(|c| c.open.is_empty()) {
                self.commands.remove(id);
            }
        }
        all
    }

    /// Deliveries without an answer that are due to go out (again).
    pub(super) fn silent(&self, now_ms: u64) -> Vec<(DeviceId, CommandId)> {
        let mut due = Vec::new();
        for (device, commands) in &self.by_device {
            for id in commands {
                let command = self.commands.get(id).filter(|c| now_ms < c.expires_ms);
                let Some(delivery) = command.and_then(|c| c.open.get(device)) else { continue };
                let wait = |times: u32| (REPEAT_MS << times.clamp(1, 5) >> 1).min(REPEAT_MAX_MS);
                // What went out later than now went out before the time was set back.
                let late = |(at, times): (u64, u32)| at + wait(times) <= now_ms || at > now_ms;
                if delivery.sent.is_none_or(late) {
                    due.push((*device, *id));
                }
            }
        }
        due
    }

    /// Deliveries without an answer.
    pub(super) fn waiting(&self) -> usize {
        self.by_device.values().map(BTreeSet::len).sum()
    }

    fn settle(&mut self, device: DeviceId, command: CommandId) {
        if let Some(commands) = self.by_device.get_mut(&device) {
            commands.remove(&command);
            if commands.is_empty() {
                self.by_device.remove(&device);
            }
        }
    }
}
