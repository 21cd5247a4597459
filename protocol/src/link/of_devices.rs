//! Of which devices a record speaks: a relay may speak of its own site's alone.

use super::UpRecord;
use crate::ids::DeviceId;
use std::collections::{BTreeSet, HashSet};

impl UpRecord {
    /// Whether it begins an epoch: either side may be an older copy from here on.
    #[must_use]
    pub fn begins_epoch(&self) -> bool {
        matches!(self, Self::Holds(_))
    }

    /// Adds the devices that it speaks of.
    pub fn devices(&self, into: &mut BTreeSet<DeviceId>) {
        match self {
            Self::Enrolled(one) => into.extend([one.device]),
            Self::Presence(list) => into.extend(list.iter().map(|one| one.device)),
            Self::Inventory(one) => into.extend([one.device]),
            Self::Series(one) => into.extend([one.device]),
            Self::Metrics(list) => into.extend(list.iter().map(|one| one.device)),
            Self::Progress(list) => into.extend(list.iter().map(|one| one.device)),
            Self::Output(one) => into.extend([one.device]),
            Self::Gap(one) => into.extend(one.device),
            Self::Feature(one) => into.extend(one.device),
            Self::Clocks(list) => into.extend(list.iter().map(|one| one.device)),
            Self::Holds(one) => into.extend(&one.devices),
            Self::Shared(one) => into.extend([one.device]),
            Self::Relay(_) | Self::Audit(_) | Self::Cache(_) => {}
        }
    }

    /// Drops what it says of other devices than these. Whether anything is left to say.
    #[must_use]
    pub fn keep_devices(&mut self, own: &HashSet<DeviceId>) -> bool {
        match self {
            Self::Enrolled(one) => own.contains(&one.device),
            Self::Inventory(one) => own.contains(&one.device),
            Self::Series(one) => own.contains(&one.device),
            Self::Output(one) => own.contains(&one.device),
            Self::Shared(one) => own.contains(&one.device),
            Self::Gap(one) => one.device.is_none_or(|device| own.contains(&device)),
            Self::Feature(one) => one.device.is_none_or(|device| own.contains(&device)),
            Self::Presence(list) => keep(list, own, |one| one.device),
            Self::Metrics(list) => keep(list, own, |one| one.device),
            Self::Progress(list) => keep(list, own, |one| one.device),
            Self::Clocks(list) => keep(list, own, |one| one.device),
            Self::Holds(one) => {
                one.keep_devices(own);
                true
            }
            Self::Relay(_) | Self::Audit(_) | Self::Cache(_) => true,
        }
    }
}

fn keep<T>(list: &mut Vec<T>, own: &HashSet<DeviceId>, of: fn(&T) -> DeviceId) -> bool {
    list.retain(|one| own.contains(&of(one)));
    !list.is_empty()
}
