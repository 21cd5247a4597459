//! What goes wrong in a round, one function a fault.

use super::{Driver, Fault, Kind, large, small, trust};
use crate::cache::{
    bytes, client,
    repository::{Index, Verdict},
    upstream::Fault as Trouble,
};
use anyhow::Result;
use rand::{RngExt, seq::IndexedRandom};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

/// Lets one round's thing go wrong, with clients asking meanwhile.
pub(super) async fn inflict(driver: &mut Driver, fault: Fault, index: &Index) -> Result<()> {
    match fault {
        Fault::Kill => kill(driver, index).await,
        Fault::Republish => republish(driver, index).await,
        Fault::Flip => flip(driver, index).await,
        Fault::Cut | Fault::Lie | Fault::Stall | Fault::Corrupt => {
            trouble(driver, fault, index).await;
            Ok(())
        }
        Fault::SlowClients => slow_clients(driver, index).await,
        Fault::FullDisk => full_disk(driver, index).await,
        Fault::Portal => trust::portal(driver, index).await,
        Fault::Spelling => {
            trust::spelling(driver, index).await;
            Ok(())
        }
        Fault::Freshness => trust::freshness(driver).await,
        Fault::Away => {
            warm(driver, index, "away").await;
            driver.repository.upstream.gone(true);
            warm(driver, index, "away").await;
            Ok(())
        }
    }
}

/// Asks for all files of the round, one after the other.
async fn warm(driver: &mut Driver, index: &Index, when: &str) {
    let round = driver.round;
    for path in (0..4).map(|n| small(round, n)).chain([large(round)]) {
        let verdict = driver.fetch(&path, index.get(&path)).await;
        driver.count(verdict, when);
    }
}

type Answers = JoinSet<(String, Result<client::Got>)>;

/// Asks for paths, all at once.
fn ask(driver: &Driver, paths: impl IntoIterator<Item = String>) -> Answers {
    let mut answers = JoinSet::new();
    for path in paths {
        let (address, target) = (driver.proxy.address(), driver.proxy.target(&path));
        answers.spawn(async move { (path, client::get(address, &target, &[]).await) });
    }
    answers
}

async fn judge(driver: &mut Driver, answers: Answers, index: &Index, when: &str) {
    for (path, got) in answers.join_all().await {
        let verdict = driver.repository.judge(&path, index.get(&path), got);
        driver.count(verdict, when);
    }
}

async fn kill(driver: &mut Driver, index: &Index) -> Result<()> {
    let path = large(driver.round);
    let size = driver.repository.size(&path) as u64;
    driver.repository.upstream.rate(size * 2);
    let begun = driver.repository.upstream.sent();
    let smalls: Vec<_> = (0..4).map(|n| small(driver.round, n)).collect();
    let answers = ask(driver, [path.clone(), path.clone(), path].into_iter().chain(smalls));
    let share = driver.random.random_range(0..=110);
    driver.sent(begun + size * share / 100).await;
    let pause = driver.random.random_range(0..20);
    tokio::time::sleep(Duration::from_millis(pause)).await;
    driver.proxy.kill9();
    judge(driver, answers, index, "Kill").await;
    driver.proxy.restart().await
}

async fn republish(driver: &mut Driver, index: &Index) -> Result<()> {
    warm(driver, index, "Republish").await;
    let mut changed: Vec<_> = (0..4).map(|n| small(driver.round, n)).collect();
    changed.truncate(driver.random.random_range(1..=4));
    changed.push(large(driver.round));
    for (n, path) in changed.iter().enumerate() {
        // Half of them as long as before: only the bytes tell.
        let same = driver.random.random_bool(0.5);
        let size = if same {
            driver.repository.size(path)
        } else {
            driver.random.random_range(300..70_000)
        };
        let seed = 1_000_000 + driver.round * 16 + n as u64;
        driver.repository.put(path, bytes(seed, size));
    }
    driver.repository.index();
    let index = driver.update().await?;
    for path in &changed {
        let verdict = driver.fetch(path, index.get(path)).await;
        driver.count(verdict, "Republish");
    }
    // Once more in mid-transfer: the index follows a moment later.
    let path = large(driver.round);
    let (seed, size) = (2_000_000 + driver.round, driver.random.random_range(900_000..1_500_000));
    driver.repository.put(&path, bytes(seed, size));
    driver.repository.index();
    let index = driver.update().await?;
    let next = bytes(seed + 500_000, size);
    let after = driver.random.random_range(0..size);
    driver.repository.upstream.fail(&path, [Trouble::Swap(after, next.clone())]);
    driver.repository.will_be(&path, next);
    let answers = ask(driver, [path.clone(), path.clone()]);
    judge(driver, answers, &index, "Republish in mid-transfer").await;
    driver.repository.index();
    Ok(())
}

async fn flip(driver: &mut Driver, index: &Index) -> Result<()> {
    warm(driver, index, "Flip").await;
    // Damage to the cache's own database, too; a part of it while nobody has it open.
    let stopped = driver.random.random_bool(0.3);
    if stopped {
        driver.proxy.kill9();
    }
    let files = regular_files(driver.proxy.stored());
    let (book, bodies): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|path| path.extension().is_some_and(|e| e == "redb"));
    let times = driver.random.random_range(1..=6);
    for _ in 0..times {
        if let Some(path) = bodies.choose(&mut driver.random).cloned() {
            damage(driver, &path);
        }
    }
    if driver.random.random_bool(0.3) {
        for path in book {
            damage(driver, &path);
        }
    }
    if stopped {
        driver.proxy.restart().await?;
    }
    warm(driver, index, "Flip").await;
    let older: Vec<_> = index.keys().cloned().collect();
    for path in older.into_iter().step_by(7) {
        let verdict = driver.fetch(&path, index.get(&path)).await;
        driver.count(verdict, "Flip");
    }
    Ok(())
}

