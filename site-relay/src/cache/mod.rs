//! The site's package cache: an HTTP proxy and mirror for packages and patches.
//!
//! A request is resolved by [`policy`] to a resource; [`lookup`] decides from the
//! [`index`] whether the stored content may be served, must be confirmed, or is
//! missing; a [`flight`] fetches it once for all who wait; [`respond`] writes the
//! answer and [`transfer`] the bytes. What the console sets is joined with the
//! relay's own file in [`console`], and [`report`] tells it what came of it. Bodies are kept once by their hash
//! ([`content`]); what signed indexes say of a path ([`facts`]) overrules every
//! URL and validator. [`eviction`] chooses what goes when room is needed.
//!
//! It keeps true: no byte leaves that is not the one the repository's signed
//! index names, or, where there is none, that the upstream last confirmed; a
//! damaged block is dropped and fetched again; and with the WAN down, what was
//! cached is served and says that it is stale.

mod along;
mod audit;
mod conditions;
mod config;
mod console;
pub mod content;
mod demand;
pub mod eviction;
pub mod facts;
mod fallback;
mod flight;
mod head;
mod hex;
mod hot;
pub mod index;
mod learn;
mod linger;
mod lookup;
mod meters;
mod naming;
pub mod policy;
mod prefetch;
mod range;
mod reach;
mod receive;
mod refresh;
mod report;
mod request;
mod respond;
mod rewrite;
mod room;
mod scrub;
mod serve;
mod shape;
mod sister;
mod transfer;
mod upstream;
mod windows;

pub use config::CacheConfig;
pub use index::Saving;
pub use meters::{Meters, Savings};
pub use prefetch::Wanted;
pub use report::Told;
pub use serve::serve;

use content::Contents;
use index::{Content, Entry, Index};
use policy::Resource;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use thiserror::Error;
use tokio::sync::{Notify, watch};

