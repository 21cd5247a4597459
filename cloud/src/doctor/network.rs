//! Ports of the cloud, and the way by which browsers come.

use crate::config::Config;
use axum::http::Uri;
use rustls::{ClientConfig, crypto::aws_lc_rs, pki_types::ServerName};
use rustls_platform_verifier::BuilderVerifierExt;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use unifyit_protocol::doctor::Finding;

const PATIENCE: Duration = Duration::from_secs(5);

/// Free while the cloud does not run, and answered by it when it does.
pub(super) fn http_port(address: SocketAddr, running: bool) -> Finding {
    port("port HTTP", "listen", address, running)
}

/// The same for the port from which plain HTTP is sent on, where there is one.
pub(super) fn redirect_port(config: &Config, running: bool) -> Option<Finding> {
    const CHECK: &str = "port redirect";
    match config.redirect() {
        Ok(None) => None,
        Ok(Some(address)) => Some(port(CHECK, "redirect_listen", address, running)),
        Err(error) => Some(Finding::ill(CHECK, error.to_string(), "Change or remove the setting.")),
    }
}

/// The same for the listener of figures and readiness.
pub(super) async fn admin_port(address: SocketAddr) -> Finding {
    port("port metrics", "admin_listen", address, alive(address).await)
}

fn port(check: &'static str, setting: &str, address: SocketAddr, running: bool) -> Finding {
    let bound = TcpListener::bind(address).map(drop);
    match bound {
        Ok(()) => Finding::well(check, format!("{address} is free; the cloud is not running")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match running {
            true => Finding::well(check, format!("the cloud answers at {address}")),
            false => Finding::ill(
                check,
                format!("{address} is taken, and what holds it is no healthy cloud"),
                format!(
                    "Find it with `ss -ltnp 'sport = :{}'` and stop it, or change `{setting}`. If it is the cloud, see its log (journalctl -u unifyit-cloud).",
                    address.port()
                ),
            ),
        },
        // A port below 1024, asked about by somebody with fewer rights than the service.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && running => {
            Finding::well(check, format!("the cloud answers at {address}"))
        }
        Err(error) => Finding::ill(
            check,
            format!("cannot listen on {address} ({error})"),
            format!(
                "Change `{setting}` to an address of this machine and a port from 1024 on, or give the service CAP_NET_BIND_SERVICE."
            ),
        ),
    }
}

/// Whether a cloud runs there: its `/healthz` answers well.
pub(super) async fn alive(address: SocketAddr) -> bool {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let ask = async {
        let mut stream = TcpStream::connect((ip, address.port())).await?;
        let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        io::Result::Ok(answer == *b"HTTP/1.1 200")
    };
    matches!(timeout(PATIENCE, ask).await, Ok(Ok(true)))
}

pub(super) fn libp2p_port(text: &str, running: bool) -> Finding {
    const CHECK: &str = "port for relays";
    const REMEDY: &str = "Change `libp2p_listen`.";
    let Some((address, tcp)) = parse(text) else {
        return Finding::ill(
            CHECK,
            format!("{text} is not an address to listen on"),
            "Write /ip4/0.0.0.0/tcp/4001 or /ip4/0.0.0.0/udp/4001/quic-v1 in `libp2p_listen`.",
        );
    };
    let bound = match tcp {
        true => TcpListener::bind(address).map(drop),
        false => UdpSocket::bind(address).map(drop),
    };
    match bound {
        Ok(()) => Finding::well(CHECK, format!("{text} is free; the cloud is not running")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && running => {
            Finding::well(CHECK, format!("the running cloud holds {text}"))
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::ill(
            CHECK,
            format!("{text} is taken by another program"),
            format!("Find it with `ss -lntup 'sport = :{}'`. {REMEDY}", address.port()),
        ),
        Err(error) => Finding::ill(CHECK, format!("cannot listen on {text} ({error})"), REMEDY),
    }
}

/// The socket of a libp2p address, and whether it is TCP.
fn parse(text: &str) -> Option<(SocketAddr, bool)> {
    let mut parts = text.split('/').skip(1);
    match (parts.next()?, parts.next()?, parts.next()?, parts.next()?) {
        ("ip4" | "ip6", ip, transport @ ("tcp" | "udp"), port) => {
            let address = SocketAddr::new(ip.parse().ok()?, port.parse().ok()?);
            Some((address, transport == "tcp"))
        }
        _ => None,
    }
}

/// The URL of browsers; by HTTPS also its certificate, as this machine's own
/// list of authorities sees it.
pub(super) async fn public_url(config: &Config) -> Finding {
    const CHECK: &str = "public URL";
    match config.public_url.as_str() {
        "" => Finding::warning(
            CHECK,
            "public_url is not set",
            "Set it to the URL that browsers use, else sign-in by HTTPS lacks its protections.",
        ),
        url if url.starts_with("https://") => certificate(url).await,
        url if url.starts_with("http://") => Finding::warning(
            CHECK,
            format!("browsers come by {url}, in the clear"),
            "Set tls_certificate_file and tls_key_file, or put an HTTPS proxy in front, and set public_url to the https:// URL.",
        ),
        url => Finding::ill(
            CHECK,
            format!("public_url {url:?} is no URL"),
            "Write it like https://rmm.example.com.",
        ),
    }
}

async fn certificate(url: &str) -> Finding {
    const CHECK: &str = "public URL";
    match timeout(PATIENCE, handshake(url)).await {
        Ok(Ok(())) => Finding::well(CHECK, format!("{url} answers with a valid certificate")),
        Ok(Err(error)) if error.get_ref().is_some_and(|e| e.is::<rustls::Error>()) => Finding::ill(
            CHECK,
            format!("{url} does not show a valid certificate: {error}"),
            "Renew the certificate (of the HTTPS proxy, or in tls_certificate_file) for this very name, with its whole chain.",
        ),
        Ok(Err(error)) => unreached(url, &error.to_string()),
        Err(_) => unreached(url, "it does not answer in time"),
    }
}

fn unreached(url: &str, reason: &str) -> Finding {
    Finding::ill(
        "public URL",
        format!("{url} cannot be reached from here: {reason}"),
        "Check the name, the HTTPS proxy and the firewall.",
    )
}

async fn handshake(url: &str) -> io::Result<()> {
    let uri: Uri = url.parse().map_err(io::Error::other)?;
    let host = uri.host().ok_or_else(|| io::Error::other("it names no host"))?;
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare.clone()).map_err(io::Error::other)?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(io::Error::other)?
        .with_no_client_auth();
    let stream = TcpStream::connect((bare.as_str(), uri.port_u16().unwrap_or(443))).await?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.map(drop)
}
