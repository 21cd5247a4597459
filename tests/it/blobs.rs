//! Content-addressed files on their way from the cloud to a device: resumed after
//! a cut, verified, and fetched once for a site.

use anyhow::{Context, Result, ensure};
use std::{fs, path::PathBuf, time::Duration};
use unifyit_tests::{
    api::Api,
    sim::{self, Enroller},
    stack::{Stack, relay::Relay},
    wait::{self, secs},
};

pub(crate) fn content(length: usize) -> (Vec<u8>, String) {
    let mut body = vec![0; length];
    blake3::Hasher::new().update(b"a file").finalize_xof().fill(&mut body);
    let name = blake3::hash(&body).to_hex().to_string();
    (body, name)
}

/// A device of a site, as far as it fetches files.
pub(crate) struct Device {
    http: reqwest::Client,
    base: String,
}

impl Device {
    async fn enroll(stack: &Stack) -> Result<Self> {
        Self::enroll_at(&stack.api, &stack.site()?, &stack.relay).await
    }

    pub(crate) async fn enroll_at(api: &Api, site: &str, relay: &Relay) -> Result<Self> {
        let token = api.install_token(site, "agent", 1).await?.token;
        let identity: sim::Identity = Enroller::new(&token)?.enroll("fetcher", 1).await?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(identity.tls()?)
            .timeout(Duration::from_secs(120))
            .build()?;
        let base = format!("https://127.0.0.1:{}/blobs", relay.ports().https);
        Ok(Self { http, base })
    }

    pub(crate) async fn get(&self, name: &str) -> Result<(u16, Vec<u8>)> {
        let answer = self.http.get(format!("{}/{name}", self.base)).send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.bytes().await?.to_vec()))
    }
}

async fn fetched(stack: &Stack) -> Result<u64> {
    Ok(stack.relay.metric("blob_fetched_bytes_total").await? as u64)
}

pub(crate) fn publish(stack: &Stack, name: &str, body: &[u8]) -> Result<()> {
    let folder = stack.folder().join("cloud/blobs");
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join(name), body)?)
}

fn partial(stack: &Stack, name: &str) -> PathBuf {
    stack.relay.folder().join("blobs").join(format!("{name}.part"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_cloud_is_resumed_after_the_relay_was_killed_and_fetched_once() -> Result<()>
{
    const SIZE: usize = 160 << 20;
    let mut stack = Stack::for_test(0).await?;
    let (body, name) = content(SIZE);
    publish(&stack, &name, &body)?;
    let device = Device::enroll(&stack).await?;
    let part = partial(&stack, &name);
    let len = || fs::metadata(&part).map_or(0, |m| m.len());

    let asked = tokio::spawn({
        let (http, url) = (device.http.clone(), format!("{}/{name}", device.base));
        async move { http.get(url).send().await.map(|answer| answer.status().as_u16()) }
    });
    while len() < 17 << 20 {
        ensure!(!asked.is_finished(), "the relay did not fetch: {:?}", asked.await);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stack.relay.kill9();
    let had = len();
    ensure!(had < SIZE as u64, "the file came before the cut");
    drop(asked.await);

    stack.relay.start().await?;
    stack.relay_online().await?;
    let got = wait::until("the whole file", secs(120), || async {
        let (status, got) = device.get(&name).await?;
        Ok((status == 200).then_some(got))
    })
    .await?;
    ensure!(got == body, "wrong bytes");
    assert_eq!(fetched(&stack).await?, SIZE as u64 - had, "what was there is not fetched again");

    // Another device, another time: from the relay alone.
    let (status, again) = Device::enroll(&stack).await?.get(&name).await?;
    ensure!(status == 200 && again == body);
    assert_eq!(fetched(&stack).await?, SIZE as u64 - had);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_do_not_hash_to_the_name_are_thrown_away_and_fetched_anew() -> Result<()> {
    let stack = Stack::for_test(0).await?;
    let (body, name) = content(100_000);
    publish(&stack, &name, &body)?;
    let device = Device::enroll(&stack).await?;
    let part = partial(&stack, &name);
    fs::create_dir_all(part.parent().context("a folder")?)?;
    fs::write(&part, vec![7; 50_000])?;
    let (status, said) = device.get(&name).await?;
    assert_eq!(status, 502, "{}", String::from_utf8_lossy(&said));
    ensure!(!part.exists(), "the damaged part is still here");
    let (status, got) = device.get(&name).await?;
    ensure!(status == 200 && got == body);

    // What the cloud itself holds wrong is no better.
    let wrong = blake3::hash(b"something else").to_hex().to_string();
    publish(&stack, &wrong, &body)?;
    assert_eq!(device.get(&wrong).await?.0, 502);
    let missing = blake3::hash(b"nothing").to_hex().to_string();
    assert_eq!(device.get(&missing).await?.0, 404);
    Ok(())
}
