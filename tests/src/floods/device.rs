//! One enrolled device does its worst against its site's relay; another is served
//! as before.

use super::{Figures, Length, resident};
use crate::{
    sim::{Connection, Enroller, Identity, now_ms},
    stack::Stack,
};
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
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
fn send(identity: Identity, sent: Arc<AtomicU64>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let epoch = now_ms();
        for turn in 0.. {
            let Ok(mut connection) = connect(&identity).await else { continue };
            let Ok(packets) = worst(epoch, turn) else { return };
            for (kind, payload) in packets.into_iter().cycle() {
                let topic = kind.topic(identity.device);
                if connection.publish(&topic, payload).await.is_err() {
                    break;
                }
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
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
    Ok(took)
}

/// Floods the relay, and says what it did to the other.
///
/// # Errors
/// When the other was disconnected or not served, or a process ended.
pub async fn flood(stack: &mut Stack, length: Length) -> Result<Figures> {
    let token = stack.api.install_token(&stack.site()?, "agent", 2).await?.token;
    let enroller = Enroller::new(&token)?;
    let honest = enroller.enroll("honest", 1).await?;
    let hostile = enroller.enroll("hostile", 2).await?;
    let pid = stack.relay.process().context("a running relay")?.pid();
    let mut connection = connect(&honest).await?;
    let (epoch, mut at) = (now_ms(), 0);
    let quiet =
        served(&honest, &mut connection, epoch, &mut at, Instant::now() + length.quiet).await?;
    let before = resident(Some(pid));
    let sent = Arc::new(AtomicU64::new(0));
    let flood = send(hostile, Arc::clone(&sent));
    // The same connection all the time: whoever is disconnected fails.
    let meanwhile =
        served(&honest, &mut connection, epoch, &mut at, Instant::now() + length.flood).await?;
    let during = resident(Some(pid));
    flood.abort();
    stack.check_alive()?;
    let left =
        served(&honest, &mut connection, epoch, &mut at, Instant::now() + length.quiet).await?;
    ensure!(!left.is_empty(), "the other is not served afterwards");
    let sent = sent.load(Ordering::Relaxed);
    ensure!(sent > 0, "nothing was sent");
    Ok(Figures::new(quiet, meanwhile, [before, during]).of(format!("{sent} of the worst packets")))
}
