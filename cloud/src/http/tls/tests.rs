//! HTTPS as browsers meet it, while the certificate's files change.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use crate::http::server::{Server, ServerBounds};
use axum::{extract::WebSocketUpgrade, routing::get};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use std::net::SocketAddr;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A certificate that vouches for itself, and its key, in PEM.
fn made() -> (CertificateDer<'static>, String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["rmm.example".to_owned()]).unwrap();
    (made.cert.der().clone(), made.cert.pem(), made.signing_key.serialize_pem())
}

struct Running {
    files: TempDir,
    certificates: Arc<Certificates>,
    at: SocketAddr,
    registry: Registry,
}

impl Running {
    fn write(&self, certificate: &str, key: &str) {
        fs::write(self.files.path().join("chain.pem"), certificate).unwrap();
        fs::write(self.files.path().join("key.pem"), key).unwrap();
    }

    fn kept(&self) -> String {
        match self.certificates.look() {
            Looked::Kept(error) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn figure(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|f| f.name() == name).expect(name);
        let metric = &family.get_metric()[0];
        metric.get_gauge().get_value() + metric.get_counter().get_value()
    }
}

/// A server that shows a pair, and has `head` for a handshake.
async fn running(certificate: &str, key: &str, head: Duration) -> Running {
    let files = tempfile::tempdir().unwrap();
    let (chain, secret) = (files.path().join("chain.pem"), files.path().join("key.pem"));
    fs::write(&chain, certificate).unwrap();
    fs::write(&secret, key).unwrap();
    let registry = Registry::new();
    let config = Config { tls_certificate_file: chain, tls_key_file: secret, ..Config::default() };
    let certificates = Certificates::of(&config, &registry).unwrap().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let bounds = ServerBounds { head, ..ServerBounds::default() };
    let server = Server::new(bounds, "test", &registry).unwrap();
    let server = server.behind(Some(certificates.acceptor().unwrap()));
    let socket = async |upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async |mut socket| socket.send("pong".into()).await.unwrap())
    };
    let router = Router::new().route("/ping", get(async || "pong")).route("/ws", get(socket));
    tokio::spawn(server.run(listener, router, CancellationToken::new()));
    Running { files, certificates, at, registry }
}

/// A browser that trusts one certificate.
async fn browser(
    at: SocketAddr,
    trusted: &CertificateDer<'static>,
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("rmm.example").unwrap();
    let tcp = TcpStream::connect(at).await?;
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// Asks on a connection that is kept.
async fn ping(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET /ping HTTP/1.1\r\nHost: rmm.example\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    while !answer.ends_with("pong") {
        let mut piece = [0; 1024];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "closed after {answer:?}");
        answer.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    answer
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_drops_nobody() {
    let ((first, pem, key), (second, new_pem, new_key)) = (made(), made());
    let server = running(&pem, &key, Duration::from_secs(20)).await;
    let mut open = browser(server.at, &first).await.unwrap();
    assert!(ping(&mut open).await.starts_with("HTTP/1.1 200"));
    assert!(matches!(server.certificates.look(), Looked::Same));
    server.write(&new_pem, &new_key);
    assert!(matches!(server.certificates.look(), Looked::Taken));
    assert!(ping(&mut open).await.starts_with("HTTP/1.1 200"), "it stays");
    let mut newcomer = browser(server.at, &second).await.unwrap();
    assert!(ping(&mut newcomer).await.starts_with("HTTP/1.1 200"));
    browser(server.at, &first).await.expect_err("the first is shown no more");
}

#[tokio::test]
async fn a_websocket_is_opened_over_tls() {
    let (trusted, pem, key) = made();
    let server = running(&pem, &key, Duration::from_secs(20)).await;
    let mut stream = browser(server.at, &trusted).await.unwrap();
    let asked = "GET /ws HTTP/1.1\r\nHost: rmm.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\x81\x04pong") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "closed after {answer:?}");
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"));
}

