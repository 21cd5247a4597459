//! The package cache beside nginx's `proxy_cache` and apt-cacher-ng, in one run
//! and turn by turn, so that a busy machine is busy for all of them.

use crate::{
    cache_load::{Answer, Client, requests_per_s},
    report::{Report, mb},
};
use anyhow::{Context, Result, ensure};
use std::{fs, net::SocketAddr, time::Duration};
use unifyit_tests::cache::{
    bytes,
    disk::Disk,
    proxy::{Kind, Limits, Proxy},
    upstream::Upstream,
};

const LARGE: usize = 200_000_000;
const SMALL: usize = 2_000;
/// Turns of each measurement; the median counts. A turn of hits takes a fraction of
/// a second, and a hiccup of the machine spoils a few.
const COLD_TURNS: usize = 5;
const HOT_TURNS: usize = 21;
/// A first download takes at most so many times what it takes through nginx.
const COLD_GOAL: f64 = 1.1;
/// Hits of the large file a turn.
const HITS: usize = 3;
const CONNECTIONS: usize = 16;
const SMALL_TIME: Duration = Duration::from_millis(500);
/// Debian's name for a package, so that apt-cacher-ng takes it for one.
const LARGE_PATH: &str = "/debian/pool/main/l/large/large_1_amd64.deb";
const SMALL_PATH: &str = "/debian/pool/main/s/small/small_1_amd64.deb";

struct Peer {
    proxy: Proxy,
    /// Bytes a second of each turn.
    rate: Vec<f64>,
    /// CPU seconds a gigabyte of each turn.
    cpu: Vec<f64>,
    /// Requests a second of each turn.
    requests: Vec<f64>,
    cold: Vec<Answer>,
}

/// Measures.
pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    println!("package cache: {LARGE} and {SMALL} bytes, {HOT_TURNS} turns");
    let folder = tempfile::tempdir()?;
    let upstream = Upstream::start().await?;
    // A day: none of them has to ask again while it is measured.
    upstream.fresh(86_400);
    let large = bytes(1, LARGE);
    upstream.put(LARGE_PATH, large.clone());
    upstream.put(SMALL_PATH, bytes(2, SMALL));
    let mut peers = Vec::new();
    for kind in [Kind::Unifyit, Kind::Nginx, Kind::AptCacherNg] {
        if let Err(missing) = kind.program() {
            ensure!(kind != Kind::Unifyit, "{missing}");
            println!("  left out: {missing}");
            continue;
        }
        let own = folder.path().join(kind.name());
        fs::create_dir_all(&own)?;
        // All of them store in memory-backed files where possible: the disk is
        // not what is compared.
        let disk = Disk::new(&own.join("disk"), 2048).await?;
        let proxy = Proxy::start(kind, &upstream.authority, &own, &disk, Limits::default()).await?;
        let peer = Peer {
            proxy,
            rate: Vec::new(),
            cpu: Vec::new(),
            requests: Vec::new(),
            cold: Vec::new(),
        };
        peers.push((peer, disk));
    }
    let (mut peers, _disks): (Vec<_>, Vec<_>) = peers.into_iter().unzip();
    let host = upstream.authority.clone();
    let upstream_at: SocketAddr = host.parse()?;
    let hash = blake3::hash(&large);
    let direct = cold(&mut peers, &upstream, upstream_at, &host).await?;
    for peer in &mut peers {
        prepare(peer, &host, hash).await?;
    }
    // Each begins as often as the others, so that none always follows the same one.
    for _ in 0..HOT_TURNS {
        for peer in &mut peers {
            hot(peer, &host).await?;
        }
        peers.rotate_left(1);
    }
    for _ in 0..HOT_TURNS {
        for peer in &mut peers {
            small(peer, &host).await?;
        }
        peers.rotate_left(1);
    }
    show(report, &peers, &direct)
}

/// New files each turn: what a cache adds to a first download.
async fn cold(
    peers: &mut [Peer],
    upstream: &Upstream,
    upstream_at: SocketAddr,
    host: &str,
) -> Result<Vec<Answer>> {
    let mut direct = Vec::new();
    for turn in 0..COLD_TURNS {
        let path = format!("/debian/pool/main/c/c{turn}/c{turn}_1_amd64.deb");
        upstream.put(&path, bytes(100 + turn as u64, 50_000_000));
        direct.push(once(upstream_at, path.clone(), host.to_owned()).await?);
        for peer in &mut *peers {
            let target = peer.proxy.target(&path);
            peer.cold.push(once(peer.proxy.address(), target, host.to_owned()).await?);
        }
        upstream.remove(&path);
    }
    Ok(direct)
}

async fn once(to: SocketAddr, target: String, host: String) -> Result<Answer> {
    tokio::task::spawn_blocking(move || Client::connect(to, &target, &host, 1 << 20)?.ask(false))
        .await?
}

