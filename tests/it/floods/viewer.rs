//! Somebody who may look, and looks as hard as they can.

use super::{Others, memory, print};
use anyhow::Result;
use serde_json::json;
use std::time::{Duration, Instant};
use unifyit_tests::{
    api::{
        Api,
        live::{Event, Events},
        types::NewKey,
    },
    stack::Stack,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_viewers_flood_costs_nobody_anything() -> Result<()> {
    let mut stack = Stack::for_test(1).await?;
    let wish = json!({"name": "viewer", "role": "viewer"});
    let viewer: NewKey = stack.api.post("/api-keys", &wish).await?;
    let viewer = Api::with_key(stack.api.base(), &viewer.key)?;
    let device = stack.first_device().await?;
    let others = Others::at_work(&stack).await?;
    let before = memory(&mut stack);

    let until = Instant::now() + Duration::from_secs(3);
    let mut looking = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (device, mut socket) = (device.clone(), Events::open(&viewer).await?);
        looking.spawn(async move {
            let mut n = 0u32;
            while Instant::now() < until {
                let watched = if n.is_multiple_of(2) { vec![device.as_str()] } else { Vec::new() };
                socket.watch(&watched, &[]).await?;
                n += 1;
                tokio::task::yield_now().await;
            }
            // It was bounded, not put out.
            socket.watch(&[device.as_str()], &[]).await?;
            let sample = |event: &Event| (event.kind == "device.sample").then_some(());
            socket.find("a sample", Duration::from_secs(30), sample).await
        });
        let viewer = viewer.clone();
        looking.spawn(async move {
            while Instant::now() < until {
                // Too many are refused with a word, which is an answer too.
                let _ = viewer.get::<serde_json::Value>("/overview").await;
            }
            Ok(())
        });
    }
    while let Some(done) = looking.join_next().await {
        done??;
    }
    let after = memory(&mut stack);
    let waited = others.went_on(&stack).await?;
    print("viewer", before, after, &waited);
    Ok(())
}
