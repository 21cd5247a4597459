//! Notices two computers that use one device's identity: a cloned machine.
//!
//! Pure. Each start of an agent has a name of its own. A device whose names go back
//! to one that another has followed is two computers: neither has ended. Until that
//! is known of a newcomer that took the place of a session which seemed alive, it is
//! given no commands, because its memory is not the other's, and a command that ran
//! there would run here again (G3).

use crate::{fanout::Introduction, store::Computer};
use std::collections::HashMap;
use unifyit_protocol::ids::DeviceId;

/// How long a name counts after it was last heard.
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
    /// Perhaps another computer: commands wait until then.
    HeldUntil(u64),
    /// This one has been here before the other, and both are alive.
    Two(Computer, Computer),
}

/// A device from which commands are held back.
#[derive(Debug, Default)]
struct Hold {
    until_ms: u64,
    /// What it said of its commands, once it was welcomed.
    said: Option<Introduction>,
}

/// The names of devices, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Twins {
    names: HashMap<DeviceId, Vec<Computer>>,
    addresses: HashMap<DeviceId, (String, bool)>,
    held: HashMap<DeviceId, Hold>,
}

impl Twins {
    /// A session began; `took_over` when it took the place of one that seemed alive.
    pub(super) fn connected(&mut self, device: DeviceId, address: String, took_over: bool) {
        self.addresses.insert(device, (address, took_over));
        self.held.remove(&device);
    }

    /// A session ended.
    pub(super) fn disconnected(&mut self, device: DeviceId) {
        self.addresses.remove(&device);
        self.held.remove(&device);
    }

    /// A computer introduced itself.
    pub(super) fn hello(&mut self, device: DeviceId, computer: Computer) -> Meaning {
        let (address, took_over) = self.addresses.get(&device).cloned().unwrap_or_default();
        let computer = Computer { address, ..computer };
        let now_ms = computer.last_ms;
        let names = self.names.entry(device).or_default();
        names.retain(|n| n.last_ms.saturating_add(REMEMBERED_MS) > now_ms);
        let before = names.iter().position(|n| n.instance == computer.instance);
        let newest = names.len().checked_sub(1);
        match before {
            Some(at) if Some(at) == newest => {
                names[at] = computer;
                Meaning::Usual
            }
            Some(at) => {
                names.remove(at);
                let other = names.last().cloned().unwrap_or_default();
                names.push(computer.clone());
                Meaning::Two(computer, other)
            }
            None => {
                let follows = !names.is_empty();
                names.push(computer);
                let over = names.len().saturating_sub(MAX_NAMES);
                names.drain(..over);
                match follows && took_over {
                    true => {
                        let until = now_ms.saturating_add(HELD_MS);
                        self.held.insert(device, Hold { until_ms: until, said: None });
                        Meaning::HeldUntil(until)
                    }
                    false => Meaning::Usual,
                }
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

    fn computer(n: u128, at_ms: u64) -> Computer {
        let hostname = format!("pc-{n}");
        Computer { instance: Uuid::from_u128(n), hostname, address: String::new(), last_ms: at_ms }
    }

    #[test]
    fn a_computer_that_starts_anew_is_one() {
        let (mut twins, device) = (Twins::default(), DeviceId::generate());
        for start in 1..9 {
            twins.connected(device, "10.0.0.1".into(), false);
            assert_eq!(twins.hello(device, computer(start, 1000)), Meaning::Usual);
            twins.connected(device, "10.0.0.7".into(), true);
            assert_eq!(twins.hello(device, computer(start, 1001)), Meaning::Usual, "it moved");
        }
    }

    #[test]
    fn two_that_take_turns_are_noticed_when_the_first_comes_back() {
        let (mut twins, device) = (Twins::default(), DeviceId::generate());
        twins.connected(device, "10.0.0.1".into(), false);
        assert_eq!(twins.hello(device, computer(1, 1000)), Meaning::Usual);
        twins.connected(device, "10.0.0.2".into(), true);
        assert_eq!(twins.hello(device, computer(2, 2000)), Meaning::HeldUntil(2000 + HELD_MS));
        assert_eq!(twins.welcomed(device, Introduction::default()), None, "held back");
        twins.connected(device, "10.0.0.1".into(), true);
        let Meaning::Two(first, other) = twins.hello(device, computer(1, 3000)) else {
            unreachable!("noticed")
        };
        assert_eq!((first.address.as_str(), other.address.as_str()), ("10.0.0.1", "10.0.0.2"));
        assert_eq!((first.hostname.as_str(), other.hostname.as_str()), ("pc-1", "pc-2"));
        assert!(twins.welcomed(device, Introduction::default()).is_some(), "the first goes on");
    }

    #[test]
    fn a_newcomer_gets_its_commands_when_the_other_stays_away() {
        let (mut twins, device) = (Twins::default(), DeviceId::generate());
        twins.connected(device, String::new(), false);
        twins.hello(device, computer(1, 1000));
        twins.connected(device, String::new(), true);
        twins.hello(device, computer(2, 2000));
        let said = Introduction { heeds_handed: true, ..Introduction::default() };
        assert_eq!(twins.welcomed(device, said.clone()), None);
        assert!(twins.due(2000 + HELD_MS - 1).is_empty());
        assert_eq!(twins.due(2000 + HELD_MS), [(device, said)], "with what it said meanwhile");
        assert!(twins.welcomed(device, Introduction::default()).is_some());
    }

    #[test]
    fn a_machine_set_back_long_after_is_one() {
        let (mut twins, device) = (Twins::default(), DeviceId::generate());
        for (instance, at_ms) in [(1, 0), (2, REMEMBERED_MS), (1, 2 * REMEMBERED_MS)] {
            twins.connected(device, String::new(), false);
            assert_eq!(twins.hello(device, computer(instance, at_ms)), Meaning::Usual);
        }
    }
}
