//! The newest load of every device of a site, as lists show it, once a minute.
//!
//! ```text
//! relay: Teller ─► Newest (a frame, not durable) ─► cloud: Listener
//! ```
//!
//! Measurements travel in long blocks; what a list shows of a computer is told
//! beside them. A [`Newest`] leans on all before it in its session: devices are
//! named once and known by their place from then on, and values are coded as
//! changes by a range coder whose beliefs go on from frame to frame. The stream of
//! a session is in order and whole, so both ends stay equal; a session that ends
//! ends both, and the next begins with everything.
//!
//! Values are exact to a tenth of a percent, times to the second. Whatever the
//! bytes, hearing takes time and memory in proportion to the devices named, of
//! which there are at most [`MAX_TOLD`].

use super::{
    SeriesTable,
    numbers::Numbers,
    range::{Coder, Decoder, Encoder, Prob},
};
use crate::{ProtocolError, ids::DeviceId};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Most devices of a session.
pub const MAX_TOLD: usize = 20_000;
/// Most devices that one frame names: an alert may wait for the frame that is being
/// written (G5).
pub const MAX_JOINED: usize = 1024;
/// Largest value, in tenths of a percent: some shares exceed a whole.
const MOST: i64 = 10_000;
const CHECK: u64 = 0x5A;
/// What is dated further ahead is not told, in seconds: clocks are compared once a minute.
const MAX_AHEAD_S: u64 = 120;

/// The load of a computer at one moment, in tenths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// When it was measured, Unix seconds.
    pub at_s: u64,
    /// Processors that are busy.
    pub cpu: Option<u16>,
    /// Memory in use.
    pub memory: Option<u16>,
    /// Its fullest file system.
    pub disk: Option<u16>,
}

/// Where a device's table of columns holds its load.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadColumns {
    /// Processors: column and scale.
    pub cpu: Option<(usize, u8)>,
    /// Memory.
    pub memory: Option<(usize, u8)>,
    /// File systems.
    pub disks: Vec<(usize, u8)>,
}

/// Newest loads of a site's devices; see the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newest {
    /// By the site's time, Unix seconds.
    pub at_s: u64,
    /// Devices that are told of from here on, at most [`MAX_JOINED`].
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::codec::at_most::<MAX_JOINED, _, _>"
    )]
    pub joined: Vec<DeviceId>,
    /// Who has news, and what.
    #[serde(with = "serde_bytes")]
    pub loads: Vec<u8>,
}

impl LoadColumns {
    /// Finds them.
    #[must_use]
    pub fn of(table: &SeriesTable) -> Self {
        let mut columns = Self::default();
        for (at, series) in table.series.iter().enumerate() {
            let found = (at, series.scale);
            match series.name.as_str() {
                "cpu.busy" => columns.cpu = Some(found),
                "memory.used_pct" => columns.memory = Some(found),
                "disk.used_pct" => columns.disks.push(found),
                _ => {}
            }
        }
        columns
    }

    /// The load that a sample tells of.
    #[must_use]
    pub fn load(&self, at_ms: u64, values: &[Option<i64>]) -> Load {
        let value = |&(at, scale): &(usize, u8)| tenths((*values.get(at)?)?, scale);
        Load {
            at_s: at_ms / 1000,
            cpu: self.cpu.as_ref().and_then(value),
            memory: self.memory.as_ref().and_then(value),
            disk: self.disks.iter().filter_map(value).max(),
        }
    }
}

/// A scaled integer in tenths, rounded to nearest.
fn tenths(raw: i64, scale: u8) -> Option<u16> {
    let value = match scale {
        0 => raw.saturating_mul(10),
        1 => raw,
        _ => {
            let unit = 10i64.checked_pow(u32::from(scale) - 1)?;
            raw.saturating_add(unit / 2).div_euclid(unit)
        }
    };
    u16::try_from(value.clamp(0, MOST)).ok()
}

/// What both ends remember of a device.
#[derive(Debug, Clone, Default)]
struct Told {
    at_s: u64,
    recent: bool,
    age: u64,
    near_age: u8,
    same_age: bool,
    values: [Value; 3],
}

#[derive(Debug, Clone, Copy, Default)]
struct Value {
    present: bool,
    still: bool,
    last: i64,
    near: u8,
}

/// What both ends believe of all devices.
#[derive(Debug, Clone)]
struct Beliefs {
    recent: [Prob; 2],
    same_age: [Prob; 2],
    ages: Numbers,
    present: [[Prob; 2]; 3],
    still: [[Prob; 2]; 3],
    negative: [Prob; 3],
    changes: [Numbers; 3],
}

impl Beliefs {
    fn new() -> Self {
        let numbers = || [Numbers::new(), Numbers::new(), Numbers::new()];
        Self {
            recent: [Prob::default(); 2],
            same_age: [Prob::default(); 2],
            ages: Numbers::new(),
            present: [[Prob::default(); 2]; 3],
            still: [[Prob::default(); 2]; 3],
            negative: [Prob::default(); 3],
            changes: numbers(),
        }
    }