#[tokio::test]
async fn when_the_certificate_ends_is_a_figure_and_follows_a_renewal() {
    let until = |at: OffsetDateTime| {
        let mut params = rcgen::CertificateParams::new(vec!["rmm.example".to_owned()]).unwrap();
        params.not_after = at;
        let key = rcgen::KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    };
    let now = OffsetDateTime::now_utc();
    let [soon, later] = [13, 60].map(|days| now + time::Duration::days(days));
    let ((pem, key), (new_pem, new_key)) = (until(soon), until(later));
    let server = running(&pem, &key, Duration::from_secs(20)).await;
    let (chain, secret) =
        (server.files.path().join("chain.pem"), server.files.path().join("key.pem"));
    assert!(is_soon(usable(&chain, &secret).unwrap()));
    let ends = |server: &Running| server.certificates.ends.get();
    assert_eq!(ends(&server), soon.unix_timestamp());
    server.write(&new_pem, &new_key);
    assert!(matches!(server.certificates.look(), Looked::Taken));
    assert_eq!(ends(&server), later.unix_timestamp());
    assert!(!is_soon(usable(&chain, &secret).unwrap()));
}

#[tokio::test]
async fn what_cannot_be_used_is_said_and_the_present_certificate_stays() {
    let ((first, pem, key), (_, new_pem, new_key)) = (made(), made());
    let server = running(&pem, &key, Duration::from_secs(20)).await;
    let half = &new_pem[..new_pem.len() / 2];
    for (certificate, secret, said) in [
        // As between the two writes of a renewal.
        (new_pem.as_str(), key.as_str(), "does not belong to the first certificate"),
        (half, new_key.as_str(), "holds no certificate"),
        ("", new_key.as_str(), "holds no certificate"),
        (new_pem.as_str(), "no key", "holds no private key"),
    ] {
        server.write(certificate, secret);
        let told = server.kept();
        assert!(told.contains(said) && told.contains(".pem"), "{told}");
        assert!((server.figure("unifyit_tls_files_unusable") - 1.0).abs() < 0.1);
        assert!(matches!(server.certificates.look(), Looked::Same), "it is said once");
        ping(&mut browser(server.at, &first).await.unwrap()).await;
    }
    fs::remove_file(server.files.path().join("key.pem")).unwrap();
    assert!(server.kept().contains("key.pem cannot be read"));
    ping(&mut browser(server.at, &first).await.unwrap()).await;
    // The same pair again is as good as another.
    server.write(&pem, &key);
    assert!(matches!(server.certificates.look(), Looked::Taken));
    assert!(server.figure("unifyit_tls_files_unusable") < 0.1);
    // Nothing is begun with what cannot be used.
    server.write(&new_pem, &key);
    let (chain, secret) =
        (server.files.path().join("chain.pem"), server.files.path().join("key.pem"));
    let begun = Certificates::load(&chain, &secret, &Registry::new());
    assert!(begun.unwrap_err().to_string().contains("does not belong"));
}

#[tokio::test]
async fn a_handshake_that_does_not_come_ends_its_connection() {
    let (_, pem, key) = made();
    let server = running(&pem, &key, Duration::from_millis(50)).await;
    let mut silent = TcpStream::connect(server.at).await.unwrap();
    let mut clear = TcpStream::connect(server.at).await.unwrap();
    clear.write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    for tcp in [&mut silent, &mut clear] {
        let mut answer = Vec::new();
        // Reset or closed, as the system has it.
        let _ = tcp.read_to_end(&mut answer).await;
        assert!(!String::from_utf8_lossy(&answer).contains("pong"));
    }
    while server.figure("test_handshakes_failed_total") < 1.9 {
        tokio::task::yield_now().await;
    }
    while server.figure("test_connections") > 0.1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn plain_http_is_sent_on_to_the_console_and_to_nobody_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let server = Server::new(ServerBounds::default(), "test", &Registry::new()).unwrap();
    let router = redirect("https://rmm.example/");
    tokio::spawn(server.run(listener, router, CancellationToken::new()));
    for (asked, to) in [
        ("/devices?q=a%20b", "/devices?q=a%20b"),
        ("http://evil.example/x", "/x"),
        ("//evil.example/x", "//evil.example/x"),
        ("*", "/"),
    ] {
        let mut tcp = TcpStream::connect(at).await.unwrap();
        let request =
            format!("GET {asked} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 308"), "{asked}: {answer}");
        assert!(answer.contains(&format!("location: https://rmm.example{to}\r\n")), "{answer}");
    }
}
