//! Notices two computers that use one device's identity: a cloned machine.
//!
//! Pure. Each start of an agent has a name of its own. A device whose names go back
//! to one that another has followed is two computers: neither has ended. Until that
//! is known of a newcomer that took the place of a session which seemed alive, it is
//! given no commands, because its memory is not the other's, and a command that ran
//! there would run here again (G3).

use crate::{devices::Computer, fanout::Introduction};
use std::collections::HashMap;
use unifyit_protocol::ids::DeviceId;

/// How long a name counts after its computer was last heard.
const REMEMBERED_MS: u64 = 10 * 60_000;
/// Names remembered of a device.
const MAX_NAMES: usize = 4;
/// How long commands are held back from a newcomer: longer than the other takes to
/// come back.
pub(super) const HELD_MS: u64 = 30_000;

/// What a hello means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The same computer as before, or one after a proper end.
    Usual,
    /// Perhaps another computer: commands wait.
    Held,
    /// This one has been here before the other, and both are alive.
    Two(Box<(Computer, Computer)>),
}

/// A computer, and when it was last heard, by the relay's uptime.
#[derive(Debug)]
struct Heard {
    computer: Computer,
    at_ms: u64,
}

/// A device from which commands are held back.
#[derive(Debug, Default)]
struct Hold {
    until_ms: u64,
    /// What it said of its commands, once it was welcomed.
    said: Option<Introduction>,
}

/// The names of devices, oldest first. All times are the relay's uptime.
#[derive(Debug, Default)]
pub(crate) struct Twins {
    names: HashMap<DeviceId, Vec<Heard>>,
    addresses: HashMap<DeviceId, (String, bool)>,
    held: HashMap<DeviceId, Hold>,
}

impl Twins {
    /// A session began; `took_over` when it took the place of one that seemed alive.
    pub(super) fn connected(
        &mut self,
        device: DeviceId,
        address: String,
        took_over: bool,
        now_ms: u64,
    ) {
        self.addresses.insert(device, (address, took_over));
        if took_over {
            self.heard(device, now_ms);
        }
    }

    /// A session ended. What is held back from the device stays so: it may be the
    /// newcomer that comes again, before the other does.
    pub(super) fn disconnected(&mut self, device: DeviceId, now_ms: u64) {
        self.addresses.remove(&device);
        self.heard(device, now_ms);
    }

    /// A session is heard until it ends, also one that began long ago.
    fn heard(&mut self, device: DeviceId, now_ms: u64) {
        if let Some(newest) = self.names.get_mut(&device).and_then(|names| names.last_mut()) {
            newest.at_ms = now_ms;
        }
    }

    /// A computer introduced itself.
    pub(super) fn hello(&mut self, device: DeviceId, computer: Computer, now_ms: u64) -> Meaning {
        let (address, took_over) = self.addresses.get(&device).cloned().unwrap_or_default();
        let computer = Computer { address, ..computer };
        let names = self.names.entry(device).or_default();
        names.retain(|n| n.at_ms.saturating_add(REMEMBERED_MS) > now_ms);
        let before = names.iter().position(|n| n.computer.instance == computer.instance);
        let newest = names.len().checked_sub(1);
        let heard = Heard { computer, at_ms: now_ms };
        match before {
            Some(at) if Some(at) == newest => {
                names[at] = heard;
                Meaning::Usual
            }
            Some(at) => {
                names.remove(at);
                let other = names.last().map(|n| n.computer.clone()).unwrap_or_default();
                let first = heard.computer.clone();
                names.push(heard);
                self.held.remove(&device);
                Meaning::Two(Box::new((first, other)))
            }
            None => {
                let follows = !names.is_empty();
                names.push(heard);
                let over = names.len().saturating_sub(MAX_NAMES);
                names.drain(..over);
                if !(follows && took_over) {
                    return Meaning::Usual;
                }
                let until_ms = now_ms.saturating_add(HELD_MS);
                self.held.insert(device, Hold { until_ms, said: None });
                Meaning::Held
            }
        }
    }

    /// A device was welcomed. What it said of its commands, unless those are held back
    /// from it: then it is kept until they need not be.
    pub(super) fn welcomed(
        &mut self,
        device: DeviceId,
        said: Introduction,
    ) -> Option<Introduction> {
        match self.held.get_mut(&device) {
            Some(hold) => {
                hold.said = Some(said);
                None
            }
            None => Some(said),
        }
    }

