//! Mosquitto with TLS, and a message to a thousand subscribers.

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use std::{
    fs,
    net::TcpStream,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, task::JoinSet};
use unifyit_tests::{
    process::{Process, Spec},
    sim::Connection,
    stack::ports::free_port,
    wait::{self, secs},
};

/// How long each subscriber waited for each of `rounds` messages.
pub(crate) async fn fan_out(subscribers: usize, rounds: usize) -> Result<Vec<Duration>> {
    println!("Mosquitto with {subscribers} subscribers ({rounds} rounds)");
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let tls = Arc::new(certificates(folder.path())?);
    let _broker = start(folder.path(), port).await?;
    let address = format!("127.0.0.1:{port}");

    let (tell, mut told) = mpsc::channel(2 * subscribers);
    let mut readers = JoinSet::new();
    for number in 0..subscribers {
        let id = format!("reader-{number}");
        let mut connection = Connection::subscribe(&address, &id, "all", Arc::clone(&tls)).await?;
        let tell = tell.clone();
        readers.spawn(async move {
            while connection.next().await.is_ok() {
                if tell.send(Instant::now()).await.is_err() {
                    return;
                }
            }
        });
    }
    let mut writer = Connection::subscribe(&address, "writer", "none", Arc::clone(&tls)).await?;
    let mut waits = Vec::new();
    for _ in 0..rounds {
        let began = Instant::now();
        // About as long as a signed command.
        writer.publish("all", vec![0; 400]).await?;
        for _ in 0..subscribers {
            let at = tokio::time::timeout(secs(30), told.recv()).await?.context("readers live")?;
            waits.push(at - began);
        }
    }
    readers.abort_all();
    Ok(waits)
}

async fn start(folder: &Path, port: u16) -> Result<Process> {
    let shown = folder.display();
    let config = folder.join("mosquitto.conf");
    fs::write(
        &config,
        format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n\
             cafile {shown}/ca.pem\ncertfile {shown}/cert.pem\nkeyfile {shown}/key.pem\n\
             set_tcp_nodelay true\n"
        ),
    )?;
    let broker = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .context("Mosquitto is missing: run deploy/dev/install-deps test")?;
    let log = folder.join("mosquitto.log");
    let process = Spec::new("mosquitto", broker, [Path::new("-c"), &config], log).start()?;
    wait::until_true("Mosquitto to listen", secs(20), || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    })
    .await?;
    Ok(process)
}

/// Makes a CA and a server certificate; returns what a client trusts.
fn certificates(folder: &Path) -> Result<ClientConfig> {
    let ca_key = KeyPair::generate()?;
    let mut ca_params = CertificateParams::new(Vec::new())?;
    ca_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = ca_params.self_signed(&ca_key)?;
    let key = KeyPair::generate()?;
    let issuer = Issuer::new(ca_params, ca_key);
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
    fs::write(folder.join("ca.pem"), ca.pem())?;
    fs::write(folder.join("cert.pem"), certificate.pem())?;
    fs::write(folder.join("key.pem"), key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone())?;
    Ok(ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