fn regular_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(regular_files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found.sort();
    found
}

fn damage(driver: &mut Driver, path: &Path) {
    // A file that has gone meanwhile is damaged enough.
    let Ok(file) = fs::OpenOptions::new().read(true).write(true).open(path) else { return };
    let length = file.metadata().map_or(0, |meta| meta.len());
    if length == 0 {
        return;
    }
    if driver.random.random_bool(0.1) {
        let _ = file.set_len(driver.random.random_range(0..length));
        return;
    }
    for _ in 0..driver.random.random_range(1..=16) {
        let at = driver.random.random_range(0..length);
        let mut byte = [0];
        if file.read_exact_at(&mut byte, at).is_ok() {
            let _ = file.write_all_at(&[byte[0] ^ (1 << driver.random.random_range(0..8))], at);
        }
    }
}

/// An upstream that breaks off, lies, stalls or sends other bytes.
async fn trouble(driver: &mut Driver, fault: Fault, index: &Index) {
    let paths = [large(driver.round), small(driver.round, 0), small(driver.round, 1)];
    for path in &paths {
        let size = driver.repository.size(path);
        let times = driver.random.random_range(1..=3);
        let mut troubles = Vec::new();
        for _ in 0..times {
            let at = driver.random.random_range(0..size);
            troubles.push(match fault {
                Fault::Cut if driver.random.random_bool(0.2) => Trouble::Status(503),
                Fault::Cut => Trouble::Cut(at),
                Fault::Lie if driver.random.random_bool(0.5) => Trouble::Claim(at),
                Fault::Lie => Trouble::Claim(size + at + 1),
                Fault::Stall => Trouble::Stall(at),
                _ => Trouble::Flip(driver.random.random_range(1..=8)),
            });
        }
        if fault == Fault::Stall {
            troubles.truncate(1);
        }
        driver.repository.upstream.fail(path, troubles);
    }
    let when = format!("{fault:?}");
    let twice = paths.iter().chain(&paths).cloned();
    let answers = ask(driver, twice);
    judge(driver, answers, index, &when).await;
    for path in &paths {
        let verdict = driver.fetch(path, index.get(path)).await;
        driver.count(verdict, &when);
    }
}

async fn slow_clients(driver: &mut Driver, index: &Index) -> Result<()> {
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0));
    let mut slow = Vec::new();
    let target = driver.proxy.target(&large(driver.round));
    for n in 0..12_usize {
        let Ok(mut stream) = client::connect_from(from, driver.proxy.address()).await else {
            continue;
        };
        let whole = client::request(&target, &[]);
        // Half of them never end their request, the others take no byte.
        let part = if n % 2 == 0 { n } else { whole.len() };
        stream.write_all(whole.get(..part).unwrap_or_default().as_bytes()).await?;
        slow.push(stream);
    }
    let answers = ask(driver, [large(driver.round), large(driver.round), small(driver.round, 2)]);
    judge(driver, answers, index, "SlowClients").await;
    if driver.round.is_multiple_of(4) && driver.proxy.kind() == Kind::Unifyit {
        // They are let go: what was buffered comes, then the end.
        for mut stream in slow {
            let mut rest = vec![0; 64 * 1024];
            let ends = async {
                while matches!(stream.read(&mut rest).await, Ok(length) if length > 0) {
                    tokio::task::yield_now().await;
                }
            };
            if tokio::time::timeout(Duration::from_secs(20), ends).await.is_err() {
                let what = format!("round {}: a slow client is not let go", driver.round);
                driver.tally.lost.push(what);
            }
        }
    }
    Ok(())
}

async fn full_disk(driver: &mut Driver, index: &Index) -> Result<()> {
    if !driver.disk.is_small() {
        driver.tally.skipped += 1;
        return Ok(());
    }
    let path = large(driver.round);
    let size = driver.repository.size(&path) as u64;
    let left = driver.random.random_range(0..3_000_000);
    let filler = if driver.random.random_bool(0.5) {
        // Before anything is asked for.
        let filler = driver.disk.fill(left)?;
        warm(driver, index, "FullDisk").await;
        filler
    } else {
        // In mid-transfer.
        driver.repository.upstream.rate(size * 3);
        let begun = driver.repository.upstream.sent();
        let answers = ask(driver, [path.clone(), path.clone(), small(driver.round, 3)]);
        driver.sent(begun + size / 2).await;
        let filler = driver.disk.fill(left.min(size / 4))?;
        judge(driver, answers, index, "FullDisk").await;
        driver.repository.upstream.rate(0);
        warm(driver, index, "FullDisk").await;
        filler
    };
    if driver.random.random_bool(0.3) {
        // A restart on a full disk: it may refuse to start, but not to work later.
        driver.proxy.kill9();
        if driver.proxy.restart().await.is_ok() {
            warm(driver, index, "FullDisk").await;
        }
    }
    fs::remove_file(filler)?;
    if !driver.proxy.is_alive() {
        driver.kill_and_restart().await?;
    }
    // A database that could not be opened is tried again after a moment.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    if driver.fetch(&path, index.get(&path)).await != Verdict::Right {
        driver.tally.broken += 1;
    }
    Ok(())
}
