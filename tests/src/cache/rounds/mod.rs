//! The seeded fault test: round after round, a repository publishes files, one
//! thing goes wrong, and clients ask through the cache until all is well again.
//!
//! A client trusts only the index that it fetched through the same cache. Wrong
//! is a whole answer of other bytes than that index names, or a fragment that is
//! the beginning of nothing that was ever published. Broken answers and refusals
//! are counted; a file that does not come within a few tries after the fault has
//! ended is lost.

mod faults;
mod trust;

use super::{
    bytes, client,
    disk::Disk,
    proxy::{Kind, Limits, Proxy},
    repository::{Index, Repository, Verdict},
    upstream::Upstream,
};
use crate::wait::secs;
use anyhow::Result;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::{collections::BTreeMap, fmt, path::Path, time::Duration};

/// Rounds whose files stay published.
const KEPT_ROUNDS: u64 = 10;
/// Tries until a file counts as lost.
const TRIES: u32 = 5;
/// Size of the cache's disk, megabytes.
const DISK_MB: u32 = 96;

/// What goes wrong in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9` while files are being fetched.
    Kill,
    /// Other content under the same names, once also in mid-transfer.
    Republish,
    /// Bits flip in files of the cache, or files shrink.
    Flip,
    /// The upstream breaks off.
    Cut,
    /// The upstream claims another length.
    Lie,
    /// The upstream sends nothing more and stays.
    Stall,
    /// The upstream's bytes are not those of its index.
    Corrupt,
    /// Clients that send and take next to nothing.
    SlowClients,
    /// The disk fills up.
    FullDisk,
    /// The upstream is out of reach.
    Away,
    /// Somebody else answers in the upstream's place.
    Portal,
    /// Names are spelled in other ways.
    Spelling,
    /// The upstream grants freshness that does not hold.
    Freshness,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Kill,
        Self::Republish,
        Self::Flip,
        Self::Cut,
        Self::Lie,
        Self::Stall,
        Self::Corrupt,
        Self::SlowClients,
        Self::FullDisk,
        Self::Away,
        Self::Portal,
        Self::Spelling,
        Self::Freshness,
    ];
}

/// What came of all rounds.
#[derive(Debug, Default)]
pub struct Tally {
    /// Rounds by fault.
    pub rounds: BTreeMap<Fault, u64>,
    /// Right answers.
    pub right: u64,
    /// Answers whose end the client saw missing.
    pub broken: u64,
    /// Answers that said that there is no file now.
    pub refused: u64,
    /// Wrong bytes, each with its round and what it was.
    pub wrong: Vec<String>,
    /// Files that did not come although nothing was wrong any more.
    pub lost: Vec<String>,
    /// Ends of the process that nobody asked for.
    pub crashes: Vec<String>,
    /// What could not be done on this machine.
    pub skipped: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds: u64 = self.rounds.values().sum();
        write!(
            f,
            "{rounds} rounds, {} right answers, {} broken off, {} refused, {} wrong, {} lost, {} crashes, {} skipped",
            self.right,
            self.broken,
            self.refused,
            self.wrong.len(),
            self.lost.len(),
            self.crashes.len(),
            self.skipped
        )
    }
}

/// Runs `rounds` rounds against a cache. The same seed gives the same faults.
///
/// # Errors
/// When the test itself cannot run; what the cache does wrong is in the tally.
pub async fn run(kind: Kind, folder: &Path, rounds: u64, seed: u64) -> Result<Tally> {
    let disk = Disk::new(&folder.join("disk"), DISK_MB).await?;
    if !disk.is_small() {
        println!("Nobody may mount here: full disks are not tested.");
    }
    let upstream = Upstream::start().await?;
    let limits = Limits {
        max_bytes: 40 << 20,
        reserve_bytes: 2 << 20,
        upstream_stall_s: 1,
        client_stall_s: 2,
    };
    let proxy = Proxy::start(kind, &upstream.authority, folder, &disk, limits).await?;
    let mut driver = Driver {
        repository: Repository::new(upstream),
        proxy,
        disk,
        random: StdRng::seed_from_u64(seed),
        tally: Tally::default(),
        round: 0,
        honest: true,
    };
    let mut hand = Vec::new();
    for round in 0..rounds {
        driver.round = round;
        if hand.is_empty() {
            hand = Fault::ALL.to_vec();
            hand.shuffle(&mut driver.random);
        }
        let Some(fault) = hand.pop() else { continue };
        driver.one(fault).await?;
        if (round + 1).is_multiple_of(50) {
            println!("{}: {}", kind.name(), driver.tally);
        }
    }
    Ok(driver.tally)
}

