//! Relays of one organization give each other what they hold; a stranger's gets
//! nothing.

use crate::blobs::{Device, content, publish};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
};
use unifyit_tests::{
    api::Api,
    cache::{self, client, repository::Repository, upstream::Upstream},
    stack::{Stack, ports::Ports, relay::Relay},
    wait::{self, secs},
};

const PACKAGE: &str = "/debian/pool/big.deb";
const SIZE: usize = 3 << 20;

/// A site more, with a relay of its own.
async fn another(stack: &Stack, organization: &str, name: &str) -> Result<(String, Relay)> {
    let site = stack.api.create_site(organization, name).await?;
    let token = stack.api.install_token(&site, "relay", 1).await?.token;
    let logs = stack.folder().join("logs");
    let mut relay = Relay::configure(&stack.folder().join(name), &logs, Ports::free()?)?;
    relay.enroll(&token, "123456")?;
    relay.start().await?;
    Ok((site, relay))
}

/// Lets a site's cache fetch from a host, and waits until it does.
async fn allow(api: &Api, site: &str, relay: &Relay, upstream: &Upstream) -> Result<()> {
    let path = format!("/sites/{site}/package-cache");
    let body = json!({"hosts": [upstream.authority]});
    api.call(reqwest::Method::PUT, &path, Some(&body)).await?;
    wait::until("the relay to apply the host", secs(30), || async {
        let answer = fetch(relay, upstream, "/debian/dists/stable/Release").await?;
        Ok((answer.status == 200).then_some(()))
    })
    .await
}

async fn fetch(relay: &Relay, upstream: &Upstream, path: &str) -> Result<client::Got> {
    let cache = SocketAddr::from((Ipv4Addr::LOCALHOST, relay.ports().cache));
    client::get(cache, &upstream.url(path), &[]).await
}

/// What `apt-get update` fetches: from then on the cache knows the package's hash.
async fn update(relay: &Relay, upstream: &Upstream) -> Result<()> {
    for path in ["/debian/dists/stable/Release", "/debian/dists/stable/main/binary-amd64/Packages"]
    {
        let answer = fetch(relay, upstream, path).await?;
        ensure!(answer.status == 200 && answer.whole, "{path}: {}", answer.status);
    }
    Ok(())
}

async fn connected(relay: &Relay, sisters: f64) -> Result<()> {
    wait::until("the sisters to be connected", secs(60), || async {
        Ok((relay.metric("sisters_connected").await? == sisters).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_the_internet_lost_comes_from_a_sister_relay_but_never_to_a_stranger()
-> Result<()> {
    let stack = Stack::for_test(0).await?;
    let organization = stack.saved.organization.clone().context("made by the stack")?;
    let (branch, sister) = another(&stack, &organization, "branch").await?;
    let elsewhere = stack.api.create_organization("Another GmbH").await?;
    let (foreign, stranger) = another(&stack, &elsewhere, "foreign").await?;

    let upstream = Upstream::start().await?;
    let mut repository = Repository::new(upstream);
    let body = cache::bytes(7, SIZE);
    repository.put(PACKAGE, body.clone());
    repository.index();
    let upstream = &repository.upstream;
    let relays = [(stack.site()?, &stack.relay), (branch, &sister), (foreign, &stranger)];
    for (site, relay) in &relays {
        allow(&stack.api, site, relay, upstream).await?;
        update(relay, upstream).await?;
    }
    connected(&stack.relay, 1.0).await?;
    connected(&sister, 1.0).await?;

    // One site has it, then it vanishes from the internet.
    let had = fetch(&stack.relay, upstream, PACKAGE).await?;
    ensure!(had.status == 200 && had.body == body, "the first site has it");
    // The client has the last byte before the disk has.
    wait::until("the package to be kept", secs(30), || async {
        let stored = stack.relay.metric("cache_stored_bytes").await?;
        Ok((stored >= SIZE as f64).then_some(()))
    })
    .await?;
    upstream.remove(PACKAGE);

    let got = fetch(&sister, upstream, PACKAGE).await?;
    ensure!(got.status == 200 && got.body == body, "from the sister: {}", got.status);
    assert_eq!(sister.metric("sister_files_total").await?, 1.0);
    assert_eq!(sister.metric("sister_fetched_bytes_total").await?, SIZE as f64);
    assert_eq!(stack.relay.metric("sister_served_bytes_total").await?, SIZE as f64);

    let refused = fetch(&stranger, upstream, PACKAGE).await?;
    ensure!(refused.status == 404, "a stranger gets {}", refused.status);
    assert_eq!(stranger.metric("sisters_connected").await?, 0.0);

    // A file of the cloud that the cloud no longer has, likewise.
    let [(first, _), (branch, _), (foreign, _)] = &relays;
    let (file, name) = content(SIZE);
    publish(&stack, &name, &file)?;
    let device = Device::enroll_at(&stack.api, first, &stack.relay).await?;
    ensure!(device.get(&name).await? == (200, file.clone()), "the first site has the file");
    fs::remove_file(stack.folder().join("cloud/blobs").join(&name))?;
    let device = Device::enroll_at(&stack.api, branch, &sister).await?;
    ensure!(device.get(&name).await? == (200, file), "the file from the sister");
    let device = Device::enroll_at(&stack.api, foreign, &stranger).await?;
    assert_eq!(device.get(&name).await?.0, 404, "a stranger gets nothing");
    Ok(())
}
