//! A fleet of simulated devices in one process, over real TLS connections and
//! the real protocol: enrolment by token, MQTT with client certificates, spools
//! with acknowledgements, signed commands with simulated outcomes.
//!
//! [`Fleet::start`] enrols what is missing and lets every device live in a task
//! of its own; identities are kept in a file, so that a second start brings the
//! same devices back.

pub mod device;
pub mod enroll;
pub mod execute;
pub mod flooder;
pub mod hostile;
pub mod inventory;
pub mod machine;
pub mod mqtt;
pub mod spool;

pub use device::now_ms;
pub use enroll::{Enroller, Identity};
pub use mqtt::Connection;

use anyhow::{Context, Result, bail};
use device::Device;
use futures::{StreamExt, stream};
use machine::{Machine, Rng};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::{
    fs,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::ids::{CommandId, DeviceId};

/// Handshakes that are under way at once: the fleet shares the machine with the
/// relay that it connects to.
const HANDSHAKES: usize = 32;
/// Enrolments that are under way at once.
const ENROLMENTS: usize = 8;

/// What to simulate.
#[derive(Debug, Clone)]
pub struct FleetSpec {
    /// How many devices.
    pub devices: usize,
    /// An agent token with enough uses; needed while devices are missing.
    pub token: Option<String>,
    /// Where identities are kept. Without it they are forgotten at the end.
    pub file: Option<PathBuf>,
    /// Grows the whole fleet.
    pub seed: u64,
}

/// A number that rises or falls, shared by all devices.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the fleet has done.
#[derive(Debug, Default)]
pub struct Stats {
    /// Devices that are connected.
    pub online: Count,
    /// Samples taken.
    pub samples: Count,
    /// Reports that the relay has made durable.
    pub acked: Count,
    /// Reports that found a full spool.
    pub not_taken: Count,
    /// Commands started.
    pub started: Count,
    /// Commands finished.
    pub finished: Count,
    /// Deliveries of commands that were known already.
    pub repeated: Count,
    /// Commands that the guards refused.
    pub refused: Count,
}

/// What an observer is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A command reached a device, which has not looked into it yet.
    Arrived(CommandId),
    /// A command passed a device's guard and was started.
    Started(CommandId),
    /// Everything urgent that the device had to say is durable at the relay.
    Settled,
}

/// Told of moments in the lives of devices, as they happen.
pub type Observer = Box<dyn Fn(DeviceId, Moment, Instant) + Send + Sync>;

/// What all devices share.
pub struct Fleet {
    /// Numbers.
    pub stats: Stats,
    hostile: bool,
    /// Whether devices heed commands.
    heeding: AtomicBool,
    stop: CancellationToken,
    handshakes: Semaphore,
    observer: Mutex<Option<Arc<Observer>>>,
}

impl Fleet {
    /// Enrols what is missing and brings every device to life.
    ///
    /// # Errors
    /// When devices are missing and cannot be enrolled.
    pub async fn start(spec: &FleetSpec) -> Result<Running> {
        Self::launch(spec, false).await
    }

    /// As [`Fleet::start`], with devices that lie; see [`hostile`].
    ///
    /// # Errors
    /// When devices are missing and cannot be enrolled.
    pub async fn start_hostile(spec: &FleetSpec) -> Result<Running> {
        Self::launch(spec, true).await
    }

    async fn launch(spec: &FleetSpec, hostile: bool) -> Result<Running> {
        crate::install_crypto();
        allow_files(spec.devices as u64 + 256)?;
        let identities = identities(spec, hostile).await?;
        let fleet = Arc::new(Self {
            stats: Stats::default(),
            hostile,
            heeding: AtomicBool::new(true),
            stop: CancellationToken::new(),
            handshakes: Semaphore::new(HANDSHAKES),
            observer: Mutex::new(None),
        });
        let mut tasks = JoinSet::new();
        let mut devices = Vec::with_capacity(identities.len());
        for (number, identity) in identities.into_iter().enumerate() {
            devices.push(identity.device);
            tasks.spawn(Device::new(identity, number + 1, Arc::clone(&fleet))?.live());
        }
        Ok(Running { fleet, devices, tasks })
    }