/// Why the cache cannot open.
#[derive(Debug, Error)]
pub enum CacheError {
    /// Folder or disk.
    #[error("the package cache's folder {0} cannot be used: {1}")]
    Folder(PathBuf, std::io::Error),
    /// Index database.
    #[error(transparent)]
    Index(#[from] index::IndexError),
    /// Off hours.
    #[error("cache.ahead_from and cache.ahead_until are times of day such as 22:00, not {0}")]
    Hours(String),
    /// The client for upstreams.
    #[error("the package cache cannot make TLS connections: {0}")]
    Client(#[from] reqwest::Error),
    /// The file of further authorities.
    #[error("cache.authorities: the file {0} cannot be read: {1}")]
    Authorities(PathBuf, std::io::Error),
}

/// Tells Unix milliseconds.
pub type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

fn system_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The cache.
pub struct Cache {
    pub(in crate::cache) config: CacheConfig,
    pub(in crate::cache) contents: Contents,
    pub(in crate::cache) index: Index,
    pub(in crate::cache) client: upstream::Client,
    /// What is in force: the file's settings and the console's.
    rules: console::Shared,
    own_hours: prefetch::Hours,
    flights: Mutex<HashMap<flight::Key, watch::Receiver<flight::Phase>>>,
    lingering: linger::Lingering,
    next_partial: AtomicU64,
    /// Bytes of bodies on disk.
    stored: AtomicU64,
    /// Bytes that fetches under way have room for.
    promised: AtomicU64,
    room: tokio::sync::Mutex<()>,
    /// Relays of the same organization, where there are any.
    sisters: OnceLock<crate::sisters::Sisters>,
    /// Something is to be told to the cloud.
    news: Notify,
    /// The list of files to fetch ahead changed.
    wanted: Notify,
    clock: Clock,
    hot: Mutex<hot::HotBodies>,
    /// Places for questions that are passed on.
    asking: tokio::sync::Semaphore,
    /// Held while an index is read.
    learning: Mutex<()>,
    uses: Mutex<HashMap<content::Hash, (u32, u64)>>,
    /// Set while the last fetch failed for want of a connection, Unix ms.
    pub(in crate::cache) upstream_lost_ms: AtomicU64,
    /// What it saved.
    pub savings: Savings,
    /// Prometheus metrics.
    pub meters: Meters,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Cache {
    /// Opens the cache and brings index and disk into agreement: a body that the
    /// index does not know is removed, a content whose body is gone is forgotten.
    ///
    /// # Errors
    /// [`CacheError`] says what to look at.
    pub fn open(
        config: CacheConfig,
        state: &Path,
        registry: &prometheus::Registry,
    ) -> Result<Arc<Self>, CacheError> {
        Self::open_with(config, state, registry, Box::new(system_ms))
    }

    /// [`Cache::open`] with another clock.
    ///
    /// # Errors
    /// [`CacheError`] says what to look at.
    pub fn open_with(
        mut config: CacheConfig,
        state: &Path,
        registry: &prometheus::Registry,
        clock: Clock,
    ) -> Result<Arc<Self>, CacheError> {
        if config.folder.as_os_str().is_empty() {
            config.folder = state.join("cache");
        }
        let stall = Duration::from_secs(config.upstream_stall_s.max(1));
        let folder = config.folder.clone();
        let contents =
            Contents::open(&folder).map_err(|e| CacheError::Folder(folder.clone(), e))?;
        let index = Index::open(&folder.join("index.redb"))?;
        let _anew = index.take_lost();
        let rules = console::Rules::of(&config).map_err(CacheError::Hours)?;
        let own_hours = rules.hours;
        let rules: console::Shared = Arc::new(RwLock::new(Arc::new(rules)));
        let cache = Self {
            own_hours,
            client: upstream::client(&config, Arc::clone(&rules), stall)?,
            rules,
            config,
            contents,
            index,
            flights: Mutex::default(),
            lingering: linger::Lingering::default(),
            next_partial: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            promised: AtomicU64::new(0),
            room: tokio::sync::Mutex::default(),
            sisters: OnceLock::new(),
            news: Notify::new(),
            wanted: Notify::new(),
            clock,
            hot: Mutex::default(),
            asking: tokio::sync::Semaphore::new(audit::AT_ONCE),
            learning: Mutex::default(),
            uses: Mutex::default(),
            upstream_lost_ms: AtomicU64::new(0),
            savings: Savings::default(),
            meters: Meters::new(registry),
        };
        cache.reconcile()?;
        cache.forget_names()?;
        cache.bound_facts();
        Ok(Arc::new(cache))
    }

    /// Since when upstreams have been out of reach, Unix milliseconds.
    #[must_use]
    pub fn upstream_lost_since_ms(&self) -> Option<u64> {
        match self.upstream_lost_ms.load(Ordering::Relaxed) {
            0 => None,
            at => Some(at),
        }
    }

    /// Bytes of bodies kept.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// Writes gathered uses and savings to the index.
    ///
    /// # Errors
    /// When the index fails; what was gathered is gathered again.
    pub fn flush(&self) -> Result<(), index::IndexError> {
        self.cool();
        if self.index.take_lost() {
            self.reconcile().map_err(|e| index::IndexError::Disk(e.to_string()))?;
        }
        let uses: Vec<_> = {
            let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
            uses.drain().map(|(hash, (times, at))| (hash, times, at)).collect()
        };
        let savings = self.savings.take();
        if uses.is_empty() && savings.is_empty() {
            return Ok(());
        }
        self.meters.saved(&savings);
        self.index
            .note(&uses, meters::day(self.now_ms()), &savings)
            .inspect_err(|_| self.savings.put_back(savings))
    }

    /// Savings by day and repository, what is not yet written included.
    ///
    /// # Errors
    /// When the index fails.
    pub fn saved(&self) -> Result<Vec<(String, String, index::Saving)>, index::IndexError> {
        self.flush()?;
        self.index.savings()
    }

    /// What was saved since the day began (UTC), over all repositories.
    ///
    /// # Errors
    /// When the index fails.
    pub fn saved_today(&self) -> Result<Saving, index::IndexError> {
        let today = index::name_of(meters::day(self.now_ms()));
        let mut sum = Saving::default();
        for (.., saving) in self.saved()?.iter().filter(|(day, ..)| *day == today) {
            sum.add(saving);
        }
        Ok(sum)
    }

    /// Whether a copy may still be served while the upstream does not give it.
    fn may_be_served(&self, entry: &Entry) -> bool {
        let bound_ms = u64::from(self.config.stale_days) * 24 * 3600 * 1000;
        self.now_ms().saturating_sub(entry.checked_ms) <= bound_ms
    }

    fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    fn used(&self, hash: content::Hash) {
        let now_ms = self.now_ms();
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = uses.entry(hash).or_insert((0, now_ms));
        *slot = (slot.0.saturating_add(1), now_ms);
    }

    /// Gives a received body its name and its entry.
    fn keep(
        &self,
        resource: &Resource,
        sealed: &content::Sealed,
        entry: &Entry,
        cost_ms: u32,
    ) -> Result<(), CacheError> {
        let folder = || self.config.folder.clone();
        let digests = sealed.digests;
        let sha256 = self.contents.keep(sealed).map_err(|e| CacheError::Folder(folder(), e))?;
        let new = !matches!(self.index.content(&digests.blake3), Ok(Some(_)));
        let content = Content {
            size: digests.size,
            sha256,
            used_ms: self.now_ms(),
            uses: 0,
            cost_ms,
            pinned_ms: 0,
        };
        if let Err(error) = self.index.keep(resource, entry, &content) {
            // A body that the index does not know would count for nobody.
            self.contents.remove(&digests.blake3);
            return Err(error.into());
        }
        if new {
            self.stored.fetch_add(digests.size, Ordering::Relaxed);
            self.show_stored();
        }
        self.cool_one(resource);
        self.learn(resource, entry);
        if self.index.entries()? > self.config.max_names {
            self.forget_names()?;
        }
        Ok(())
    }

    /// Drops what the index holds of files that are gone; at the bound, also of
    /// those that nobody asked for the longest.
    fn forget_names(&self) -> Result<(), index::IndexError> {
        let most = self.config.max_names.max(1000);
        let full = self.index.entries()? > most;
        let gone = self.index.forget_entries(most)?;
        if full {
            self.meters.names_forgotten.inc_by(gone);
            tracing::warn!(
                gone,
                most,
                "The package cache forgot names: cache.max_names is reached."
            );
        }
        Ok(())
    }
}
