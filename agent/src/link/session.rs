//! Keeps one connection to the relay, for ever.
//!
//! Of each connection there are three tasks: the *poller* drives the client and
//! hands what comes down to the inbox, the *pump* publishes reports and live
//! frames, and the session itself walks through the stages: connected →
//! subscribed → introduced (`Hello`) → up (`Welcome`). Reports flow only when
//! up, because only then the relay's positions are known. Poller and pump are
//! apart because a publisher that waits for room must not stop the poller, which
//! makes the room.

use super::{
    Inbox,
    live::LiveQueue,
    mqtt,
    pump::{acked, pump_up},
    spool::{Continuity, Spool},
};
use crate::{
    VERSION,
    clock::{self, jitter, local_ms, uptime_ms},
    enroll::tls::{Trusting, fingerprint},
    execute::RunningSet,
    identity::{Identity, PrivateKey, instance, welcomed},
    platform,
};
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, Packet, Publish, QoS,
    SubscribeReasonCode,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    clock::{ClockAnswer, ClockAsk},
    envelope::Decoded,
    ids::DeviceId,
    lan::{Deliver, DownControl, Hello, UpControl},
    live::LiveDown,
    topics::{Down, Up, down_filter},
};

const BACKOFF_FIRST: Duration = Duration::from_millis(400);
const BACKOFF_LAST: Duration = Duration::from_secs(15);
/// Pause after the relay refused this very device.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// A connection that lasted this long was a good one.
const GOOD_AFTER: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_secs(5);
/// Ticks without a welcome after which the connection is given up.
const PATIENCE: u32 = 6;

/// What the link needs.
pub struct Link<I> {
    /// Who the device is; changes with a renewal, which asks for a new connection.
    pub identity: watch::Receiver<Arc<Identity>>,
    /// Its private key.
    pub key: Arc<PrivateKey>,
    /// Addresses that override the enrolled ones.
    pub addresses: Vec<String>,
    /// What must arrive.
    pub spool: Spool,
    /// What matters only now.
    pub live: Arc<LiveQueue>,
    /// Who takes what comes down.
    pub inbox: Arc<I>,
    /// Commands with an intent and no outcome.
    pub running: Arc<RunningSet>,
    /// Ends the link.
    pub stop: CancellationToken,
    /// Uptime at which the last hello left.
    pub asked_ms: Arc<AtomicU64>,
}

/// How a connection ended.
enum End {
    Stopped,
    /// A new one is wanted at once.
    Again,
    Lost(String),
    Refused(String),
}

enum Note {
    Connected,
    Subscribed(bool),
    Up,
    /// The relay's memory does not continue ours; it has seen this epoch.
    Broken(u64),
    Lost(ConnectionError),
}

