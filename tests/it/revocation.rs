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

    // Also a fresh start of the agent does not get in.
    stack.agents[0].stop();
    stack.agents[0].start()?;
    let still_out = wait::until("the agent to come back", secs(8), || async {
        Ok((stack.api.device(&device).await?.state == "online").then_some(()))
    })
    .await;
    assert!(still_out.is_err(), "a revoked device came back");
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
    stack.relay.stop();
    stack.relay.spawn()?;
    let back = wait::until("the relay to come back", secs(8), || async {
        Ok((!out(stack.api.site(&site).await?)).then_some(()))
    })
    .await;
    assert!(back.is_err(), "a revoked relay came back");
    Ok(())
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