/// Fills the cache, and reads often enough that everything is as hot as it gets.
async fn prepare(peer: &Peer, host: &str, hash: blake3::Hash) -> Result<()> {
    let (to, host) = (peer.proxy.address(), host.to_owned());
    let (large, small) = (peer.proxy.target(LARGE_PATH), peer.proxy.target(SMALL_PATH));
    let name = peer.proxy.kind().name();
    tokio::task::spawn_blocking(move || {
        for _ in 0..3 {
            let answer = Client::connect(to, &large, &host, 1 << 20)?.ask(true)?;
            ensure!(answer.hash == Some(hash), "the large file came wrong");
            Client::connect(to, &small, &host, 1 << 20)?.ask(false)?;
        }
        Ok(())
    })
    .await?
    .with_context(|| format!("{name} was not filled"))
}

#[expect(clippy::cast_precision_loss, reason = "shown rounded")]
async fn hot(peer: &mut Peer, host: &str) -> Result<()> {
    let (to, host) = (peer.proxy.address(), host.to_owned());
    let target = peer.proxy.target(LARGE_PATH);
    let before = cpu_s(&peer.proxy.pids())?;
    let (came, time) = tokio::task::spawn_blocking(move || -> Result<_> {
        let mut client = Client::connect(to, &target, &host, 1 << 20)?;
        let (mut came, mut time) = (0, Duration::ZERO);
        for _ in 0..HITS {
            let answer = client.ask(false)?;
            came += answer.length;
            time += answer.whole;
        }
        Ok((came, time))
    })
    .await??;
    let used = cpu_s(&peer.proxy.pids())? - before;
    peer.rate.push(came as f64 / time.as_secs_f64());
    peer.cpu.push(used / (came as f64 / 1e9));
    Ok(())
}

async fn small(peer: &mut Peer, host: &str) -> Result<()> {
    let (to, host) = (peer.proxy.address(), host.to_owned());
    let target = peer.proxy.target(SMALL_PATH);
    let rate = tokio::task::spawn_blocking(move || {
        requests_per_s(to, &target, &host, CONNECTIONS, SMALL_TIME)
    })
    .await??;
    peer.requests.push(rate);
    Ok(())
}

/// CPU time of processes so far.
#[expect(clippy::cast_precision_loss, reason = "ticks of a minute")]
fn cpu_s(pids: &[i32]) -> Result<f64> {
    let mut ticks = 0;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        ticks += fields.skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum::<u64>();
    }
    Ok(ticks as f64 / 100.0)
}

fn pss(pids: &[i32]) -> Result<u64> {
    let mut bytes = 0;
    for pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap_or_default();
        bytes += line.split_whitespace().nth(1).unwrap_or("0").parse::<u64>()? * 1024;
    }
    Ok(bytes)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn median_ms(answers: &[Answer], of: impl Fn(&Answer) -> Duration) -> f64 {
    median(&answers.iter().map(|a| of(a).as_secs_f64() * 1000.0).collect::<Vec<_>>())
}

fn show(report: &mut Report, peers: &[Peer], direct: &[Answer]) -> Result<()> {
    let nginx = peers.iter().find(|peer| peer.proxy.kind() == Kind::Nginx);
    for peer in peers {
        let name = peer.proxy.kind().name();
        let (rate, requests) = (median(&peer.rate), median(&peer.requests));
        let large = format!("{:.2} GB/s, {:.2} CPU s/GB", rate / 1e9, median(&peer.cpu));
        let small = format!("{requests:.0} requests/s");
        match (peer.proxy.kind(), nginx) {
            (Kind::Unifyit, Some(nginx)) => {
                let large_share = rate / median(&nginx.rate);
                report.goal(
                    "cache, hot 200 MB",
                    format!("{large} ({:.0} % of nginx)", large_share * 100.0),
                    "at least 90 % of nginx",
                    large_share >= 0.9,
                );
                let small_share = requests / median(&nginx.requests);
                report.goal(
                    "cache, 2 kB kept alive",
                    format!("{small} ({:.0} % of nginx)", small_share * 100.0),
                    "at least 50 % of nginx",
                    small_share >= 0.5,
                );
            }
            _ => {
                report.note(&format!("{name}, hot 200 MB"), large, "");
                report.note(&format!("{name}, 2 kB kept alive"), small, "");
            }
        }
        let first = median_ms(&peer.cold, |a| a.first);
        let whole = median_ms(&peer.cold, |a| a.whole);
        let came = format!("{first:.1} ms first, {whole:.0} ms whole");
        match (peer.proxy.kind(), nginx) {
            (Kind::Unifyit, Some(nginx)) => {
                let most = COLD_GOAL * median_ms(&nginx.cold, |a| a.whole);
                let goal = format!("whole within {most:.0} ms (1.1 × nginx)");
                report.goal("cache, cold 50 MB", came, &goal, whole <= most);
            }
            _ => report.note(
                &format!("{name}, cold 50 MB"),
                came,
                &format!(
                    "direct: {:.1} ms first, {:.0} ms whole",
                    median_ms(direct, |a| a.first),
                    median_ms(direct, |a| a.whole)
                ),
            ),
        }
        report.note(&format!("{name}, memory after that"), mb(pss(&peer.proxy.pids())?), "PSS");
    }
    Ok(())
}
