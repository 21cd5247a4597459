//! Ports of the relay, the certificate that it serves, and the way to the cloud.

use super::{Finding, papers::lifetime};
use crate::{
    config::Config,
    enroll::{RelayRecord, cloud as cloud_client},
    identity::{Keys, ca},
    run::{RUNTIME_FILE, Runtime},
    uplink::CLOCK_APART,
};
use libp2p::identity::Keypair;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes read of an answer; metrics are far less.
const MAX_ANSWER: u64 = 1 << 20;
const CLOUD_PATIENCE: Duration = Duration::from_secs(6);

/// Where the relay on this state folder listens, if one runs and answers.
pub(super) async fn running(config: &Config) -> Option<Runtime> {
    let text = std::fs::read(config.state.join(RUNTIME_FILE)).ok()?;
    let runtime: Runtime = serde_json::from_slice(&text).ok()?;
    ask(&runtime, "/healthz").await?;
    Some(runtime)
}

/// A page of the running relay's admin port, if it answers in time.
async fn ask(runtime: &Runtime, path: &str) -> Option<String> {
    let admin = here(runtime.admin?);
    let asked = async {
        let mut stream = TcpStream::connect(admin).await.ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER).read_to_string(&mut answer).await.ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(answer)
    };
    timeout(PATIENCE, asked).await.ok()?
}

/// This machine's clock beside the cloud's, as the running relay saw it when they
/// were last compared; nothing while they are not connected.
pub(super) async fn clock(runtime: &Runtime) -> Option<Finding> {
    let metrics = ask(runtime, "/metrics").await?;
    let figure = |name: &str| {
        let mut lines = metrics.lines();
        lines.find_map(|line| {
            line.strip_prefix("unifyit_relay_")?.strip_prefix(name)?.trim().parse::<f64>().ok()
        })
    };
    (figure("uplink_up")? > 0.0).then_some(())?;
    Some(clocks(figure(CLOCK_APART)?))
}

fn clocks(ahead_s: f64) -> Finding {
    let check = "clock against the cloud";
    let apart = ahead_s.abs();
    let word = if ahead_s > 0.0 { "ahead of" } else { "behind" };
    let detail = format!("this machine's clock is {apart:.0} s {word} the cloud's");
    let remedy = "Set the time on whichever is wrong (timedatectl set-ntp true). While the cloud is reached the site goes by its time; without it, by this machine's clock.";
    match apart {
        ..30.0 => Finding::well(check, format!("{apart:.0} s apart")),
        ..300.0 => Finding::warning(check, detail, remedy),
        _ => Finding::ill(check, detail, remedy),
    }
}

/// Each port: open when the relay runs, free when it does not.
pub(super) async fn ports(config: &Config, running: Option<&Runtime>) -> Vec<Finding> {
    let listen = &config.listen;
    let listening = running.cloned().unwrap_or_default();
    let all = [
        ("port MQTT", listen.mqtt, listening.mqtt),
        ("port agents' HTTPS", listen.https, listening.https),
        ("port local UI", listen.ui, listening.ui),
        ("port admin", listen.admin, listening.admin),
        ("port package cache", listen.cache, listening.cache),
        ("port sister relays", listen.sisters, listening.sisters),
    ];
    let mut findings = Vec::new();
    for (check, configured, actual) in all {
        match (running, actual) {
            (Some(_), Some(actual)) => findings.push(open(check, actual).await),
            // A part that is switched off has no port.
            (Some(_), None) => {}
            (None, _) => findings.push(free(check, configured).await),
        }
    }
    findings
}

async fn open(check: &'static str, address: SocketAddr) -> Finding {
    match timeout(PATIENCE, TcpStream::connect(here(address))).await {
        Ok(Ok(_)) => Finding::well(check, format!("{address} answers")),
        _ => Finding::ill(
            check,
            format!("{address} does not answer although the relay runs"),
            "Look at its log (journalctl -u unifyit-relay) and at the firewall (nft list ruleset), then restart it.",
        ),
    }
}

async fn free(check: &'static str, address: SocketAddr) -> Finding {
    match TcpListener::bind(address).await {
        Ok(_) => Finding::well(check, format!("{address} is free; the relay is not running")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::ill(
            check,
            format!("{address} is taken by another program"),
            format!(
                "Find it with `ss -ltnp 'sport = :{}'` and stop it, or choose another port in relay.toml under [listen].",
                address.port()
            ),
        ),
        Err(error) => Finding::ill(
            check,
            format!("{address} cannot be used: {error}"),
            "Choose an address of this machine and a port from 1024 on, in relay.toml under [listen].",
        ),
    }
}

/// The certificate that agents see, and whether it is what they pin.
pub(super) async fn served_certificate(
    running: &Runtime,
    keys: &Keys,
    now: OffsetDateTime,
) -> Option<Finding> {
    let check = "server certificate";
    let address = here(running.https?);
    let restart =
        "Restart the relay: systemctl restart unifyit-relay. It makes itself a fresh certificate.";
    Some(match timeout(PATIENCE, fetch(address, keys)).await {
        Ok(Ok(certificate)) => lifetime(check, ca::validity(&certificate), now, restart),
        Ok(Err(error)) => Finding::ill(
            check,
            format!("{address} does not show a certificate of this site: {error}"),
            restart,
        ),
        Err(_) => Finding::ill(check, format!("{address} does not finish the handshake"), restart),
    })
}

async fn fetch(address: SocketAddr, keys: &Keys) -> io::Result<Vec<u8>> {
    let mut roots = RootCertStore::empty();
    roots.add(keys.ca.certificate().clone()).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::IpAddress(address.ip().into());
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[_]>::first)
        .map(|certificate| certificate.to_vec())
        .ok_or_else(|| io::Error::other("no certificate"))
}

/// Each address of the cloud, by a short connection under a key of its own: a
/// running relay's connection is not disturbed.
pub(super) async fn cloud(record: &RelayRecord) -> Vec<Finding> {
    let stranger = Keypair::generate_ed25519();
    let mut findings = Vec::new();
    for address in &record.cloud_addresses {
        let check = if address.contains("quic") { "cloud by QUIC" } else { "cloud by TCP" };
        let reached =
            cloud_client::reach(&stranger, &record.cloud_peer, address, CLOUD_PATIENCE).await;
        findings.push(match reached {
            Ok(()) => Finding::well(check, format!("{address} answers")),
            Err(error) => Finding::ill(
                check,
                error.to_string(),
                "The site keeps working; what it has to tell is stored and sent when the cloud can be reached again.",
            ),
        });
    }
    // One way is enough.
    let reached = findings.iter().any(|finding| finding.remedy.is_none());
    if reached {
        for finding in findings.iter_mut().filter(|f| f.remedy.is_some()) {
            finding.health = unifyit_protocol::doctor::Health::Warning;
        }
    }
    findings
}

/// An address on which a listener of this machine can be reached from itself.
fn here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
