//! An agent's certificate is renewed over HTTPS before it ends, and the agent
//! goes on with the new one.

use anyhow::{Context, Result};
use std::{fs, io::Write, time::Instant};
use unifyit_tests::{
    stack::{Stack, agent::Agent},
    wait::{self, secs},
};

/// Seconds that a certificate lives in this test.
const LIFE: u64 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_before_it_ends_and_the_agent_connects_with_the_new_one()
-> Result<()> {
    let mut stack = Stack::for_test(0).await?;
    let site = stack.site()?;
    // Certificates that end soon, and no grace for those that have ended.
    stack.relay.stop();
    let settings = stack.relay.folder().join("relay.toml");
    let mut settings = fs::File::options().append(true).open(settings)?;
    writeln!(settings, "\n[certificates]\nagent_seconds = {LIFE}\ngrace_days = 0")?;
    stack.relay.start().await?;
    stack.relay_online().await?;

    let token = stack.api.install_token(&site, "agent", 1).await?.token;
    let mut agent = Agent::configure(&stack.folder().join("short"), &stack.folder().join("logs"))?;
    agent.enroll(&token)?;
    let enrolled = Instant::now();
    let identity = stack.folder().join("short/identity.cbor");
    let first = fs::read(&identity)?;
    agent.start()?;
    let device = stack.devices_online(1).await?.first().context("a device")?.id.clone();
    wait::until("the renewal", secs(LIFE), || async {
        Ok((fs::read(&identity)? != first).then_some(()))
    })
    .await?;
    assert!(enrolled.elapsed() < secs(LIFE), "it was renewed after its end");
    let pid = agent.process().context("it runs")?.pid();

    // Nobody can connect with the first one any more: it has ended.
    wait::until("the first certificate's end", secs(LIFE + 10), || async {
        Ok((enrolled.elapsed() > secs(LIFE + 2)).then_some(()))
    })
    .await?;
    stack.relay.stop();
    stack.relay.start().await?;
    stack.relay_online().await?;
    let task = stack.api.run_script(&device, "echo renewed").await?;
    let task = stack.api.finished(&task, secs(60)).await?;
    assert_eq!(task.count("succeeded"), 1, "a task through the new connection");
    assert_eq!(agent.process().context("it runs")?.pid(), pid, "the agent went on by itself");
    Ok(())
}