    /// Codes whether a device has news, and its load.
    fn device(
        &mut self,
        coder: &mut impl Coder,
        now_s: u64,
        told: &mut Told,
        news: Option<Load>,
    ) -> Option<Load> {
        told.recent = coder.bit(&mut self.recent[usize::from(told.recent)], news.is_some());
        if !told.recent {
            return None;
        }
        let load = news.unwrap_or_default();
        let age = now_s.saturating_sub(load.at_s);
        told.same_age = coder.bit(&mut self.same_age[usize::from(told.same_age)], age == told.age);
        if !told.same_age {
            told.age = self.ages.code(coder, &mut told.near_age, age);
        }
        told.at_s = now_s.saturating_sub(told.age);
        let mut of = |which: usize, value: Option<u16>| {
            self.value(coder, which, &mut told.values[which], value.map(i64::from))
        };
        let (cpu, memory, disk) = (of(0, load.cpu), of(1, load.memory), of(2, load.disk));
        Some(Load { at_s: told.at_s, cpu, memory, disk })
    }

    fn value(
        &mut self,
        coder: &mut impl Coder,
        which: usize,
        told: &mut Value,
        value: Option<i64>,
    ) -> Option<u16> {
        let present = &mut self.present[which][usize::from(told.present)];
        told.present = coder.bit(present, value.is_some());
        if !told.present {
            return None;
        }
        let change = value.unwrap_or_default() - told.last;
        told.still = coder.bit(&mut self.still[which][usize::from(told.still)], change == 0);
        if !told.still {
            let negative = coder.bit(&mut self.negative[which], change < 0);
            let size = self.changes[which].code(coder, &mut told.near, change.unsigned_abs());
            let size = i64::try_from(size).unwrap_or(MOST).min(MOST);
            told.last = (told.last + if negative { -size } else { size }).clamp(0, MOST);
        }
        u16::try_from(told.last).ok()
    }
}

/// The relay's end of a session.
#[derive(Debug, Clone)]
pub struct Teller {
    places: HashMap<DeviceId, usize>,
    told: Vec<Told>,
    beliefs: Beliefs,
}

impl Default for Teller {
    fn default() -> Self {
        Self { places: HashMap::new(), told: Vec::new(), beliefs: Beliefs::new() }
    }
}

impl Teller {
    /// Tells of those whose load was measured later than what was told of them, at
    /// `now_s`, or told as of a time that has not come; nothing, when there is none. Beyond [`MAX_JOINED`] newcomers, the
    /// rest come with the next.
    pub fn tell(&mut self, now_s: u64, loads: &[(DeviceId, Load)]) -> Option<Newest> {
        let mut joined = Vec::new();
        let mut news = vec![None; self.told.len()];
        for (device, load) in loads {
            // Dated ahead, it is of a time that was taken back: nobody knows of when.
            if load.at_s > now_s.saturating_add(MAX_AHEAD_S) {
                continue;
            }
            let load = Load { at_s: load.at_s.min(now_s), ..*load };
            match self.places.get(device) {
                Some(&at) if (load.at_s..=now_s).contains(&self.told[at].at_s) => {}
                Some(&at) => news[at] = Some(load),
                None if self.told.len() < MAX_TOLD && joined.len() < MAX_JOINED => {
                    self.places.insert(*device, self.told.len());
                    self.told.push(Told::default());
                    joined.push(*device);
                    news.push(Some(load));
                }
                None => {}
            }
        }
        if news.iter().all(Option::is_none) {
            return None;
        }
        let mut coder = Encoder::new(Vec::with_capacity(8 + news.len()));
        for (told, news) in self.told.iter_mut().zip(news) {
            self.beliefs.device(&mut coder, now_s, told, news);
        }
        coder.raw(8, CHECK);
        Some(Newest { at_s: now_s, joined, loads: coder.finish(0) })
    }
}

/// The cloud's end of a session.
#[derive(Debug, Clone)]
pub struct Listener {
    devices: Vec<DeviceId>,
    told: Vec<Told>,
    beliefs: Beliefs,
}

impl Default for Listener {
    fn default() -> Self {
        Self { devices: Vec::new(), told: Vec::new(), beliefs: Beliefs::new() }
    }
}

impl Listener {
    /// What a frame tells.
    ///
    /// # Errors
    /// [`ProtocolError`] when it does not follow what was heard before, or tells of
    /// more devices than [`MAX_TOLD`]: nothing after it can be understood.
    pub fn hear(&mut self, newest: &Newest) -> Result<Vec<(DeviceId, Load)>, ProtocolError> {
        if self.devices.len() + newest.joined.len() > MAX_TOLD {
            return Err(ProtocolError::Invalid("newest values of too many devices"));
        }
        self.devices.extend_from_slice(&newest.joined);
        self.told.resize(self.devices.len(), Told::default());
        let mut coder = Decoder::new(&newest.loads);
        let mut heard = Vec::new();
        for (device, told) in self.devices.iter().zip(&mut self.told) {
            let load = self.beliefs.device(&mut coder, newest.at_s, told, None);
            heard.extend(load.map(|load| (*device, load)));
        }
        if coder.raw(8, 0) != CHECK || !coder.is_exhausted() {
            return Err(ProtocolError::Malformed("newest values that do not follow".into()));
        }
        Ok(heard)
    }
}

#[cfg(test)]
mod tests;
