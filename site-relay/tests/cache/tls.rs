//! An upstream that exists only over HTTPS, with an authority of its own.

use crate::upstream::Upstream;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, pki_types::PrivatePkcs8KeyDer};
use std::{path::PathBuf, sync::Arc};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// TLS in front of an upstream.
pub struct Front {
    /// `localhost:port`.
    pub authority: String,
    /// The file of its authority.
    pub ca: PathBuf,
}

/// Starts the front, and writes its authority's certificate into `folder`.
pub async fn front(up: &Upstream, folder: &std::path::Path) -> Front {
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap();
    let path = folder.join("authority.pem");
    std::fs::write(&path, ca.pem()).unwrap();
    let issuer = Issuer::from_ca_cert_der(ca.der(), key).unwrap();
    let own = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&own, &issuer).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivatePkcs8KeyDer::from(own.serialize_der()).into(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (acceptor, behind) = (TlsAcceptor::from(Arc::new(config)), up.authority.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let Ok(mut plain) = TcpStream::connect(behind).await else { return };
                let _ended = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
            });
        }
    });
    Front { authority: format!("localhost:{port}"), ca: path }
}