impl<I: Inbox> Link<I> {
    /// Connects, and connects again, until stopped.
    pub async fn run(mut self) {
        let (mut pause, mut turn) = (BACKOFF_FIRST, 0usize);
        while !self.stop.is_cancelled() {
            let identity = Arc::clone(&self.identity.borrow_and_update());
            let addresses =
                if self.addresses.is_empty() { &identity.mqtt } else { &self.addresses };
            let address = addresses.get(turn % addresses.len().max(1)).cloned().unwrap_or_default();
            let started = Instant::now();
            let end = self.connect(&identity, &address).await;
            self.live.set_up(false);
            self.spool.link_lost();
            if started.elapsed() > GOOD_AFTER {
                pause = BACKOFF_FIRST;
            } else {
                turn += 1;
            }
            let wait = match end {
                End::Stopped => return,
                End::Again => continue,
                End::Lost(why) => {
                    tracing::warn!(address, why, "the relay is not connected");
                    pause
                }
                End::Refused(why) => {
                    tracing::error!(
                        address,
                        why,
                        "the relay refuses this computer; if it was revoked in the console, \
                        enrol it again with --force and a token; if another key of this device \
                        is in use, allow its re-enrolment on the device's page first"
                    );
                    pause.max(REFUSED_PAUSE)
                }
            };
            pause = (pause * 2).min(BACKOFF_LAST);
            // Half fixed, half random: a relay that comes back is not met by all at once.
            let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            let wait = Duration::from_millis(millis / 2 + jitter(millis.max(1)));
            tokio::select! {
                () = sleep(wait) => {}
                changed = self.identity.changed() => if changed.is_err() { return },
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn connect(&mut self, identity: &Arc<Identity>, address: &str) -> End {
        let trusting = Trusting {
            ca_fingerprint: fingerprint(&identity.ca),
            ca: Some(&identity.ca),
            client: Some((&identity.certificate, &self.key)),
        };
        let tls = match trusting.config() {
            Ok(config) => Arc::new(config),
            Err(e) => return End::Lost(format!("the agent's certificate cannot be used: {e}")),
        };
        let Some((client, events)) = mqtt::prepare(address, identity.device, tls) else {
            return End::Lost("the address is not of the form host:port".into());
        };
        let (notes, inbox) = mpsc::unbounded_channel();
        // Dropping the set aborts the tasks of this connection.
        let mut tasks = JoinSet::new();
        let poller = Poller {
            device: identity.device,
            spool: self.spool.clone(),
            inbox: Arc::clone(&self.inbox),
            notes,
            asked_ms: Arc::clone(&self.asked_ms),
            greeted: AtomicBool::new(false),
        };
        tasks.spawn(poller.run(events));
        let end = self.walk(identity.device, &client, inbox, &mut tasks).await;
        if matches!(end, End::Stopped | End::Again) && client.try_disconnect().is_ok() {
            // The poller ends when the farewell is out; it must not hang for it.
            tokio::select! {
                _ = tasks.join_next() => {}
                () = sleep(Duration::from_millis(500)) => {}
            }
        }
        end
    }

    async fn walk(
        &mut self,
        device: DeviceId,
        client: &AsyncClient,
        mut notes: mpsc::UnboundedReceiver<Note>,
        tasks: &mut JoinSet<()>,
    ) -> End {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        let (mut waited, mut introduced) = (0, false);
        let mut pump: Option<AbortHandle> = None;
        loop {
            tokio::select! {
                note = notes.recv() => match note {
                    None => return End::Lost("the client ended".into()),
                    Some(Note::Lost(error)) => return lost(&error),
                    Some(Note::Connected) => {
                        if client.try_subscribe(down_filter(device), QoS::AtMostOnce).is_err() {
                            return End::Lost("the client takes no subscription".into());
                        }
                    }
                    Some(Note::Subscribed(false)) => {
                        return End::Refused("it does not grant the device's own topics".into());
                    }
                    Some(Note::Subscribed(true)) => {
                        self.hello(device, client);
                        introduced = true;
                    }
                    Some(Note::Broken(above)) => {
                        tracing::warn!("the relay's memory does not continue the agent's; reports \
                            are numbered anew");
                        if let Some(pump) = pump.take() {
                            pump.abort();
                        }
                        if let Err(error) = self.spool.start_over(above).await {
                            return End::Lost(error.to_string());
                        }
                        self.inbox.tell_all_again();
                        self.hello(device, client);
                    }
                    Some(Note::Up) => {
                        waited = 0;
                        if pump.is_none() {
                            self.live.set_up(true);
                            let work = pump_up(
                                device, client.clone(), self.spool.clone(), Arc::clone(&self.live),
                            );
                            pump = Some(tasks.spawn(work));
                            tracing::info!("the relay is connected");
                        }
                    }
                },
                _ = tick.tick(), if pump.is_none() => {
                    waited += 1;
                    if waited > PATIENCE {
                        return End::Lost("it does not answer".into());
                    }
                    if introduced {
                        self.hello(device, client);
                    }
                }
                () = clock::compare_wanted(), if pump.is_some() => {
                    Self::compare_clocks(device, client);
                }
                changed = self.identity.changed() => {
                    return if changed.is_ok() { End::Again } else { End::Stopped };
                }
                () = self.stop.cancelled() => return End::Stopped,
            }
        }
    }

    /// Asks for the site's time. A question that finds no room is asked with the
    /// next comparison.
    fn compare_clocks(device: DeviceId, client: &AsyncClient) {
        let ask = UpControl::Clock(ClockAsk { asked_ms: uptime_ms(), now_ms: local_ms() });
        let sent = ask.encode().is_ok_and(|bytes| {
            client.try_publish(Up::Hello.topic(device), QoS::AtMostOnce, false, bytes).is_ok()
        });
        if !sent {
            tracing::debug!("the clocks could not be compared");
        }
    }

    fn hello(&self, device: DeviceId, client: &AsyncClient) {
        self.asked_ms.store(uptime_ms(), Ordering::Relaxed);
        let hello = UpControl::Hello(Hello {
            agent_version: VERSION.into(),
            epoch: self.spool.epoch(),
            hostname: platform::hostname(),
            now_ms: local_ms(),
            running: self.running.list(),
            heeds_handed: true,
            instance: instance(),
        });
        let sent = hello.encode().is_ok_and(|bytes| {
            client.try_publish(Up::Hello.topic(device), QoS::AtMostOnce, false, bytes).is_ok()
        });
        if !sent {
            tracing::debug!("the hello found no room; it is sent with the next tick");
        }
    }
}

fn lost(error: &ConnectionError) -> End {
    match error {
        ConnectionError::ConnectionRefused(code) => match code {
            ConnectReturnCode::NotAuthorized | ConnectReturnCode::BadClientId => {
                End::Refused(format!("{code:?}"))
            }
            other => End::Lost(format!("it refuses for the moment: {other:?}")),
        },
        other => End::Lost(other.to_string()),
    }
}

struct Poller<I> {
    device: DeviceId,
    spool: Spool,
    inbox: Arc<I>,
    notes: mpsc::UnboundedSender<Note>,
    asked_ms: Arc<AtomicU64>,
    /// Whether the relay greeted: before, nobody knows whether the memory is whole.
    greeted: AtomicBool,
}

impl<I: Inbox> Poller<I> {
    async fn run(self, mut events: EventLoop) {
        let topics = [Down::Control, Down::Command, Down::Live].map(|d| (d.topic(self.device), d));
        loop {
            let note = match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => Some(Note::Connected),
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
