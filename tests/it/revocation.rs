//! Out means out, within seconds, and for good.

use anyhow::{Context, Result};
use unifyit_tests::{
    process::descendants,
    stack::Stack,
    wait::{self, secs},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_is_disconnected_within_seconds_and_stays_out() -> Result<()> {
    let mut stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    let pid = stack.agents[0].process().context("the agent runs")?.pid();
    let front = stack.relay.ports().mqtt;
    assert!(connected_to(pid, front)?, "the agent is connected before");

    stack.api.delete(&format!("/devices/{device}")).await?;
    wait::until("the agent's connection to be closed", secs(8), || async {
        Ok((!connected_to(pid, front)?).then_some(()))
    })
    .await?;
    assert_eq!(stack.api.device(&device).await?.state, "revoked");

    // Also a fresh start of the agent does not get in, nor another one.
    for _ in 0..2 {
        stack.agents[0].stop();
        stack.agents[0].start()?;
        let process = stack.agents[0].process().context("a running agent")?;
        let log = || process.log_tail(64 * 1024);
        wait::until_true("the agent to be refused", secs(20), || {
            log().contains("the relay refuses this computer")
        })
        .await?;
        assert!(!log().contains("the relay is connected"), "{}", log());
        assert_eq!(stack.api.device(&device).await?.state, "revoked");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_relay_is_disconnected_within_seconds_and_stays_out() -> Result<()> {
    let mut stack = Stack::for_test(0).await?;
    let site = stack.site()?;
    let relay = stack.api.site(&site).await?.relay.context("the site has a relay")?;
    stack.api.delete(&format!("/relays/{}", relay.id)).await?;
    let out = |site: unifyit_tests::api::types::Site| site.relay.is_none_or(|r| !r.online);
    wait::until("the relay to be gone", secs(8), || async {
        Ok(out(stack.api.site(&site).await?).then_some(()))
    })
    .await?;
    for _ in 0..2 {
        stack.relay.stop();
        let before = turned_away(&stack).await?;
        stack.relay.spawn()?;
        wait::until("the relay to be turned away", secs(45), || async {
            Ok((turned_away(&stack).await? > before).then_some(()))
        })
        .await?;
        assert!(out(stack.api.site(&site).await?), "a revoked relay came back");
    }
    Ok(())
}

/// How often the cloud turned somebody away who was revoked.
async fn turned_away(stack: &Stack) -> Result<u64> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let page = http.get(format!("{}/metrics", stack.cloud.admin_url())).send().await?;
    let page = page.text().await?;
    let of = "unifyit_cloud_link_turned_away_total{why=\"revoked\"} ";
    let count = page.lines().find_map(|line| line.strip_prefix(of));
    Ok(count.unwrap_or("0").parse()?)
}

/// Whether a process, or one that it started, has an established connection to a
/// port of this machine.
fn connected_to(pid: i32, port: u16) -> Result<bool> {
    let mut inodes = Vec::new();
    for pid in descendants(pid).into_iter().chain([pid]) {
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Ok(link) = std::fs::read_link(entry.path()) else { continue };
            let text = link.to_string_lossy();
            if let Some(inode) = text.strip_prefix("socket:[").and_then(|t| t.strip_suffix(']')) {
                inodes.push(inode.to_owned());
            }
        }
    }
    let suffix = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp")?;
    Ok(table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, remote, state, ..] = fields.as_slice() else { return false };
        remote.ends_with(&suffix)
            && *state == "01"
            && fields.get(9).is_some_and(|inode| inodes.iter().any(|i| i == inode))
    }))
}
