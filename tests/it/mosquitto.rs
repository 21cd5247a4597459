//! The same judge, pointed at a broker that acknowledges from memory: it must be
//! able to see a loss, or its silence about ours would mean nothing.

use crate::ledger::judge;
use anyhow::{Context, Result, bail};
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, Outgoing, QoS};
use std::{collections::BTreeSet, fs, net::TcpStream, path::Path, time::Duration};
use unifyit_tests::{
    process::{Process, Spec},
    stack::ports::free_port,
    wait::{self, secs},
};

const MESSAGES: u64 = 2000;
const TOPIC: &str = "ledger";

fn broker() -> Result<&'static str> {
    ["/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .context("Mosquitto is missing: run deploy/dev/install-deps test")
}

async fn start(folder: &Path, port: u16) -> Result<Process> {
    let config = folder.join("mosquitto.conf");
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n\
         persistence_location {}/\nuser root\nmax_queued_messages 0\n",
        folder.display()
    );
    fs::write(&config, text)?;
    let log = folder.join("mosquitto.log");
    let process = Spec::new("mosquitto", broker()?, [Path::new("-c"), &config], log).start()?;
    wait::until_true("Mosquitto to listen", secs(20), || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    })
    .await?;
    Ok(process)
}

fn options(id: &str, port: u16) -> MqttOptions {
    let mut options = MqttOptions::new(id, "127.0.0.1", port);
    // A session that lasts while its client is away.
    options.set_clean_session(false).set_inflight(100);
    options
}

/// Lets the reader's session exist, then takes the reader away.
async fn subscribe_and_leave(port: u16) -> Result<()> {
    let (client, mut events) = AsyncClient::new(options("reader", port), 10);
    client.subscribe(TOPIC, QoS::AtLeastOnce).await?;
    loop {
        match tokio::time::timeout(secs(10), events.poll()).await?? {
            Event::Incoming(Incoming::SubAck(_)) => client.disconnect().await?,
            Event::Outgoing(Outgoing::Disconnect) => return Ok(()),
            _ => {}
        }
    }
}

/// Publishes numbered messages and returns those that the broker acknowledged.
async fn publish(port: u16) -> Result<BTreeSet<u64>> {
    let (client, mut events) = AsyncClient::new(options("writer", port), 10);
    let writer = tokio::spawn(async move {
        for number in 1..=MESSAGES {
            client.publish(TOPIC, QoS::AtLeastOnce, false, number.to_string()).await?;
        }
        // Kept until the end: without it the event loop would end too.
        Ok::<_, rumqttc::ClientError>(client)
    });
    let mut acked = 0;
    while acked < MESSAGES {
        if let Event::Incoming(Incoming::PubAck(_)) =
            tokio::time::timeout(secs(30), events.poll()).await??
        {
            acked += 1;
        }
    }
    writer.await??;
    Ok((1..=acked).collect())
}

/// What the reader's session still holds.
async fn read_back(port: u16) -> Result<Vec<u64>> {
    let (client, mut events) = AsyncClient::new(options("reader", port), 10);
    client.subscribe(TOPIC, QoS::AtLeastOnce).await?;
    let mut found = Vec::new();
    // Silence is the only sign that nothing more comes.
    while let Ok(event) = tokio::time::timeout(Duration::from_secs(2), events.poll()).await {
        if let Event::Incoming(Incoming::Publish(message)) = event? {
            found.push(std::str::from_utf8(&message.payload)?.parse()?);
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_judge_sees_that_a_broker_with_persistence_loses_what_it_acknowledged() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let mut process = start(folder.path(), port).await?;
    subscribe_and_leave(port).await?;
    // Left alone, the broker delivers everything: what is missing below is lost
    // by the kill and not by the way of looking.
    let quiet = judge(&publish(port).await?, read_back(port).await?);
    assert!(quiet.lost.is_empty(), "without a kill: {quiet}");
    subscribe_and_leave(port).await?;
    let acked = publish(port).await?;
    process.kill9();
    let mut again = start(folder.path(), port).await?;
    let verdict = judge(&acked, read_back(port).await?);
    again.kill9();
    println!("Mosquitto with persistence, kill -9: {verdict}");
    if verdict.lost.is_empty() {
        bail!("the judge saw no loss where there is one: {verdict}");
    }
    Ok(())
}
