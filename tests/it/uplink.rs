//! How a relay reaches its cloud.

use anyhow::{Context, Result};
use std::fs;
use unifyit_tests::{
    stack::{Stack, write_private},
    wait::{self, secs},
};

/// Waits until the relay says that it is connected by a transport.
async fn connected_by(stack: &Stack, transport: &str) -> Result<()> {
    let name = format!("uplink_transport{{transport=\"{transport}\"}}");
    wait::until(&name, secs(60), || async {
        Ok((stack.relay.metric(&name).await? == 1.0).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn quic_is_used_and_tcp_where_udp_is_blocked() -> Result<()> {
    let mut stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    connected_by(&stack, "quic").await?;

    // What a firewall that drops UDP leaves of the cloud.
    stack.cloud.stop();
    let file = stack.folder().join("cloud/cloud.toml");
    let mut config: toml::Table = fs::read_to_string(&file)?.parse()?;
    let listen = config.get_mut("libp2p_listen").and_then(toml::Value::as_array_mut);
    let listen = listen.context("the cloud listens somewhere")?;
    listen.retain(|address| !address.as_str().is_some_and(|text| text.contains("quic")));
    assert_eq!(listen.len(), 1, "TCP remains");
    write_private(&file, &toml::to_string(&config)?)?;
    stack.cloud.start().await?;

    connected_by(&stack, "tcp").await?;
    stack.devices_online(1).await?;
    let task = stack.api.run_script(&device, "echo by tcp").await?;
    let done = stack.api.finished(&task, secs(30)).await?;
    assert_eq!(done.targets[0].output, "by tcp\n");
    stack.check_alive()
}