    fn count_online(self: &Arc<Self>) -> Online {
        self.stats.online.add(1);
        Online(Arc::clone(self))
    }

    fn observe(&self, device: DeviceId, moment: Moment) {
        let observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(observer) = observer {
            observer(device, moment, Instant::now());
        }
    }
}

/// Counts a connected device for as long as it lives.
struct Online(Arc<Fleet>);

impl Drop for Online {
    fn drop(&mut self) {
        self.0.stats.online.sub(1);
    }
}

/// A living fleet. Dropping it cuts all connections.
pub struct Running {
    fleet: Arc<Fleet>,
    /// Ids of all devices, in the order of their numbers.
    pub devices: Vec<DeviceId>,
    tasks: JoinSet<()>,
}

impl Running {
    /// The fleet's numbers.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.fleet.stats
    }

    /// Whom to tell.
    pub fn observe(&self, observer: Option<Observer>) {
        *self.fleet.observer.lock().unwrap_or_else(PoisonError::into_inner) =
            observer.map(Arc::new);
    }

    /// Whether devices heed the commands that arrive, or only note the arrival,
    /// as the subscribers of a broker do.
    pub fn heed(&self, heeding: bool) {
        self.fleet.heeding.store(heeding, Ordering::Relaxed);
    }

    /// Waits until so many devices are connected.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub async fn online(&self, devices: usize, limit: Duration) -> Result<()> {
        let what = format!("{devices} simulated devices to be connected");
        crate::wait::until(&what, limit, || async {
            let online = self.stats().online.get();
            if online >= devices as u64 {
                return Ok(Some(()));
            }
            bail!("{online} are connected")
        })
        .await
    }

    /// Lets all devices say goodbye and end.
    pub async fn stop(mut self) {
        self.fleet.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.fleet.stop.cancel();
    }
}

async fn identities(spec: &FleetSpec, hostile: bool) -> Result<Vec<Identity>> {
    let mut known: Vec<Identity> = match &spec.file {
        Some(path) if path.exists() => serde_json::from_slice(&fs::read(path)?)
            .with_context(|| format!("{} is damaged; remove it to begin anew", path.display()))?,
        _ => Vec::new(),
    };
    if known.len() < spec.devices {
        let token = spec.token.as_deref().context("an agent token is needed for new devices")?;
        let enroller = Enroller::new(token)?;
        let missing = known.len()..spec.devices;
        let mut joined = stream::iter(missing)
            .map(|number| {
                let enroller = enroller.clone();
                // A machine that joins again is the same device: liars are others.
                let stream = if hostile { format!("hostile {number}") } else { number.to_string() };
                let seed = Rng::new(spec.seed, &stream).next_u64();
                async move {
                    let hostname = machine(hostile, seed, number + 1).hostname;
                    enroller.enroll(&hostname, seed).await
                }
            })
            .buffered(ENROLMENTS);
        while let Some(identity) = joined.next().await {
            known.push(identity?);
            if known.len().is_multiple_of(200) {
                save(spec.file.as_deref(), &known)?;
                tracing::info!(devices = known.len(), "enrolling simulated devices");
            }
        }
        save(spec.file.as_deref(), &known)?;
    }
    known.truncate(spec.devices);
    Ok(known)
}

/// The computer behind a device, honest or not.
fn machine(hostile: bool, seed: u64, number: usize) -> Machine {
    if hostile { hostile::machine(number) } else { Machine::new(seed, number) }
}

fn save(path: Option<&Path>, identities: &[Identity]) -> Result<()> {
    use std::io::Write;
    let Some(path) = path else { return Ok(()) };
    let fresh = path.with_extension("fresh");
    // Private keys of devices, if only simulated ones.
    let mut file =
        fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(&serde_json::to_vec(identities)?)?;
    file.sync_all()?;
    Ok(fs::rename(fresh, path)?)
}

/// Raises the limit on open files as far as it may go.
fn allow_files(needed: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < needed && hard > soft {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    if hard < needed {
        bail!("{needed} open files are needed and {hard} are allowed: raise `ulimit -n`");
    }
    Ok(())
}
