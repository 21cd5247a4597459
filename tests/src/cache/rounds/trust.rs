//! Faults of the way to the upstream rather than of the upstream: somebody else
//! answers, names are spelled in other ways, more freshness is granted than holds.

use super::{Driver, large, small};
use crate::cache::{
    bytes, client,
    pose::Pose,
    repository::{Index, Verdict},
    sha256,
    upstream::Fault as Trouble,
};
use anyhow::Result;
use bytes::Bytes;
use rand::{RngExt, seq::IndexedRandom};
use std::net::Ipv4Addr;
use tokio::net::TcpListener;

/// A file that no signed index names; with the mark that such files begin with.
fn wheel(round: u64, n: u64) -> (String, Bytes) {
    let body = [b"PK\x03\x04", bytes(round * 16 + n, 20_000).as_ref()].concat();
    (format!("/debian/files/w{round}-{n}-py3-none-any.whl"), body.into())
}

async fn ask(driver: &mut Driver, path: &str, headers: &[(&str, &str)], right: &[u8], when: &str) {
    let target = driver.proxy.target(path);
    let got = client::get(driver.proxy.address(), &target, headers).await;
    let verdict = driver.repository.judge(path, Some(&sha256(right)), got);
    driver.count(verdict, when);
}

/// Somebody answers in the upstream's place: pages, refusals, redirects.
pub(super) async fn portal(driver: &mut Driver, index: &Index) -> Result<()> {
    let round = driver.round;
    let ((here, body), (absent, other)) = (wheel(round, 5), wheel(round, 6));
    driver.repository.put(&here, body.clone());
    driver.repository.put(&absent, other.clone());
    ask(driver, &here, &[], &body, "before the portal").await;
    let half = small(round, 0);
    let verdict = driver.fetch(&half, index.get(&half)).await;
    driver.count(verdict, "before the portal");
    // Whoever follows a redirect ends up here, and is counted.
    let trap = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let led = format!("http://{}/metrics", trap.local_addr()?);
    let poses = [
        Pose::Page,
        Pose::Text,
        Pose::Empty,
        Pose::Redirect(led),
        Pose::Status(*[403, 404, 407, 429, 511].choose(&mut driver.random).unwrap_or(&403)),
    ];
    for pose in poses {
        let when = format!("Portal {pose:?}");
        // What is gone is gone; all else stays.
        let gone = matches!(pose, Pose::Status(404));
        driver.repository.upstream.pose(Some(pose));
        let verdict = match driver.repository.update(&driver.proxy).await {
            Ok(_) => Verdict::Right,
            Err(verdict) => verdict,
        };
        driver.count(verdict, &when);
        ask(driver, &here, &[], &body, &when).await;
        ask(driver, &absent, &[], &other, &when).await;
        for path in [&half, &small(round, 1), &large(round)] {
            let verdict = driver.fetch(path, index.get(path)).await;
            driver.count(verdict, &when);
        }
        let after = driver.tally.refused;
        ask(driver, &here, &[], &body, &when).await;
        if driver.is_ours() && !gone && driver.tally.refused > after {
            driver.tally.lost.push(format!("round {round}, {when}: {here}, which is here"));
        }
    }
    let followed = tokio::time::timeout(std::time::Duration::ZERO, trap.accept()).await;
    if followed.is_ok() {
        driver.tally.wrong.push(format!("round {round}: a redirect led to another host"));
    }
    driver.repository.upstream.pose(None);
    // After the log-in all is well at once.
    for (path, right) in [(&here, &body), (&absent, &other)] {
        let before = driver.tally.right;
        ask(driver, path, &[], right, "after the portal").await;
        if driver.tally.right == before {
            driver.tally.lost.push(format!("round {round}: {path} after the portal"));
        }
    }
    for path in [here, absent] {
        driver.repository.remove(&path);
    }
    Ok(())
}

/// The same files under other spellings, while the upstream's bytes are wrong.
pub(super) async fn spelling(driver: &mut Driver, index: &Index) {
    let paths: Vec<_> = (0..4).map(|n| small(driver.round, n)).collect();
    driver.honest = false;
    for path in &paths {
        driver.repository.upstream.fail(path, [Trouble::Flip(3)]);
    }
    for turn in 0..4 {
        for path in &paths {
            let spelled = spelled(path, driver.random.random_range(0..6));
            let target = driver.proxy.target(&spelled);
            let got = client::get(driver.proxy.address(), &target, &[]).await;
            let verdict = driver.repository.judge(path, index.get(path), got);
            driver.count(verdict, &format!("Spelling {spelled}"));
        }
        if turn == 1 {
            // From here on it is right again, under the same tag.
            driver.repository.upstream.behave();
        }
    }
    driver.honest = true;
}

fn spelled(path: &str, how: u32) -> String {
    match how {
        0 => path.replace('+', "%2b").replace('~', "%7e"),
        1 => path.replace('+', "%2B").replace('_', "%5F"),
        2 => path.replace("/pool/", "/./pool/"),
        3 => path.replace("main", "m%61in"),
        4 => path.replace('.', "%2e"),
        _ => path.to_owned(),
    }
}

/// The upstream grants a day of freshness and publishes other content at once.
pub(super) async fn freshness(driver: &mut Driver) -> Result<()> {
    driver.repository.upstream.fresh(86_400);
    driver.repository.index();
    driver.update().await?;
    let (path, first) = wheel(driver.round, 7);
    driver.repository.put(&path, first.clone());
    ask(driver, &path, &[], &first, "Freshness").await;
    for (n, demand) in ["max-age=0", "no-cache"].into_iter().enumerate() {
        let (_, next) = wheel(driver.round + 3_000_000, 8 + n as u64);
        driver.repository.put(&path, next.clone());
        ask(driver, &path, &[("Cache-Control", demand)], &next, demand).await;
        // And from here on it is what everybody gets.
        ask(driver, &path, &[], &next, demand).await;
    }
    driver.repository.remove(&path);
    // The lists, as apt asks for them, and a package, all of them fresh for a day.
    let path = small(driver.round, 2);
    driver.repository.put(&path, bytes(4_000_000 + driver.round, 30_000));
    driver.repository.index();
    let index = driver.update().await?;
    let verdict = driver.fetch(&path, index.get(&path)).await;
    driver.count(verdict, "Freshness");
    Ok(())
}
