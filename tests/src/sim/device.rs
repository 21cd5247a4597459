//! One simulated device: connects, introduces itself, reports, executes, and
//! comes back by itself when the connection is lost.

use super::{
    Fleet, Moment,
    enroll::Identity,
    execute::{Guard, Plan, Verdict, chunks, event},
    hostile, inventory,
    machine::{Machine, Meter, Rng},
    mqtt::{Connection, Incoming, KEEP_ALIVE_S},
    spool::Spool,
};
use anyhow::Result;
use rustls::ClientConfig;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use unifyit_protocol::{
    config::DeviceConfig,
    envelope::Decoded,
    ids::{CommandId, TunnelId},
    lan::{Deliver, DownControl, Hello, UpControl},
    lane::Lane,
    live::{LiveDown, LiveUp, TunnelClosed, TunnelData},
    outcome::{CommandEvent, Status},
    report::Report,
    topics::{Down, Up},
};

/// Most terminals of one device.
const MAX_TERMINALS: usize = 4;

/// Unix milliseconds.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0)
}

/// A device at work.
pub struct Device {
    identity: Identity,
    tls: Arc<ClientConfig>,
    fleet: Arc<Fleet>,
    machine: Machine,
    meter: Meter,
    rng: Rng,
    spool: Spool,
    guard: Guard,
    config: DeviceConfig,
    running: BTreeMap<(Instant, CommandId), Plan>,
    terminals: HashMap<TunnelId, u64>,
    table_sent: bool,
}

impl Device {
    /// A device with its identity; `number` is part of its name.
    ///
    /// # Errors
    /// When the identity is damaged.
    pub fn new(identity: Identity, number: usize, fleet: Arc<Fleet>) -> Result<Self> {
        let now = now_ms();
        let machine = super::machine(fleet.hostile, identity.seed, number);
        let meter = Meter::new(&machine, identity.seed, now);
        let tls = Arc::new(identity.tls()?);
        let config = identity.config.clone();
        let rng = Rng::new(identity.seed ^ now, "life");
        Ok(Self {
            identity,
            tls,
            fleet,
            machine,
            meter,
            rng,
            // The clock makes each start's epoch larger than the one before.
            spool: Spool::new(now),
            guard: Guard::default(),
            config,
            running: BTreeMap::new(),
            terminals: HashMap::new(),
            table_sent: false,
        })
    }