struct Driver {
    repository: Repository,
    proxy: Proxy,
    disk: Disk,
    random: StdRng,
    tally: Tally,
    round: u64,
    /// Whether the upstream sends what it published.
    honest: bool,
}

impl Driver {
    async fn one(&mut self, fault: Fault) -> Result<()> {
        self.publish();
        self.honest = fault != Fault::Corrupt;
        *self.tally.rounds.entry(fault).or_default() += 1;
        let index = self.update().await?;
        faults::inflict(self, fault, &index).await?;
        self.repository.upstream.behave();
        self.honest = true;
        self.settle(fault).await
    }

    /// A few small files and a large one, new in this round.
    fn publish(&mut self) {
        let round = self.round;
        for n in 0..4 {
            let size = self.random.random_range(200..60_000);
            self.repository.put(&small(round, n), bytes(round * 16 + n, size));
        }
        // Now and then one that is too large to be looked at before it is sent.
        let size = match round % 7 {
            0 => self.random.random_range(8_500_000..10_000_000),
            _ => self.random.random_range(800_000..2_500_000),
        };
        self.repository.put(&large(round), bytes(round * 16 + 9, size));
        if let Some(old) = round.checked_sub(KEPT_ROUNDS) {
            for n in 0..4 {
                self.repository.remove(&small(old, n));
            }
            self.repository.remove(&large(old));
        }
        self.repository.index();
    }

    /// Fetches the index, as often as that takes.
    async fn update(&mut self) -> Result<Index> {
        let mut last = None;
        for _ in 0..TRIES {
            match self.repository.update(&self.proxy).await {
                Ok(index) => return Ok(index),
                Err(verdict) => {
                    self.count(verdict.clone(), "index");
                    last = Some(verdict);
                }
            }
            self.revive().await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.tally.lost.push(format!("round {}: the index, {last:?}", self.round));
        Ok(Index::new())
    }

    /// With nothing wrong any more, everything must come.
    async fn settle(&mut self, fault: Fault) -> Result<()> {
        self.revive().await?;
        let index = self.update().await?;
        let mut paths = vec![large(self.round)];
        paths.extend((0..4).map(|n| small(self.round, n)));
        let mut older = self.repository.paths();
        older.shuffle(&mut self.random);
        paths.extend(older.into_iter().take(4));
        for path in paths {
            let Some(expected) = index.get(&path) else { continue };
            let mut came = false;
            for _ in 0..TRIES {
                let verdict = self.fetch(&path, Some(expected)).await;
                came = verdict == Verdict::Right;
                self.count(verdict, &format!("after {fault:?}"));
                if came {
                    break;
                }
                self.revive().await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            if !came {
                self.tally.lost.push(format!("round {} after {fault:?}: {path}", self.round));
            }
        }
        Ok(())
    }

    async fn fetch(&self, path: &str, expected: Option<&[u8; 32]>) -> Verdict {
        let got = client::get(self.proxy.address(), &self.proxy.target(path), &[]).await;
        self.repository.judge(path, expected, got)
    }

    fn is_ours(&self) -> bool {
        self.proxy.kind() == Kind::Unifyit
    }

    fn count(&mut self, verdict: Verdict, when: &str) {
        match verdict {
            Verdict::Right => self.tally.right += 1,
            Verdict::Broken(_) => self.tally.broken += 1,
            Verdict::Refused(_) => self.tally.refused += 1,
            // What an upstream sends that differs from its own index is seen to
            // be wrong at its end: until then it is a fragment.
            Verdict::WrongFragment(_) if !self.honest => self.tally.broken += 1,
            Verdict::Wrong(what) | Verdict::WrongFragment(what) => {
                self.tally.wrong.push(format!("round {}, {when}: {what}", self.round));
            }
        }
    }

    /// Starts the cache again when it has ended by itself.
    async fn revive(&mut self) -> Result<()> {
        if !self.proxy.is_alive() {
            let log = self.proxy.log_tail();
            self.tally.crashes.push(format!("round {}: {log}", self.round));
            self.proxy.restart().await?;
        }
        Ok(())
    }

    async fn kill_and_restart(&mut self) -> Result<()> {
        self.proxy.kill9();
        self.proxy.restart().await
    }

    /// Waits until the upstream has sent so much, or will not any more.
    async fn sent(&self, bytes: u64) {
        let upstream = &self.repository.upstream;
        // Not reaching it only makes the round a gentler one.
        let _ =
            crate::wait::until_true("the upstream to send", secs(3), || upstream.sent() >= bytes)
                .await;
    }
}

fn small(round: u64, n: u64) -> String {
    format!("/debian/pool/main/s/s{round}-{n}_1+deb12u{n}~rc1_amd64.deb")
}

fn large(round: u64) -> String {
    format!("/debian/pool/main/l/l{round}_1_amd64.deb")
}
