//! A key that may look, and looks as hard as it can, beside the browser of its own maker.

use super::{Figures, Length, Others, memory};
use crate::{
    api::{
        Api, Refused,
        live::{Event, Events},
        types::NewKey,
    },
    stack::Stack,
    wait::secs,
};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// At least so many of the questions are answered.
const ANSWERED: usize = 500;
const WORKERS: usize = 8;

/// Asks for the overview again and again; how often it was answered. Too often is
/// refused with a word, which is an answer too; anything else is an error.
async fn ask(viewer: Api, times: usize) -> Result<usize> {
    let mut answered = 0;
    for _ in 0..times {
        match viewer.get::<Value>("/overview").await {
            Ok(_) => answered += 1,
            Err(error) => {
                let refused = error.downcast_ref::<Refused>().context("an answer of the cloud")?;
                ensure!(refused.status == 429, "{refused}");
            }
        }
    }
    Ok(answered)
}

/// The cloud reads a message of a browser this often.
const HEARD_EVERY: Duration = Duration::from_millis(50);

/// Changes what it watches again and again, and hears of it once all of it was read at
/// the cloud's pace: it was bounded, not put out.
async fn watch(mut socket: Events, device: String, times: usize) -> Result<usize> {
    for n in 0..times {
        let watched = if n.is_multiple_of(2) { vec![device.as_str()] } else { Vec::new() };
        socket.watch(&watched, &[]).await?;
        tokio::task::yield_now().await;
    }
    socket.watch(&[], &[]).await?;
    let read = HEARD_EVERY * u32::try_from(times)?;
    tokio::time::sleep(read).await;
    socket.watch(&[device.as_str()], &[]).await?;
    let asked = OffsetDateTime::now_utc();
    // Those of before may still be on their way.
    let sample = |event: &Event| {
        let at = event.data["at"].as_str().and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
        (event.kind == "device.sample" && at? >= asked).then_some(())
    };
    socket.find("a sample of after it was asked for", read + secs(30), sample).await?;
    Ok(0)
}

/// Floods the cloud, and says what it did to the others.
///
/// # Errors
/// When one of the others was refused or broken off, or the viewer was answered
/// otherwise than by what was asked or by the limit's word.
pub async fn flood(stack: &mut Stack, length: Length) -> Result<Figures> {
    let wish = json!({"name": "viewer", "role": "viewer"});
    let viewer: NewKey = stack.api.post("/api-keys", &wish).await?;
    let viewer = Api::with_key(stack.api.base(), &viewer.key)?;
    let device = stack.first_device().await?;
    let others = Others::at_work(stack, length.quiet).await?;
    let before = memory(stack);

    let mut looking = tokio::task::JoinSet::new();
    for _ in 0..WORKERS {
        let socket = Events::open(&viewer).await?;
        looking.spawn(watch(socket, device.clone(), length.times));
        looking.spawn(ask(viewer.clone(), length.times));
    }
    let mut answered = 0;
    while let Some(done) = looking.join_next().await {
        answered += done??;
    }
    let during = memory(stack);
    let (quiet, meanwhile) = others.went_on(stack).await?;
    let asked = WORKERS * length.times;
    ensure!(answered >= ANSWERED.min(asked), "only {answered} of {asked} questions were answered");
    let extent = format!("{answered} of {asked} questions answered");
    Ok(Figures::new(quiet, meanwhile, [before, during]).of(extent))
}
