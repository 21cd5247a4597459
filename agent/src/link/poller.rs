//! Drives the client of one connection, and hands on what comes down.

use super::{
    Inbox,
    pump::acked,
    spool::{Continuity, Spool},
    vitals::{Due, Vitals},
};
use crate::{clock::uptime_ms, identity::welcomed};
use rumqttc::{ConnectionError, Event, EventLoop, Packet, Publish, SubscribeReasonCode};
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use unifyit_protocol::{
    clock::ClockAnswer,
    envelope::Decoded,
    ids::DeviceId,
    lan::{Deliver, DownControl},
    live::LiveDown,
    topics::Down,
};

/// What the session is told.
#[derive(Debug)]
pub(super) enum Note {
    Connected,
    Subscribed(bool),
    Up,
    /// The relay's memory does not continue ours; it has seen this epoch.
    Broken(u64),
    Lost(ConnectionError),
    /// A sign of life is due.
    Quiet,
    /// The relay is deaf or gone.
    Silent,
}

/// See the module.
pub(super) struct Poller<I> {
    device: DeviceId,
    spool: Spool,
    inbox: Arc<I>,
    notes: mpsc::UnboundedSender<Note>,
    asked_ms: Arc<AtomicU64>,
    /// Whether the relay greeted: before, nobody knows whether the memory is whole.
    greeted: AtomicBool,
}

impl<I: Inbox> Poller<I> {
    /// A poller of a connection that is about to be made.
    pub(super) fn new(
        device: DeviceId,
        spool: Spool,
        inbox: Arc<I>,
        notes: mpsc::UnboundedSender<Note>,
        asked_ms: Arc<AtomicU64>,
    ) -> Self {
        Self { device, spool, inbox, notes, asked_ms, greeted: AtomicBool::new(false) }
    }

    /// Polls until the connection is lost, or nobody listens to the notes.
    pub(super) async fn run(self, mut events: EventLoop) {
        let topics = [Down::Control, Down::Command, Down::Live].map(|d| (d.topic(self.device), d));
        let mut vitals = Vitals::new(Instant::now());
        loop {
            let Some(event) = heeding(&mut vitals, &self.notes, events.poll()).await else {
                return;
            };
            let note = match event {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    // The relay was told how long a silence may last; the library would
                    // break it at a pace of its own, whatever else is said.
                    events.mqtt_options.set_keep_alive(Duration::ZERO);
                    Some(Note::Connected)
                }
                Ok(Event::Incoming(Packet::SubAck(ack))) => {
                    let granted = ack
                        .return_codes
                        .iter()
                        .all(|code| matches!(code, SubscribeReasonCode::Success(_)));
                    Some(Note::Subscribed(granted))
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => topics
                    .iter()
                    .find(|(topic, _)| *topic == publish.topic)
                    .and_then(|(_, kind)| self.take(*kind, &publish)),
                Ok(_) => None,
                Err(error) => {
                    drop(self.notes.send(Note::Lost(error)));
                    return;
                }
            };
            if let Some(note) = note
                && self.notes.send(note).is_err()
            {
                return;
            }
        }
    }

    fn take(&self, kind: Down, publish: &Publish) -> Option<Note> {
        let bytes = &publish.payload;
        let unreadable = |error| tracing::warn!(%error, "a message of the relay is unreadable");
        match kind {
            Down::Control => match DownControl::decode(bytes).map_err(unreadable) {
                Ok(Decoded::Known(control)) => return self.control(control),
                Ok(Decoded::Unknown(kind)) => tracing::debug!(kind, "an unknown control message"),
                Err(()) => {}
            },
            Down::Command if !self.greeted.load(Ordering::Relaxed) => {
                tracing::debug!("a command came before the greeting; it will come again");
            }
            Down::Command => match Deliver::decode(bytes).map_err(unreadable) {
                Ok(Decoded::Known(Deliver::Command(signed))) => self.inbox.command(signed),
                Ok(Decoded::Unknown(kind)) => tracing::debug!(kind, "an unknown delivery"),
                Err(()) => {}
            },
            Down::Live => match LiveDown::decode(bytes).map_err(unreadable) {
                Ok(Decoded::Known(message)) => self.inbox.live(message),
                Ok(Decoded::Unknown(kind)) => tracing::debug!(kind, "an unknown live message"),
                Err(()) => {}
            },
        }
        None
    }

    fn control(&self, control: DownControl) -> Option<Note> {
        match control {
            DownControl::Welcome(welcome) => {
                welcomed();
                self.inbox.relay_time(welcome.now_ms, self.asked_ms.load(Ordering::Relaxed));
                self.inbox.config(welcome.config);
                let unreadable = |error: &_| tracing::error!(%error, "the spool cannot be read");
                let continuity = self.spool.welcome(&welcome.positions).inspect_err(unreadable);
                let greeted = matches!(&continuity, Ok(c) if *c != Continuity::Impossible);
                self.greeted.store(greeted, Ordering::Relaxed);
                return match continuity {
                    Ok(Continuity::Holds) => Some(Note::Up),
                    Ok(Continuity::BrokenAbove(epoch)) => Some(Note::Broken(epoch)),
                    Ok(Continuity::Broken) => Some(Note::Broken(0)),
                    Ok(Continuity::Impossible) | Err(_) => None,
                };
            }
            DownControl::Ack(ack) => acked(&self.spool, &ack),
            DownControl::Config(config) => self.inbox.config(config),
            DownControl::Renew(_) => self.inbox.renew(),
            DownControl::Handed(handed) => self.inbox.handed(handed),
            DownControl::NewIdentity(_) => self.inbox.own_identity(),
            DownControl::TellInventory(_) => self.inbox.tell_inventory(),
            DownControl::Clock(ClockAnswer { asked_ms, now_ms }) => {
                self.inbox.relay_time(now_ms, asked_ms.unwrap_or_else(uptime_ms));
                self.spool.time_learnt();
            }
        }
        None
    }
}

/// The connection's next event, with its signs of life counted and looked after
/// meanwhile. `None` when there is none any more, or nobody to hear of it.
async fn heeding(
    vitals: &mut Vitals,
    notes: &mpsc::UnboundedSender<Note>,
    polling: impl Future<Output = Result<Event, ConnectionError>>,
) -> Option<Result<Event, ConnectionError>> {
    // Polled to its end: a packet may be half written.
    let mut polling = pin!(polling);
    loop {
        tokio::select! {
            // What lies there already was said in time.
            biased;
            event = &mut polling => {
                match &event {
                    Ok(Event::Incoming(_)) => vitals.heard(Instant::now()),
                    Ok(Event::Outgoing(_)) => vitals.said(Instant::now()),
                    Err(_) => {}
                }
                return Some(event);
            }
            () = sleep_until(vitals.look_at()) => {
                let note = match vitals.due(Instant::now()) {
                    Some(Due::Sign) => Note::Quiet,
                    Some(Due::End) => Note::Silent,
                    None => continue,
                };
                let last = matches!(note, Note::Silent);
                if notes.send(note).is_err() || last {
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
