//! What a relay holds and what the cloud knows, compared at the start of each epoch.
//!
//! Either side may be put back to an older copy of itself, and then neither lanes
//! nor acknowledgements say what it forgot. So a relay that starts, or that sees
//! the other side in a new epoch, tells in [`SiteHolds`] what it holds; the cloud
//! takes from it what it lacks itself (revocations, newer settings, presence) and
//! sends what the relay lacks: settings, revocations, open commands, and in
//! [`SiteKnown`] the devices that joined after the copy was made.

use crate::{
    config::SiteConfig,
    ids::{CommandId, DeviceId, TokenId},
};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// Most ids of one kind in [`SiteHolds`]: more than a site may have devices.
pub const MAX_HELD: usize = 22_000;
/// Most entries of one [`SiteKnown`].
pub const MAX_KNOWN: usize = 1_000;

/// What a relay holds, as of one commit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SiteHolds {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// Settings that hold, without lists that the cloud alone makes.
    pub settings: SiteConfig,
    /// Devices that are enrolled and not revoked.
    #[serde(deserialize_with = "crate::codec::at_most::<MAX_HELD, _, _>")]
    pub devices: Vec<DeviceId>,
    /// A bit for each of `devices`, lowest first: whether the cloud was told that it
    /// is connected.
    #[serde(with = "serde_bytes")]
    pub online: Vec<u8>,
    /// Devices that are kept out.
    #[serde(deserialize_with = "crate::codec::at_most::<MAX_HELD, _, _>")]
    pub revoked: Vec<DeviceId>,
    /// Install tokens that were used or revoked, the newest ones.
    #[serde(deserialize_with = "crate::codec::at_most::<MAX_KNOWN, _, _>")]
    pub tokens: Vec<KnownToken>,
    /// Commands that are not finished.
    #[serde(deserialize_with = "crate::codec::at_most::<MAX_HELD, _, _>")]
    pub commands: Vec<CommandId>,
    /// When each of `devices` last told of its inventory, four bytes each: Unix seconds,
    /// highest byte first. 0 where that is not known or still on its way to the cloud.
    #[serde(with = "serde_bytes", skip_serializing_if = "Vec::is_empty")]
    pub inventory: Vec<u8>,
    /// Whether `settings` has the files that the cache is to have ready.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ahead: bool,
    /// Devices whose identity several computers use. None from a relay that does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<Vec<DeviceId>>,
    /// Whether this disk is an older copy, and waits with commands of which it does not
    /// know whether they were handed out since: [`SiteKnown::had`] is to say so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub asks: bool,
    /// The lists did not fit and say nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

impl SiteHolds {
    /// The devices that the cloud was told to be connected.
    pub fn connected(&self) -> impl Iterator<Item = DeviceId> {
        let bit = |n: usize| self.online.get(n / 8).is_some_and(|byte| byte >> (n % 8) & 1 == 1);
        self.devices.iter().enumerate().filter(move |(n, _)| bit(*n)).map(|(_, device)| *device)
    }

    /// When devices last told of their inventory, where that is known.
    pub fn inventories(&self) -> impl Iterator<Item = (DeviceId, u32)> {
        let told = self.inventory.as_chunks::<4>().0.iter().map(|bytes| u32::from_be_bytes(*bytes));
        self.devices.iter().copied().zip(told).filter(|(_, seconds)| *seconds != 0)
    }

    /// Notes when the last of `devices` told of its inventory.
    pub fn note_inventory(&mut self, seconds: u32) {
        self.inventory.resize(self.devices.len().saturating_sub(1) * 4, 0);
        self.inventory.extend(seconds.to_be_bytes());
    }

    /// Takes over when `devices` told of their inventory from an earlier word, where that
    /// says it and this one does not, or not so late.
    pub fn remember_inventories(&mut self, earlier: &Self) {
        let mut told: HashMap<DeviceId, u32> = earlier.inventories().collect();
        if told.is_empty() {
            return;
        }
        for (device, seconds) in self.inventories() {
            let known = told.entry(device).or_default();
            *known = seconds.max(*known);
        }
        let seconds = |device| told.get(device).copied().unwrap_or_default();
        self.inventory = self.devices.iter().flat_map(|d| seconds(d).to_be_bytes()).collect();
    }

    /// Drops what is said of other devices than these.
    pub fn keep_devices(&mut self, own: &HashSet<DeviceId>) {
        if self.devices.iter().all(|device| own.contains(device)) {
            return;
        }
        let online: HashSet<DeviceId> = self.connected().collect();
        let told: HashMap<DeviceId, u32> = self.inventories().collect();
        let devices = std::mem::take(&mut self.devices);
        (self.online, self.inventory) = (Vec::new(), Vec::new());
        for device in devices.into_iter().filter(|device| own.contains(device)) {
            self.devices.push(device);
            self.note_last(online.contains(&device));
            if let Some(seconds) = told.get(&device) {
                self.note_inventory(*seconds);
            }
        }
    }

