//! Presence of devices: who is told to be online, decided without I/O.
//!
//! Connections come and go faster than is worth telling: an agent that restarts
//! or changes its address is back within a second. So going is told after a
//! short grace, coming when the agent has introduced itself. What the cloud was
//! told is durable ([`told`]); devices that were told to be online
//! before a restart of the relay get time to come back. Since when is by the site's
//! time, how long by the machine's uptime: no clock's step delays a word.

mod told;

pub(crate) use told::Told;
pub use told::{PresenceChange, PresenceRecord};

use crate::clock::SiteClock;
use std::{collections::HashMap, net::IpAddr};
use unifyit_protocol::ids::DeviceId;

/// A device that went is told to be offline after this.
const OFFLINE_AFTER_MS: u64 = 2_000;
/// A device that connected and does not introduce itself is told to be online
/// after this.
const ONLINE_AFTER_MS: u64 = 2_000;
/// Devices that were online when the relay stopped may take this long to return:
/// the longest pause between two attempts of an agent.
const RETURN_WITHIN_MS: u64 = 45_000;

/// A moment: by the site's time, and by the machine's uptime.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) now_ms: u64,
    pub(crate) uptime_ms: u64,
}

impl At {
    /// Now.
    pub(crate) fn now(clock: &SiteClock) -> Self {
        Self { now_ms: clock.now_ms(), uptime_ms: clock.uptime_ms() }
    }
}

#[derive(Debug, Clone)]
struct Seen {
    online: bool,
    since_ms: u64,
    address: String,
    /// Uptime at which to tell; `None` when all is told.
    due_ms: Option<u64>,
}

/// What is seen of all devices.
#[derive(Debug, Default)]
pub(crate) struct Attendance {
    devices: HashMap<DeviceId, Seen>,
}

impl Attendance {
    /// Starts with the devices that the cloud holds to be online.
    pub(crate) fn new(online: impl IntoIterator<Item = DeviceId>, at: At) -> Self {
        let gone = Seen {
            online: false,
            since_ms: at.now_ms,
            address: String::new(),
            due_ms: Some(at.uptime_ms + RETURN_WITHIN_MS),
        };
        Self { devices: online.into_iter().map(|d| (d, gone.clone())).collect() }
    }

    /// A device connected.
    pub(crate) fn connected(&mut self, device: DeviceId, address: IpAddr, at: At) {
        let seen = Seen {
            online: true,
            since_ms: at.now_ms,
            address: address.to_canonical().to_string(),
            due_ms: Some(at.uptime_ms + ONLINE_AFTER_MS),
        };
        self.devices.insert(device, seen);
    }

    /// A device introduced itself.
    pub(crate) fn introduced(&mut self, device: DeviceId, uptime_ms: u64) {
        if let Some(seen) = self.devices.get_mut(&device).filter(|s| s.due_ms.is_some()) {
            seen.due_ms = Some(uptime_ms);
        }
    }

    /// A device's session ended.
    pub(crate) fn disconnected(&mut self, device: DeviceId, at: At) {
        if let Some(seen) = self.devices.get_mut(&device) {
            seen.online = false;
            seen.since_ms = at.now_ms;
            seen.due_ms = Some(at.uptime_ms + OFFLINE_AFTER_MS);
        }
    }

    /// When something is to be told next.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        self.devices.values().filter_map(|s| s.due_ms).min()
    }

    /// What is to be told by now. The store leaves out what was told before.
    pub(crate) fn due(&mut self, uptime_ms: u64) -> Vec<PresenceChange> {
        let due =
            self.devices.iter_mut().filter(|(_, s)| s.due_ms.is_some_and(|at| at <= uptime_ms));
        due.map(|(device, seen)| {
            seen.due_ms = None;
            PresenceChange {
                device: *device,
                online: seen.online,
                at_ms: seen.since_ms,
                address: seen.address.clone(),
            }
        })
        .collect()
    }

    /// Tells again: the commit of these changes failed.
    pub(crate) fn retry(&mut self, changes: &[PresenceChange], uptime_ms: u64) {
        for change in changes {
            if let Some(seen) = self.devices.get_mut(&change.device) {
                seen.due_ms = seen.due_ms.or(Some(uptime_ms + 1000));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// A moment whose two readings are the same.
    fn at(ms: u64) -> At {
        At { now_ms: ms, uptime_ms: ms }
    }

    fn address() -> IpAddr {
        "192.0.2.7".parse().unwrap()
    }

    #[test]
    fn a_short_break_is_not_told() {
        let (mut attendance, device) = (Attendance::default(), DeviceId::generate());
        attendance.connected(device, address(), at(0));
        attendance.introduced(device, 100);
        assert!(attendance.due(100).iter().all(|c| c.online));
        attendance.disconnected(device, at(1000));
        assert!(attendance.due(2999).is_empty());
        attendance.connected(device, address(), at(2999));
        attendance.introduced(device, 2999);
        assert!(attendance.due(3000).iter().all(|c| c.online));
    }

    #[test]
    fn going_is_told_within_seconds() {
        let (mut attendance, device) = (Attendance::default(), DeviceId::generate());
        attendance.connected(device, address(), at(0));
        attendance.introduced(device, 0);
        assert_eq!(attendance.due(0).len(), 1);
        attendance.disconnected(device, at(10_000));
        assert_eq!(attendance.next_due_ms(), Some(12_000));
        let told = attendance.due(12_000);
        assert_eq!((told[0].online, told[0].at_ms), (false, 10_000));
        assert!(attendance.due(60_000).is_empty());
    }

    #[test]
    fn a_clock_that_is_set_back_delays_no_word() {
        let (mut attendance, device) = (Attendance::default(), DeviceId::generate());
        let day = 86_400_000;
        attendance.connected(device, address(), At { now_ms: 3 * day, uptime_ms: 0 });
        attendance.introduced(device, 0);
        assert_eq!(attendance.due(0).len(), 1);
        attendance.disconnected(device, At { now_ms: day, uptime_ms: 1000 });
        let told = attendance.due(3000);
        assert_eq!((told[0].online, told[0].at_ms), (false, day));
    }

    #[test]
    fn devices_of_before_a_restart_get_time_to_return() {
        let (stays, returns) = (DeviceId::generate(), DeviceId::generate());
        let mut attendance = Attendance::new([stays, returns], at(0));
        attendance.connected(returns, address(), at(5_000));
        attendance.introduced(returns, 5_000);
        assert!(attendance.due(44_000).iter().all(|c| c.device == returns && c.online));
        let told = attendance.due(45_000);
        assert_eq!(told.len(), 1);
        assert!(told[0].device == stays && !told[0].online);
    }
}
