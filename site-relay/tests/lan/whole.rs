//! The whole relay in one process, from a cold start without any cloud (G9).

use crate::site::{config, enrolled, until};
use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
};
use unifyit_protocol::doctor::Health;
use unifyit_relay::{
    doctor,
    identity::folder::StateFolder,
    run::{self, Runtime},
};

async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

fn runtime(state: &Path) -> Option<Runtime> {
    serde_json::from_slice(&std::fs::read(state.join(run::RUNTIME_FILE)).ok()?).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_starts_cold_without_a_cloud_and_stops_in_order() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let root = tempfile::tempdir().unwrap();
    enrolled(&StateFolder::open(root.path()).unwrap());
    let mut config = config(root.path());
    config.store.keep_free_bytes = 1;
    let started = Instant::now();
    let (stop, stopped) = oneshot::channel::<()>();
    let relay = tokio::spawn(run::run(config.clone(), async move {
        let _ = stopped.await;
    }));
    let runtime = until("runtime.json", || runtime(root.path())).await;
    let ready = get(runtime.admin.unwrap(), "/readyz").await.unwrap();
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let metrics = get(runtime.admin.unwrap(), "/metrics").await.unwrap();
    assert!(metrics.contains("unifyit_relay_mqtt_sessions 0"), "{metrics}");

    let report = doctor::examine(&config, OffsetDateTime::now_utc()).await;
    for finding in &report.findings {
        let expected = finding.check == "cloud by TCP";
        assert_eq!(finding.health == Health::Ill, expected, "{}", report.text());
    }
    let checked = |check: &str| report.findings.iter().any(|f| f.check == check);
    assert!(checked("server certificate") && checked("port MQTT"), "{}", report.text());

    let second = run::run(config, std::future::pending()).await.unwrap_err();
    assert!(format!("{second:#}").contains("another process"), "{second:#}");

    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(20), relay).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(runtime.mqtt.unwrap()).await.is_err());
}
