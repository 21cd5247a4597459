//! What records are to the store: whose, whether they may go, and what was lost.

use unifyit_protocol::{ids::DeviceId, link::UpRecord};

/// A record that may go.
pub(super) struct Victim {
    pub(super) position: u64,
    pub(super) bytes: u64,
    pub(super) at_ms: u64,
    pub(super) kept: bool,
    pub(super) device: Option<DeviceId>,
}

/// What was lost, by device; beyond a bound it is put down to the site.
#[derive(Default)]
pub(super) struct Losses {
    pub(super) rows: Vec<(Option<DeviceId>, u64, u64, u64)>,
}

impl Losses {
    const MAX: usize = 64;

    pub(super) fn add(&mut self, device: Option<DeviceId>, at_ms: u64) {
        let known = self.rows.iter().any(|r| r.0 == device);
        let device = if known || self.rows.len() < Self::MAX { device } else { None };
        match self.rows.iter_mut().find(|r| r.0 == device) {
            Some((_, count, from, to)) => {
                *count += 1;
                *from = (*from).min(at_ms);
                *to = (*to).max(at_ms);
            }
            None => self.rows.push((device, 1, at_ms, at_ms)),
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.rows.iter().map(|r| r.1).sum()
    }
}

/// Whether a record stays while others go for want of space.
pub(super) fn stays(record: &UpRecord) -> bool {
    matches!(record, UpRecord::Series(_) | UpRecord::Gap(_) | UpRecord::Audit(_))
}

/// Whose record it is, where it is one device's.
pub(super) fn device_of(record: &UpRecord) -> Option<DeviceId> {
    match record {
        UpRecord::Inventory(i) => Some(i.device),
        UpRecord::Output(o) => Some(o.device),
        UpRecord::Series(s) => Some(s.device),
        UpRecord::Enrolled(e) => Some(e.device),
        UpRecord::Gap(g) => g.device,
        UpRecord::Shared(shared) => Some(shared.device),
        UpRecord::Metrics(m) => one_device(m.iter().map(|one| one.device)),
        UpRecord::Progress(p) => one_device(p.iter().map(|one| one.device)),
        UpRecord::Presence(p) => one_device(p.iter().map(|one| one.device)),
        _ => None,
    }
}

fn one_device(mut devices: impl Iterator<Item = DeviceId>) -> Option<DeviceId> {
    let first = devices.next()?;
    devices.all(|device| device == first).then_some(first)
}
