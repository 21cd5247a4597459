//! Who still waits for what: the courier's plan, without I/O.

use super::Introduction;
use crate::inbox::{Loaded, NewCommand};
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap, HashSet, hash_map::Entry};
use unifyit_protocol::{
    compare::KnownCommand,
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
/// Running commands that a device names at most.
const MAX_NAMED: usize = 256;

#[derive(Debug, Default)]
struct Delivery {
    /// When and how often it went out; `None` before.
    sent: Option<(u64, u32)>,
    /// Whether the device answered.
    answered: bool,
    /// It said that it had started, and does not list it any more: it is asked what
    /// became of it, also after the expiry.
    doubted: bool,
    /// Nobody heard it say so: this disk forgot what it was handed, or never knew.
    unheard: bool,
    /// The device keeps it for later and need not get it again.
    held: bool,
}

/// What a device had of a command before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Had {
    /// It had started, by its own word, or by a guess where nobody heard it.
    Started { heard: bool },
    /// It was sent, and may have been lost.
    Sent,
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
    /// Devices that heed being told what they had before.
    heeding: HashSet<DeviceId>,
    /// Commands that are not handed out: this disk may be an older copy, and the
    /// cloud may know that they were.
    unsure: HashSet<CommandId>,
}

impl Plan {
    /// Takes up what the inbox holds and this plan lacks. Whether anything of it is
    /// open. At the start of the relay it is unsure who had it. Later on, a device that
    /// had something without this plan's knowledge is asked about it: by its own word,
    /// which then it says once more, or by the cloud's.
    pub(super) fn load(&mut self, loaded: Loaded, at_start: bool) -> bool {
        let Loaded { command, statuses } = loaded;
        let NewCommand { command: id, payload, expires_ms, unheard, .. } = command;
        let guessed: HashSet<DeviceId> = unheard.into_iter().collect();
        let open: Vec<_> = statuses.into_iter().filter(|(_, s)| !s.is_final()).collect();
        let known = match self.commands.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if open.is_empty() => return false,
            Entry::Vacant(place) => {
                if at_start {
                    self.unsure.insert(id);
                }
                place.insert(Command { payload, expires_ms, open: HashMap::new() })
            }
        };
        for (device, status) in open {
            let answered = status == Status::Running;
            let unheard = answered && guessed.contains(&device);
            match known.open.entry(device) {
                Entry::Vacant(place) => {
                    let sent = (status == Status::Sent).then_some((0, 0));
                    let doubted = answered && !at_start;
                    place.insert(Delivery { sent, answered, doubted, unheard, held: false });
                    if doubted || !answered {
                        self.by_device.entry(device).or_default().insert(id);
                    }
                }
                Entry::Occupied(known) if answered && !known.get().answered => {
                    let known = known.into_mut();
                    (known.answered, known.doubted, known.unheard) = (true, true, unheard);
                }
                Entry::Occupied(_) => {}
            }
        }
        true
    }

    /// The commands of this plan.
    pub(super) fn commands(&self) -> HashSet<CommandId> {
        self.commands.keys().copied().collect()
    }

    /// Whether anything waits for the cloud's word on what was handed out.
    pub(super) fn is_unsure(&self) -> bool {
        !self.unsure.is_empty()
    }

    /// What the inbox held at start may go out.
    pub(super) fn sure(&mut self) {
        self.unsure = HashSet::new();
    }

    /// A device had a command in a time that this disk lost: it is asked what became
    /// of it.
    pub(super) fn had_before(&mut self, known: KnownCommand) {
        let KnownCommand { command: id, device, started } = known;
        let command = self.commands.get_mut(&id);
        let Some(delivery) = command.and_then(|c| c.open.get_mut(&device)) else { return };
        (delivery.answered, delivery.doubted, delivery.unheard) = (true, true, !started);
        self.by_device.entry(device).or_default().insert(id);
    }

    /// Takes up a command. The devices for which it was not known: the inbox may have
    /// been read between its commit and this word of it.
    pub(super) fn add(&mut self, command: NewCommand) -> Vec<DeviceId> {
        let NewCommand { command, payload, expires_ms, devices, handed, unheard } = command;
        let fresh = || Command { payload, expires_ms, open: HashMap::new() };
        let known = self.commands.entry(command).or_insert_with(fresh);
        let mut added = Vec::with_capacity(devices.len());
        for device in devices {
            let had = handed.contains(&device);
            if known.open.contains_key(&device) && !had {
                continue;
            }
            let unheard = had && unheard.contains(&device);
            let delivery = Delivery { answered: had, doubted: had, unheard, ..Delivery::default() };
            known.open.insert(device, delivery);
            self.by_device.entry(device).or_default().insert(command);
            added.push(device);
        }
        added
    }

    /// Commands that were taken up did not become durable.
    pub(super) fn undone(&mut self, commands: &[CommandId]) {
        for id in commands {
            for device in self.commands.remove(id).into_iter().flat_map(|c| c.open.into_keys()) {
                self.settle(device, *id);
            }
        }
    }

    /// A device said what runs on it. What it had started and does not list is in
    /// doubt: its report may be on the way, so it is asked a little later.
    pub(super) fn introduced(&mut self, device: DeviceId, said: &Introduction, now_ms: u64) {
        if said.heeds_handed {
            self.heeding.insert(device);
        } else {
            self.heeding.remove(&device);
        }
        // A device names so many at most; then nothing follows from what it leaves out.
        let complete = said.running.len() < MAX_NAMED;
        let running: HashSet<CommandId> = said.running.iter().copied().collect();
        for (id, command) in &mut self.commands {
            let Some(delivery) = command.open.get_mut(&device) else { continue };
            delivery.held = false;
            if !delivery.answered {
                continue;
            }
            let runs = running.contains(id);
            let commands = self.by_device.entry(device).or_default();
            if runs {
                (delivery.doubted, delivery.unheard) = (false, false);
                commands.remove(id);
            } else if complete && said.heeds_handed {
                delivery.doubted = true;
                delivery.sent = Some((now_ms, 1));
                commands.insert(*id);
            }
        }
        if self.by_device.get(&device).is_some_and(BTreeSet::is_empty) {
            self.by_device.remove(&device);
        }
    }

    /// A device keeps commands for later.
    pub(super) fn holds(&mut self, device: DeviceId, commands: &[CommandId]) {
        for id in commands {
            let command = self.commands.get_mut(id);
            if let Some(delivery) = command.and_then(|c| c.open.get_mut(&device)) {
                delivery.held = true;
            }
        }
    }

    /// A device is out. Those of its commands that are done on all their devices.
    pub(super) fn revoked(&mut self, device: DeviceId) -> Vec<CommandId> {
        let mut finished = Vec::new();
        for (id, command) in &mut self.commands {
            if command.open.remove(&device).is_some() && command.open.is_empty() {
                finished.push(*id);
            }
        }
        for id in &finished {
            self.commands.remove(id);
        }
        self.by_device.remove(&device);
        self.heeding.remove(&device);
        finished
    }

    /// Commands that are open for a device, also those that it has answered.
    pub(super) fn held_for(&self, device: DeviceId) -> Vec<CommandId> {
        let open = self.commands.iter().filter(|(_, command)| command.open.contains_key(&device));
        open.map(|(id, _)| *id).collect()
    }

    /// Devices for which something is open.
    pub(super) fn devices(&self) -> HashSet<DeviceId> {
        self.commands.values().flat_map(|command| command.open.keys().copied()).collect()
    }

    /// What a device has not answered.
    pub(super) fn open_for(&self, device: DeviceId) -> Vec<(DeviceId, CommandId)> {
        let commands = self.by_device.get(&device).into_iter().flatten();
        let unanswered = commands.filter(|id| {
            let command = self.commands.get(id);
            command.and_then(|c| c.open.get(&device)).is_some_and(|d| !d.answered)
        });
        unanswered.map(|command| (device, *command)).collect()
    }

    /// What to hand out, as long as it may be: to start until its expiry, to be
    /// asked about for ever.
    pub(super) fn payload(
        &self,
        device: DeviceId,
        command: CommandId,
        now_ms: u64,
    ) -> Option<Bytes> {
        let known = self.commands.get(&command)?;
        self.may_go(device, (command, known), now_ms).then(|| known.payload.clone())
    }

    fn may_go(&self, device: DeviceId, (id, command): (CommandId, &Command), now_ms: u64) -> bool {
        command.open.get(&device).is_some_and(|delivery| {
            if delivery.doubted {
                !delivery.held && self.heeding.contains(&device)
            } else {
                !delivery.answered
                    && !delivery.held
                    && !self.unsure.contains(&id)
                    && now_ms < command.expires_ms
            }
        })
    }

    /// What a device had of a command before.
    pub(super) fn had(&self, device: DeviceId, command: CommandId) -> Option<Had> {
        let delivery = self.commands.get(&command)?.open.get(&device)?;
        match (delivery.doubted, delivery.sent) {
            (true, _) => Some(Had::Started { heard: !delivery.unheard }),
            (false, Some(_)) => Some(Had::Sent),
            (false, None) => None,
        }
    }

    /// Whether a device has said nothing of a command that is open.
    pub(super) fn is_unanswered(&self, device: DeviceId, command: CommandId) -> bool {
        let delivery = self.commands.get(&command).and_then(|c| c.open.get(&device));
        delivery.is_some_and(|delivery| !delivery.answered)
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
                (delivery.answered, delivery.doubted, delivery.unheard) = (true, false, false);
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
                let Some(command) = self.commands.get(id) else { continue };
                let Some(delivery) = command.open.get(device) else { continue };
                if !self.may_go(*device, (*id, command), now_ms) {
                    continue;
                }
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
