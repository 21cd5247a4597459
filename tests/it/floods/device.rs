//! One enrolled device does its worst against its site's relay; another is served
//! as before.

use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{task::JoinHandle, time::timeout};
use unifyit_protocol::{
    codec,
    envelope::Decoded,
    ids::CommandId,
    inventory::{InventoryReport, Section},
    lan::{DownControl, Hello, UpControl},
    lane::Lane,
    live::LiveUp,
    outcome::{OutputChunk, Stream},
    report::{Report, ReportBatch, Sequenced},
    topics::Up,
};
use unifyit_tests::{
    sim::{Connection, Enroller, Identity, now_ms},
    stack::Stack,
};

/// How long the flood lasts.
const FLOOD: Duration = Duration::from_secs(6);
/// Memory that it may cost the relay.
const MOST_BYTES: u64 = 300 * 1024 * 1024;

async fn connect(identity: &Identity) -> Result<Connection> {
    let mut connection = Connection::open(identity, Arc::new(identity.tls()?)).await?;
    let hello = UpControl::Hello(Hello {
        agent_version: "flood".into(),
        epoch: now_ms(),
        hostname: identity.hostname.clone(),
        now_ms: now_ms(),
        running: Vec::new(),
        heeds_handed: false,
        instance: uuid::Uuid::now_v7(),
    });
    connection.publish(&Up::Hello.topic(identity.device), hello.encode()?).await?;
    loop {
        let incoming = timeout(Duration::from_secs(20), connection.next()).await??;
        if let Ok(Decoded::Known(DownControl::Welcome(_))) = DownControl::decode(&incoming.payload)
        {
            return Ok(connection);
        }
    }
}

fn chunk(bytes: usize) -> OutputChunk {
    let command = CommandId::generate();
    OutputChunk { command, offset: 0, stream: Stream::Stdout, data: vec![0; bytes] }
}

fn inventory(section: Section, set: BTreeMap<String, BTreeMap<String, String>>) -> Report {
    Report::Inventory(InventoryReport {
        section,
        at_ms: now_ms(),
        whole: true,
        set,
        gone: Vec::new(),
        cut: 0,
    })
}

/// Packets that each once stopped a relay: pieces of output that unfold to a
/// gigabyte, an inventory of many values, facts longer than a row, live frames.
fn worst(epoch: u64, turn: u64) -> Result<Vec<(Up, Vec<u8>)>> {
    let batch = |lane: Lane, report: &Report, count: u64| -> Result<(Up, Vec<u8>)> {
        let body = report.encode()?;
        let prev = 0;
        let reports = (1..=count).map(|seq| Sequenced { seq, body: body.clone() }).collect();
        Ok((
            Up::Report,
            codec::encode(&ReportBatch {
                epoch: epoch + turn,
                lane,
                prev,
                shift_ms: Some(0),
                reports,
            })?,
        ))
    };
    let long = BTreeMap::from([("os_name".to_owned(), "x".repeat(600 * 1024))]);
    let many = (0..20_000).map(|n| (n.to_string(), BTreeMap::new())).collect();
    Ok(vec![
        batch(Lane::Output, &Report::Output(chunk(4_000_000)), 200)?,
        batch(Lane::State, &inventory(Section::Packages, many), 8)?,
        batch(
            Lane::State,
            &inventory(Section::System, BTreeMap::from([("system".into(), long)])),
            1,
        )?,
        (Up::Live, LiveUp::Output(chunk(4_000_000)).encode()?),
        (Up::Live, LiveUp::Output(chunk(32 * 1024)).encode()?),
    ])
}

/// Floods until told to stop, coming back whenever it is thrown out.
fn flood(identity: Identity) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let (epoch, mut sent) = (now_ms(), 0);
        for turn in 0.. {
            let Ok(mut connection) = connect(&identity).await else { continue };
            let Ok(packets) = worst(epoch, turn) else { return sent };
            for (kind, payload) in packets.into_iter().cycle() {
                let topic = kind.topic(identity.device);
                if connection.publish(&topic, payload).await.is_err() {
                    break;
                }
                sent += 1;
            }
        }
        sent
    })
}

fn pid_of_relay(stack: &mut Stack) -> Result<i32> {
    Ok(stack.relay.process().context("a running relay")?.pid())
}

fn resident(pid: i32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.split_whitespace().next().context("kB")?.parse::<u64>()? * 1024)
}

/// How long each of some batches takes to be durable.
async fn served(
    identity: &Identity,
    connection: &mut Connection,
    epoch: u64,
    from: &mut u64,
    until: Instant,
) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    while Instant::now() < until {
        let event =
            inventory(Section::Services, BTreeMap::from([(from.to_string(), BTreeMap::new())]));
        let reports = vec![Sequenced { seq: *from + 1, body: event.encode()? }];
        let batch =
            ReportBatch { epoch, lane: Lane::State, prev: *from, shift_ms: Some(0), reports };
        let began = Instant::now();
        connection.publish(&Up::Report.topic(identity.device), codec::encode(&batch)?).await?;
        *from += 1;
        loop {
            let incoming = timeout(Duration::from_secs(20), connection.next())
                .await
                .context("an ack in time")??;
            if let Ok(Decoded::Known(DownControl::Ack(ack))) =
                DownControl::decode(&incoming.payload)
                && ack.lane == Lane::State
                && ack.through >= *from
            {
                break;
            }
        }
        took.push(began.elapsed());
    }
    took.sort();
    Ok(took)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_devices_flood_costs_the_relay_little_and_nobody_else_is_disconnected() -> Result<()> {
    let mut stack = Stack::for_test(0).await?;
    let token = stack.api.install_token(&stack.site()?, "agent", 2).await?.token;
    let enroller = Enroller::new(&token)?;
    let honest = enroller.enroll("honest", 1).await?;
    let hostile = enroller.enroll("hostile", 2).await?;
    let pid = pid_of_relay(&mut stack)?;
    let mut connection = connect(&honest).await?;
    let (epoch, mut at) = (now_ms(), 0);
    let quiet =
        served(&honest, &mut connection, epoch, &mut at, Instant::now() + FLOOD / 3).await?;
    let before = resident(pid)?;
    let flood = flood(hostile);
    // The same connection all the time: whoever is disconnected fails the test.
    let meanwhile =
        served(&honest, &mut connection, epoch, &mut at, Instant::now() + FLOOD).await?;
    let during = resident(pid)?;
    flood.abort();
    let p99 = |took: &[Duration]| took[(took.len() - 1) * 99 / 100];
    println!(
        "flood of a device: others' p99 {:?} before, {:?} meanwhile ({} and {} batches); relay {} MiB before, {} MiB meanwhile",
        p99(&quiet),
        p99(&meanwhile),
        quiet.len(),
        meanwhile.len(),
        before >> 20,
        during >> 20
    );
    ensure!(!meanwhile.is_empty(), "the other device was served");
    ensure!(during < before + MOST_BYTES, "the relay took {} MiB", during >> 20);
    stack.check_alive()?;
    let left = served(&honest, &mut connection, epoch, &mut at, Instant::now() + FLOOD / 6).await?;
    ensure!(!left.is_empty(), "and goes on afterwards");
    Ok(())
}