    /// Notes whether the last of `devices` is connected.
    pub fn note_last(&mut self, online: bool) {
        let Some(n) = self.devices.len().checked_sub(1) else { return };
        self.online.resize(n / 8 + 1, 0);
        if let Some(byte) = self.online.last_mut().filter(|_| online) {
            *byte |= 1 << (n % 8);
        }
    }
}

/// What the cloud knows and a relay lacks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SiteKnown {
    /// Devices that joined through this relay and are not revoked.
    #[serde(deserialize_with = "crate::codec::at_most::<MAX_KNOWN, _, _>")]
    pub devices: Vec<KnownDevice>,
    /// Uses of install tokens.
    #[serde(deserialize_with = "crate::codec::at_most::<MAX_KNOWN, _, _>")]
    pub tokens: Vec<KnownToken>,
    /// What devices had of commands that the relay holds as open.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::codec::at_most::<MAX_KNOWN, _, _>"
    )]
    pub had: Vec<KnownCommand>,
    /// Nothing follows any more of what [`SiteHolds::asks`] asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub answered: bool,
}

/// A command that a device was handed, as the cloud was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownCommand {
    /// The command.
    pub command: CommandId,
    /// Who had it.
    pub device: DeviceId,
    /// Whether it is known to have started, or to have ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub started: bool,
}

/// What devices are to tell once more, whole: the cloud lacks it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TellAgain {
    /// Of these the inventory.
    #[serde(deserialize_with = "crate::codec::at_most::<MAX_KNOWN, _, _>")]
    pub inventory: Vec<DeviceId>,
    /// Of these the columns of their measurements.
    #[serde(deserialize_with = "crate::codec::at_most::<MAX_KNOWN, _, _>")]
    pub series: Vec<DeviceId>,
    /// Which columns of each of `series`, by the hash of their table. All that are
    /// known, from a cloud that does not say.
    #[serde(
        deserialize_with = "crate::codec::at_most::<MAX_KNOWN, _, _>",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub tables: Vec<u32>,
}

impl TellAgain {
    /// Whose columns are wanted, and which, where that is said.
    pub fn columns(&self) -> impl Iterator<Item = (DeviceId, Option<u32>)> {
        let said = self.tables.len() == self.series.len();
        let table = move |n: usize| self.tables.get(n).copied().filter(|_| said);
        self.series.iter().enumerate().map(move |(n, device)| (*device, table(n)))
    }
}

/// A device that joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownDevice {
    /// Its id.
    pub device: DeviceId,
    /// Host name, as last told.
    pub hostname: String,
    /// Version of the agent, as last told.
    pub version: String,
    /// First enrolment, Unix milliseconds.
    pub enrolled_ms: u64,
}

/// How an install token stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownToken {
    /// The token.
    pub token: TokenId,
    /// Devices that joined with it.
    pub used: u32,
    /// Whether it is out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_a_device_says_who_is_connected() {
        let mut holds = SiteHolds::default();
        let mut expected = Vec::new();
        for n in 0..20u32 {
            let device = DeviceId::generate();
            holds.devices.push(device);
            holds.note_last(n % 3 == 0);
            if n % 3 == 0 {
                expected.push(device);
            }
        }
        assert_eq!(holds.connected().collect::<Vec<_>>(), expected);
        assert_eq!(holds.inventories().count(), 0);
        holds.note_inventory(7);
        assert_eq!(holds.inventories().collect::<Vec<_>>(), [(holds.devices[19], 7)]);
        holds.online.truncate(1);
        assert!(holds.connected().count() <= 8, "a short list says nothing of the rest");
    }

    #[test]
    fn a_later_word_keeps_what_only_an_earlier_one_says_of_inventories() {
        let [a, b, gone, c] = [(); 4].map(|()| DeviceId::generate());
        let told = |of: &[(DeviceId, u32)]| {
            let mut holds = SiteHolds::default();
            for (device, seconds) in of {
                holds.devices.push(*device);
                holds.note_inventory(*seconds);
            }
            holds
        };
        let mut later = told(&[(c, 7), (b, 30), (a, 0)]);
        later.remember_inventories(&told(&[(a, 10), (b, 20), (c, 8), (gone, 5)]));
        assert_eq!(later, told(&[(c, 8), (b, 30), (a, 10)]));
        later.remember_inventories(&SiteHolds::default());
        assert_eq!(later.inventories().count(), 3);
    }

    #[test]
    fn what_a_relay_says_of_strangers_is_dropped_and_the_rest_stays_each_ones_own() {
        let [a, foreign, b] = [(); 3].map(|()| DeviceId::generate());
        let mut told = SiteHolds::default();
        for (device, seconds) in [(a, 10), (foreign, 20), (b, 30)] {
            told.devices.push(device);
            told.note_last(device == b);
            told.note_inventory(seconds);
        }
        told.keep_devices(&HashSet::from([a, b]));
        assert_eq!(told.devices, [a, b]);
        assert_eq!(told.connected().collect::<Vec<_>>(), [b]);
        assert_eq!(told.inventories().collect::<Vec<_>>(), [(a, 10), (b, 30)]);
    }
}