    /// Lives until the fleet stops.
    pub async fn live(mut self) {
        let stop = self.fleet.stop.clone();
        let mut backoff_ms = 500;
        while !stop.is_cancelled() {
            let began = Instant::now();
            tokio::select! {
                () = stop.cancelled() => return,
                outcome = self.session() => {
                    if let Err(error) = outcome {
                        tracing::debug!(device = %self.identity.device, %error, "the session ended");
                    }
                }
            }
            self.terminals.clear();
            if began.elapsed() > Duration::from_secs(30) {
                backoff_ms = 500;
            }
            let pause = backoff_ms / 2 + self.rng.below(backoff_ms);
            backoff_ms = (backoff_ms * 2).min(10_000);
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(Duration::from_millis(pause)) => {}
            }
        }
    }

    async fn session(&mut self) -> Result<()> {
        let fleet = Arc::clone(&self.fleet);
        let mut connection = {
            let _turn = fleet.handshakes.acquire().await?;
            Box::pin(Connection::open(&self.identity, Arc::clone(&self.tls))).await?
        };
        let _online = fleet.count_online();
        self.hello(&mut connection).await?;
        let mut next_ping = Instant::now() + Duration::from_secs(u64::from(KEEP_ALIVE_S) / 2);
        let mut next_sample = Instant::now() + self.first_pause();
        let mut next_change = Instant::now() + self.change_pause();
        loop {
            let next_end = self.running.first_key_value().map(|((at, _), _)| *at);
            tokio::select! {
                () = fleet.stop.cancelled() => {
                    connection.close().await;
                    return Ok(());
                }
                incoming = connection.next() => self.take(&mut connection, incoming?).await?,
                () = sleep_until(next_ping) => {
                    connection.ping().await?;
                    next_ping = Instant::now() + Duration::from_secs(u64::from(KEEP_ALIVE_S) / 2);
                }
                () = sleep_until(next_sample) => {
                    self.sample()?;
                    next_sample += Duration::from_secs(u64::from(self.config.collect_every_s.max(1)));
                }
                () = sleep_until(next_change) => {
                    let report = inventory::update(&self.machine, &mut self.rng, now_ms());
                    self.push(Lane::State, Report::Inventory(report))?;
                    next_change = Instant::now() + self.change_pause();
                }
                () = sleep_until(next_end.unwrap_or_else(Instant::now)), if next_end.is_some() => {
                    self.finish_due(&mut connection).await?;
                }
            }
            self.flush(&mut connection).await?;
        }
    }

    fn first_pause(&mut self) -> Duration {
        Duration::from_millis(self.rng.below(u64::from(self.config.collect_every_s.max(1)) * 1000))
    }

    fn change_pause(&mut self) -> Duration {
        Duration::from_secs(3600 + self.rng.below(6 * 3600))
    }

    async fn hello(&mut self, connection: &mut Connection) -> Result<()> {
        let hello = UpControl::Hello(Hello {
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch: self.spool.epoch(),
            hostname: self.identity.hostname.clone(),
            now_ms: now_ms(),
            running: self.running.keys().map(|(_, id)| *id).take(64).collect(),
            heeds_handed: false,
            instance: uuid::Uuid::nil(),
        });
        self.publish(connection, Up::Hello, hello.encode()?).await?;
        // Nothing else is sent before the relay has said where it stands.
        loop {
            let incoming = timeout(Duration::from_secs(30), connection.next()).await??;
            let welcome = matches!(
                DownControl::decode(&incoming.payload),
                Ok(Decoded::Known(DownControl::Welcome(_)))
            );
            self.take(connection, incoming).await?;
            if welcome {
                return self.flush(connection).await;
            }
        }
    }

    async fn publish(&self, connection: &mut Connection, kind: Up, bytes: Vec<u8>) -> Result<()> {
        connection.publish(&kind.topic(self.identity.device), bytes).await
    }

    fn push(&mut self, lane: Lane, report: Report) -> Result<()> {
        if !self.spool.push(lane, &report)? {
            self.fleet.stats.not_taken.add(1);
        }
        Ok(())
    }

    fn sample(&mut self) -> Result<()> {
        if !self.table_sent {
            self.table_sent = true;
            self.push(Lane::Metrics, Report::Series(self.meter.series()))?;
            for section in inventory::sections(&self.machine, self.identity.seed, now_ms()) {
                self.push(Lane::State, Report::Inventory(section))?;
            }
        }
        let sample = self.meter.sample(now_ms());
        self.fleet.stats.samples.add(1);
        self.push(Lane::Metrics, Report::Sample(sample))
    }

    async fn flush(&mut self, connection: &mut Connection) -> Result<()> {
        while let Some(batch) = self.spool.next_batch() {
            let bytes = unifyit_protocol::codec::encode(&batch)?;
            self.publish(connection, Up::Report, bytes).await?;
        }
        Ok(())
    }

    async fn take(&mut self, connection: &mut Connection, incoming: Incoming) -> Result<()> {
        let kind = incoming.topic.rsplit('/').next().unwrap_or_default();
        if kind == Down::Control.as_str() {
            self.control(&incoming.payload)
        } else if kind == Down::Command.as_str() {
            self.command(connection, &incoming.payload).await
        } else {
            self.typed(connection, &incoming.payload).await
        }
    }

    fn control(&mut self, payload: &[u8]) -> Result<()> {
        let Decoded::Known(message) = DownControl::decode(payload)? else { return Ok(()) };
        match message {
            DownControl::Welcome(welcome) => {
                self.config = welcome.config;
                self.spool.reconnected(&welcome.positions);
            }
            DownControl::Ack(ack) => {
                let covered = self.spool.acknowledged(ack);
                self.fleet.stats.acked.add(covered);
                if ack.lane == Lane::Urgent && covered > 0 && self.spool.is_settled(Lane::Urgent) {
                    self.fleet.observe(self.identity.device, Moment::Settled);
                }
            }
            DownControl::Config(config) => self.config = config,
            // A simulated fleet does not live as long as its certificates, nor does it
            // forget.
            DownControl::Renew(_)
            | DownControl::Handed(_)
            | DownControl::Clock(_)
            | DownControl::TellInventory(_)
            | DownControl::NewIdentity(_) => {}
        }
        Ok(())
    }

    async fn command(&mut self, connection: &mut Connection, payload: &[u8]) -> Result<()> {
        let Decoded::Known(Deliver::Command(signed)) = Deliver::decode(payload)? else {
            return Ok(());
        };
        if let Ok(command) = signed.peek() {
            self.fleet.observe(self.identity.device, Moment::Arrived(command.id));
        }
        if !self.fleet.heeding.load(Ordering::Relaxed) {
            return Ok(());
        }
        let stats = &self.fleet.stats;
        match self.guard.judge(&signed, &self.identity, now_ms(), &mut self.rng) {
            Verdict::Run(id, mut plan) => {
                if self.machine.lies {
                    plan.output = hostile::output();
                    plan.exit_code = 1;
                }
                stats.started.add(1);
                self.fleet.observe(self.identity.device, Moment::Started(id));
                self.push(Lane::Urgent, Report::Command(event(id, Status::Running, now_ms())))?;
                let end = Instant::now() + Duration::from_millis(plan.runs_ms);
                self.running.insert((end, id), plan);
            }
            Verdict::Cancel { by, target } => {
                self.stop(target)?;
                self.push(Lane::Urgent, Report::Command(event(by, Status::Succeeded, now_ms())))?;
            }
            Verdict::Terminal(terminal) => self.open(connection, terminal.tunnel).await?,
            Verdict::Known(event) => {
                stats.repeated.add(1);
                self.push(Lane::Urgent, Report::Command(event))?;
            }
            Verdict::Refused(event) => {
                stats.refused.add(1);
                self.guard.remember(event.clone());
                self.push(Lane::Urgent, Report::Command(event))?;
            }
            Verdict::Unreadable => stats.refused.add(1),
        }
        Ok(())
    }

    fn stop(&mut self, target: CommandId) -> Result<()> {
        let found = self.running.keys().find(|(_, id)| *id == target).copied();
        if let Some(key) = found {
            self.running.remove(&key);
            let reason = Some("Stopped by a technician.".to_owned());
            let event = CommandEvent { reason, ..event(target, Status::Cancelled, now_ms()) };
            self.guard.remember(event.clone());
            self.push(Lane::Urgent, Report::Command(event))?;
        }
        Ok(())
    }

    async fn finish_due(&mut self, connection: &mut Connection) -> Result<()> {
        let now = Instant::now();
        while let Some(first) = self.running.first_entry() {
            let (at, id) = *first.key();
            if at > now {
                break;
            }
            let plan = first.remove();
            for chunk in chunks(id, &plan.output) {
                let live = LiveUp::Output(chunk.clone()).encode()?;
                self.publish(connection, Up::Live, live).await?;
                self.push(Lane::Output, Report::Output(chunk))?;
            }
            let status = if plan.exit_code == 0 { Status::Succeeded } else { Status::Failed };
            let done = CommandEvent {
                reason: self.machine.lies.then(|| self.machine.os_name.chars().take(200).collect()),
                exit_code: Some(plan.exit_code),
                output_len: plan.output.len() as u64,
                ..event(id, status, now_ms())
            };
            self.guard.remember(done.clone());
            self.fleet.stats.finished.add(1);
            self.push(Lane::Urgent, Report::Command(done))?;
        }
        Ok(())
    }

    async fn open(&mut self, connection: &mut Connection, tunnel: TunnelId) -> Result<()> {
        if self.terminals.len() >= MAX_TERMINALS {
            let reason = "This device has enough terminals open.".to_owned();
            let closed = LiveUp::Closed(TunnelClosed { tunnel, reason });
            return self.publish(connection, Up::Live, closed.encode()?).await;
        }
        self.terminals.insert(tunnel, 0);
        if self.machine.lies {
            self.print(connection, tunnel, &hostile::output()).await?;
        }
        let prompt = format!("{}$ ", self.identity.hostname);
        self.print(connection, tunnel, prompt.as_bytes()).await
    }

    async fn print(
        &mut self,
        connection: &mut Connection,
        tunnel: TunnelId,
        data: &[u8],
    ) -> Result<()> {
        let Some(seq) = self.terminals.get_mut(&tunnel) else { return Ok(()) };
        let frame = LiveUp::Data(TunnelData { tunnel, seq: *seq, data: data.to_vec() });
        *seq += 1;
        self.publish(connection, Up::Live, frame.encode()?).await
    }

    /// The simulated shell only echoes.
    async fn typed(&mut self, connection: &mut Connection, payload: &[u8]) -> Result<()> {
        let Decoded::Known(message) = LiveDown::decode(payload)? else { return Ok(()) };
        match message {
            LiveDown::Data(typed) => {
                let mut echo = Vec::with_capacity(typed.data.len());
                for byte in typed.data {
                    if byte == b'\r' {
                        echo.extend_from_slice(b"\r\n");
                        echo.extend_from_slice(self.identity.hostname.as_bytes());
                        echo.extend_from_slice(b"$ ");
                    } else {
                        echo.push(byte);
                    }
                }
                self.print(connection, typed.tunnel, &echo).await?;
            }
            LiveDown::Close(closed) => {
                self.terminals.remove(&closed.tunnel);
            }
            LiveDown::Resize(_) | LiveDown::Credit(_) => {}
        }
        Ok(())
    }
}