    /// Devices from which commands need not be held back any longer, and what those
    /// that were welcomed meanwhile said.
    pub(super) fn due(&mut self, now_ms: u64) -> Vec<(DeviceId, Introduction)> {
        let due = self.held.extract_if(|_, hold| hold.until_ms <= now_ms);
        due.filter_map(|(device, hold)| Some((device, hold.said?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn computer(n: u128) -> Computer {
        let hostname = format!("pc-{n}");
        Computer { instance: Uuid::from_u128(n), hostname, ..Computer::default() }
    }

    fn address(n: u128) -> String {
        format!("10.0.0.{n}")
    }

    #[test]
    fn a_computer_that_starts_anew_is_one() {
        let (mut twins, device) = (Twins::default(), DeviceId::generate());
        for start in 1..9 {
            twins.connected(device, address(1), false, 999);
            assert_eq!(twins.hello(device, computer(start), 1000), Meaning::Usual);
            twins.connected(device, address(7), true, 1001);
            assert_eq!(twins.hello(device, computer(start), 1001), Meaning::Usual, "it moved");
            twins.disconnected(device, 1002);
        }
    }

    /// Also when the first has been connected for days.
    #[test]
    fn two_that_take_turns_are_noticed_when_the_first_comes_back() {
        let (mut twins, device) = (Twins::default(), DeviceId::generate());
        twins.connected(device, address(1), false, 0);
        assert_eq!(twins.hello(device, computer(1), 1000), Meaning::Usual);
        let days = 3 * 86_400_000;
        twins.disconnected(device, days);
        twins.connected(device, address(2), true, days);
        assert_eq!(twins.hello(device, computer(2), days), Meaning::Held);
        assert_eq!(twins.welcomed(device, Introduction::default()), None, "held back");
        twins.disconnected(device, days + 400);
        twins.connected(device, address(1), true, days + 400);
        let Meaning::Two(two) = twins.hello(device, computer(1), days + 400) else {
            unreachable!("noticed")
        };
        let (first, other) = *two;
        assert_eq!((first.address, other.address), (address(1), address(2)));
        assert_eq!((first.hostname.as_str(), other.hostname.as_str()), ("pc-1", "pc-2"));
        assert!(twins.welcomed(device, Introduction::default()).is_some(), "the first goes on");
    }

    #[test]
    fn a_newcomer_gets_its_commands_when_the_other_stays_away() {
        let (mut twins, device) = (Twins::default(), DeviceId::generate());
        twins.connected(device, String::new(), false, 0);
        twins.hello(device, computer(1), 1000);
        twins.connected(device, String::new(), true, 1999);
        twins.hello(device, computer(2), 2000);
        let said = Introduction { heeds_handed: true, ..Introduction::default() };
        assert_eq!(twins.welcomed(device, said.clone()), None);
        assert!(twins.due(2000 + HELD_MS - 1).is_empty());
        assert_eq!(twins.due(2000 + HELD_MS), [(device, said)], "with what it said meanwhile");
        assert!(twins.welcomed(device, Introduction::default()).is_some());
    }

    #[test]
    fn a_newcomer_that_comes_again_is_held_back_as_before() {
        let (mut twins, device) = (Twins::default(), DeviceId::generate());
        twins.connected(device, String::new(), false, 0);
        twins.hello(device, computer(1), 1000);
        twins.connected(device, String::new(), true, 2000);
        twins.hello(device, computer(2), 2000);
        twins.disconnected(device, 2100);
        twins.connected(device, String::new(), false, 2200);
        assert_eq!(twins.hello(device, computer(2), 2200), Meaning::Usual);
        assert_eq!(twins.welcomed(device, Introduction::default()), None);
    }

    #[test]
    fn a_machine_set_back_long_after_is_one() {
        let (mut twins, device) = (Twins::default(), DeviceId::generate());
        for (instance, at_ms) in [(1, 0), (2, REMEMBERED_MS), (1, 2 * REMEMBERED_MS)] {
            twins.connected(device, String::new(), false, at_ms);
            assert_eq!(twins.hello(device, computer(instance), at_ms), Meaning::Usual);
            twins.disconnected(device, at_ms);
        }
    }
}
