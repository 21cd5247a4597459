//! Keeps one connection to the relay, for ever.
//!
//! Of each connection there are three tasks: the [*poller*](super::poller) drives
//! the client and hands what comes down to the inbox, the *pump* publishes reports
//! and live frames, and the session itself walks through the stages: connected →
//! subscribed → introduced (`Hello`) → up (`Welcome`). Reports flow only when
//! up, because only then the relay's positions are known. Poller and pump are
//! apart because a publisher that waits for room must not stop the poller, which
//! makes the room.

use super::{
    Inbox,
    backoff::Backoff,
    live::LiveQueue,
    mqtt,
    poller::{Note, Poller},
    pump::pump_up,
    spool::Spool,
};
use crate::{
    VERSION,
    clock::{self, jitter, local_ms, uptime_ms},
    enroll::tls::{Trusting, fingerprint},
    execute::RunningSet,
    identity::{Identity, PrivateKey, instance},
    platform,
};
use rumqttc::{AsyncClient, ConnectReturnCode, ConnectionError, QoS};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use unifyit_protocol::{
    clock::ClockAsk,
    ids::DeviceId,
    lan::{Hello, UpControl},
    topics::{Up, down_filter},
};

/// A connection that lasted this long was a good one.
const GOOD_AFTER: Duration = Duration::from_secs(20);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_millis(500);
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

impl<I: Inbox> Link<I> {
    /// Connects, and connects again, until stopped.
    pub async fn run(mut self) {
        let (mut backoff, mut turn, mut owes_all) = (Backoff::default(), 0usize, false);
        while !self.stop.is_cancelled() {
            let identity = Arc::clone(&self.identity.borrow_and_update());
            let addresses =
                if self.addresses.is_empty() { &identity.mqtt } else { &self.addresses };
            let address = addresses.get(turn % addresses.len().max(1)).cloned().unwrap_or_default();
            let started = Instant::now();
            let end = self.connect(&identity, &address, &mut owes_all).await;
            self.live.set_up(false);
            self.spool.link_lost();
            if started.elapsed() > GOOD_AFTER {
                backoff = Backoff::default();
            } else {
                turn += 1;
            }
            let wait = match end {
                End::Stopped => return,
                End::Again => continue,
                End::Lost(why) => {
                    tracing::warn!(address, why, "the relay is not connected");
                    backoff.lost()
                }
                End::Refused(why) => {
                    tracing::error!(
                        address,
                        why,
                        "the relay refuses this computer; if it was revoked in the console, \
                        enrol it again with --force and a token; if another key of this device \
                        is in use, allow its re-enrolment on the device's page first"
                    );
                    backoff.refused()
                }
            };
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

    /// `owes_all` is whether all is to be told once more as soon as reports flow.
    async fn connect(
        &mut self,
        identity: &Arc<Identity>,
        address: &str,
        owes_all: &mut bool,
    ) -> End {
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
        let poller = Poller::new(
            identity.device,
            self.spool.clone(),
            Arc::clone(&self.inbox),
            notes,
            Arc::clone(&self.asked_ms),
        );
        // The tasks of a connection end with it.
        let poller = AbortOnDropHandle::new(tokio::spawn(poller.run(events)));
        let end = self.walk(identity.device, &client, inbox, owes_all).await;
        if matches!(end, End::Stopped | End::Again) && client.try_disconnect().is_ok() {
            // The poller ends when the farewell is out; it must not hang for it.
            drop(timeout(FAREWELL, poller).await);
        }
        end
    }

    async fn walk(
        &mut self,
        device: DeviceId,
        client: &AsyncClient,
        mut notes: mpsc::UnboundedReceiver<Note>,
        owes_all: &mut bool,
    ) -> End {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        let (mut waited, mut introduced) = (0, false);
        let mut pump: Option<AbortOnDropHandle<()>> = None;
        // One at a time, which waits for its turn.
        let mut sign: Option<AbortOnDropHandle<()>> = None;
        loop {
            tokio::select! {
                note = notes.recv() => match note {
                    None => return End::Lost("the client ended".into()),
                    Some(Note::Lost(error)) => return lost(&error),
                    Some(Note::Silent) => return End::Lost("nothing is heard of it".into()),
                    Some(Note::Quiet) => {
                        if sign.as_ref().is_none_or(AbortOnDropHandle::is_finished) {
                            let saying = tokio::spawn(sign_of_life(device, client.clone()));
                            sign = Some(AbortOnDropHandle::new(saying));
                        }
                    }
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
                        pump = None;
                        // Also where its commit only seemed to fail: nobody asks again then.
                        *owes_all = true;
                        if let Err(error) = self.spool.start_over(above).await {
                            return End::Lost(error.to_string());
                        }
                        self.hello(device, client);
                    }
                    Some(Note::Up) => {
                        waited = 0;
                        if std::mem::take(owes_all) {
                            self.inbox.tell_all_again();
                        }
                        if pump.is_none() {
                            self.live.set_up(true);
                            let work = pump_up(
                                device, client.clone(), self.spool.clone(), Arc::clone(&self.live),
                            );
                            pump = Some(AbortOnDropHandle::new(tokio::spawn(work)));
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
        let sent = clock_question().encode().is_ok_and(|bytes| {
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

fn clock_question() -> UpControl {
    UpControl::Clock(ClockAsk { asked_ms: uptime_ms(), now_ms: local_ms() })
}

/// Says something that the relay acknowledges at once, also while its disk stands still, as
/// long as it has room for what it hears. It waits for its turn where the line is full:
/// nothing else is said for its own sake.
async fn sign_of_life(device: DeviceId, client: AsyncClient) {
    if let Ok(bytes) = clock_question().encode() {
        // A client that is gone has told so.
        drop(client.publish(Up::Hello.topic(device), QoS::AtLeastOnce, false, bytes).await);
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

#[cfg(test)]
mod tests;
