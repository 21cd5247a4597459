//! Who may do what over REST: cookie with CSRF token, API key, nobody.

use anyhow::Result;
use serde_json::{Value, json};
use unifyit_tests::{
    api::{Api, Refused},
    stack::Stack,
    wait::{self, secs},
};

fn status<T>(outcome: Result<T>) -> u16 {
    match outcome {
        Ok(_) => 200,
        Err(error) => error.downcast_ref::<Refused>().map_or(0, |refused| refused.status.as_u16()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_live_by_cookie_and_by_api_key_and_hidden_from_strangers() -> Result<()> {
    let stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    let url = stack.cloud.url();

    let key = stack.api.create_key("test").await?;
    let by_key = Api::with_key(&url, &key.key)?;
    assert_eq!(by_key.device(&device).await?.id, device);
    assert_eq!(by_key.devices("limit=10").await?.items.len(), 1);

    let nobody = Api::new(&url)?;
    assert_eq!(status(nobody.device(&device).await), 401);
    let wrong = Api::with_key(&url, "uak_wrong")?;
    assert_eq!(status(wrong.device(&device).await), 401);

    // The very cookie of a signed-in user, without the CSRF token.
    let forged: Vec<_> = stack.api.socket_headers();
    let cookie = &forged.iter().find(|(name, _)| *name == "cookie").unwrap().1;
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()?
        .post(format!("{url}/api/v1/organizations"))
        .header("cookie", cookie)
        .json(&json!({"name": "forged"}))
        .send()
        .await?;
    assert_eq!(answer.status().as_u16(), 403, "a cookie alone changes nothing");

    let unknown = uuid::Uuid::now_v7();
    assert_eq!(status(stack.api.device(&unknown.to_string()).await), 404);

    by_key.delete(&format!("/api-keys/{}", key.id)).await?;
    assert_eq!(status(by_key.device(&device).await), 401, "a deleted key is out");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_device_shows_what_it_is_and_what_it_measures() -> Result<()> {
    let stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;

    let system = wait::until("the inventory to arrive", secs(60), || async {
        let path = format!("/devices/{device}/inventory/system");
        let section: Value = stack.api.get(&path).await?;
        let facts = section["entries"]["system"].clone();
        Ok(facts["hostname"].is_string().then_some(facts))
    })
    .await?;
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    assert_eq!(system["hostname"], hostname.trim());
    assert_eq!(system["arch"], std::env::consts::ARCH);

    wait::until("installed packages to be listed", secs(60), || async {
        let list: Value = stack.api.get(&format!("/devices/{device}/software?q=libc6")).await?;
        let found = list["items"].as_array().is_some_and(|items| !items.is_empty());
        Ok(found.then_some(()))
    })
    .await?;

    // Rollups are sent a few seconds after each full minute.
    let metrics = wait::until("a first minute of metrics", secs(150), || async {
        let metrics = crate::outage::metrics(&stack.api, &device).await?;
        let busy = metrics.series.iter().find(|s| s.name == "cpu.busy");
        Ok(busy.is_some_and(|s| s.avg.iter().flatten().next().is_some()).then_some(metrics))
    })
    .await?;
    for name in ["memory.used_pct", "load.1", "disk.used_pct", "net.rx", "system.uptime"] {
        assert!(metrics.series.iter().any(|s| s.name == name), "{name} is measured");
    }
    Ok(())
}
