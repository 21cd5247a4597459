//! Where each device's session stands: connected, subscribed, introduced.
//!
//! A device is welcomed once it has both introduced itself and subscribed, in
//! whichever order that came, because before that it cannot hear the answer.

use crate::fanout::Introduction;
use std::collections::HashMap;
use unifyit_protocol::{ids::DeviceId, lan::ReportAck};
use uuid::Uuid;

/// Unreadable messages in one session before it is ended.
const MAX_STRIKES: u8 = 8;

/// What a device is told once it hears, and what it said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Greeting {
    /// What is durable of its lanes.
    pub(crate) positions: Vec<ReportAck>,
    /// What it said of its commands.
    pub(crate) said: Introduction,
    /// Whether its whole inventory is wanted.
    pub(crate) ask_inventory: bool,
}

#[derive(Debug, Default)]
struct Session {
    id: u64,
    subscribed: bool,
    welcome: Option<Greeting>,
    strikes: u8,
    greeted: bool,
    turned_away: bool,
    /// What the computer calls itself, where it has a name of its own.
    instance: Option<Uuid>,
}

/// The live sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions(HashMap<DeviceId, Session>);

impl Sessions {
    pub(super) fn connected(&mut self, device: DeviceId, id: u64) {
        self.0.insert(device, Session { id, ..Session::default() });
    }

    /// Whether the session that ended was the device's present one.
    pub(super) fn disconnected(&mut self, device: DeviceId, id: u64) -> bool {
        let present = self.is_current(device, id);
        if present {
            self.0.remove(&device);
        }
        present
    }

    pub(super) fn is_current(&self, device: DeviceId, id: u64) -> bool {
        self.0.get(&device).is_some_and(|s| s.id == id)
    }

    /// The device hears from now on. The welcome that was waiting for it.
    pub(super) fn subscribed(&mut self, device: DeviceId, id: u64) -> Option<Greeting> {
        let session = self.0.get_mut(&device).filter(|s| s.id == id)?;
        session.subscribed = true;
        session.welcome.take()
    }

    /// Whether this is the first time that the device introduces itself.
    pub(super) fn greets_first(&mut self, device: DeviceId, instance: Uuid) -> bool {
        let Some(session) = self.0.get_mut(&device) else { return false };
        let first = !std::mem::replace(&mut session.greeted, true);
        if first {
            session.instance = Some(instance).filter(|instance| !instance.is_nil());
        }
        first
    }

    /// The computer is not to be welcomed, however often it introduces itself.
    pub(super) fn turn_away(&mut self, device: DeviceId) {
        if let Some(session) = self.0.get_mut(&device) {
            session.turned_away = true;
        }
    }

    pub(super) fn is_turned_away(&self, device: DeviceId) -> bool {
        self.0.get(&device).is_some_and(|s| s.turned_away)
    }

    /// What the device's computer calls itself.
    pub(super) fn instance(&self, device: DeviceId) -> Option<Uuid> {
        self.0.get(&device).and_then(|s| s.instance)
    }

    /// The device introduced itself in that session. The welcome, when it can hear it:
    /// what a session before said is not this one's word.
    pub(super) fn introduced(
        &mut self,
        device: DeviceId,
        id: u64,
        greeting: Greeting,
    ) -> Option<Greeting> {
        let session = self.0.get_mut(&device).filter(|s| s.id == id)?;
        if session.subscribed {
            return Some(greeting);
        }
        session.welcome = Some(greeting);
        None
    }

    /// Who hears.
    pub(super) fn all(&self) -> Vec<DeviceId> {
        self.0.iter().filter(|(_, s)| s.subscribed).map(|(device, _)| *device).collect()
    }

    /// Counts an unreadable message. Whether it was one too many.
    pub(super) fn strike(&mut self, device: DeviceId) -> bool {
        let Some(session) = self.0.get_mut(&device) else { return false };
        session.strikes = session.strikes.saturating_add(1);
        session.strikes == MAX_STRIKES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_the_session_before_is_not_this_ones() {
        let (mut sessions, device) = (Sessions::default(), DeviceId::generate());
        sessions.connected(device, 1);
        sessions.connected(device, 2);
        assert_eq!(sessions.subscribed(device, 2), None);
        assert_eq!(sessions.introduced(device, 1, Greeting::default()), None);
        assert!(sessions.introduced(device, 2, Greeting::default()).is_some());
    }

    #[test]
    fn who_was_turned_away_stays_so_however_often_it_greets() {
        let (mut sessions, device) = (Sessions::default(), DeviceId::generate());
        let name = Uuid::from_u128(1);
        sessions.connected(device, 1);
        assert!(sessions.greets_first(device, name));
        sessions.turn_away(device);
        assert!(!sessions.greets_first(device, Uuid::from_u128(2)));
        assert!(sessions.is_turned_away(device));
        assert_eq!(sessions.instance(device), Some(name), "the first word holds");
        sessions.connected(device, 2);
        assert!(!sessions.is_turned_away(device) && sessions.greets_first(device, name));
    }
}
