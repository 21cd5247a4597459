//! TLS by the cloud itself, where no proxy stands before it.
//!
//! Certificate and key are files that others renew, so they are looked at again and
//! again. A pair that fits takes the place of the present one for every handshake
//! from then on; connections that are open stay. A pair that cannot be used (half
//! written, of two different renewals, unreadable) is said once, and the present one
//! goes on.

use crate::config::Config;
use axum::{Router, http::Uri, response::Redirect};
use prometheus::{IntGauge, Registry};
use rustls::{
    Error as RustlsError, InconsistentKeys, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};
use thiserror::Error;
use time::OffsetDateTime;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(10);
/// Longest file that is read.
const MAX_FILE: u64 = 1024 * 1024;
/// From when on it is said that the certificate ends.
const SOON_S: i64 = 14 * 24 * 3600;
/// How often that is said.
const SAY_EVERY: Duration = Duration::from_secs(24 * 3600);

/// TLS cannot be set up, or not from what the files hold.
#[derive(Debug, Error)]
pub enum TlsError {
    /// One file without the other.
    #[error("set both tls_certificate_file and tls_key_file, or neither")]
    Half,
    /// Browsers would be told another scheme than they are served by.
    #[error(
        "public_url is {0:?}, but with tls_certificate_file browsers come by HTTPS: begin it with https://"
    )]
    PublicUrl(String),
    /// There is nothing to be sent on to.
    #[error(
        "redirect_listen sends browsers on to public_url, which must begin with https:// for that"
    )]
    Redirect,
    /// A file is not there, or not for this user.
    #[error(
        "{path} cannot be read ({source}); it must be there, and readable by the user that the cloud runs as"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No certificate in PEM.
    #[error(
        "{0} holds no certificate; put the whole chain there in PEM, the cloud's own certificate first"
    )]
    NoCertificate(PathBuf),
    /// No key in PEM.
    #[error("{0} holds no private key in PEM (one that asks for a passphrase cannot be used)")]
    NoKey(PathBuf),
    /// Two renewals, or the chain in the wrong order.
    #[error(
        "the key in {key} does not belong to the first certificate in {certificate}; the cloud's own certificate comes first, and its key is needed"
    )]
    Mismatch {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// They are of a kind that is not known here.
    #[error("{certificate} and {key} cannot be used: {source}")]
    Unusable {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// What was found.
        source: RustlsError,
    },
}

/// What a look at the files found.
#[derive(Debug)]
pub enum Looked {
    /// Nothing that was not seen before.
    Same,
    /// Another pair, which is shown from here on.
    Taken,
    /// Something that cannot be used; the present pair stays.
    Kept(TlsError),
}

/// Hands the present certificate to each handshake.
pub struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    present: RwLock<Arc<CertifiedKey>>,
    /// Of what the files held at the last look.
    seen: Mutex<blake3::Hash>,
    unusable: IntGauge,
    ends: IntGauge,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("certificate", &self.certificate).finish()
    }
}

impl Certificates {
    /// Those of the settings, or none where the cloud speaks plain HTTP.
    ///
    /// # Errors
    /// [`TlsError`] that says what to mend.
    pub fn of(config: &Config, registry: &Registry) -> anyhow::Result<Option<Arc<Self>>> {
        let Some((certificate, key)) = config.tls_files()? else { return Ok(None) };
        Ok(Some(Arc::new(Self::load(certificate, key, registry)?)))
    }

    fn load(certificate: &Path, key: &Path, registry: &Registry) -> anyhow::Result<Self> {
        let unusable = IntGauge::new(
            "unifyit_tls_files_unusable",
            "1 while the certificate's files hold what cannot be used, and an older one is shown.",
        )?;
        registry.register(Box::new(unusable.clone()))?;
        let ends = IntGauge::new(
            "unifyit_tls_certificate_ends_seconds",
            "When the certificate that is shown ends, Unix seconds.",
        )?;
        registry.register(Box::new(ends.clone()))?;
        let files = read(certificate, key);
        let seen = Mutex::new(hash(&files));
        let pair = parse(certificate, key, files)?;
        ends.set(ending(&pair));
        let present = RwLock::new(Arc::new(pair));
        Ok(Self { certificate: certificate.into(), key: key.into(), present, seen, unusable, ends })
    }

    /// What a server accepts connections with.
    ///
    /// # Errors
    /// When this build knows no version of TLS.
    pub fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, RustlsError> {
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Reads the files again.
    pub fn look(&self) -> Looked {
        let files = read(&self.certificate, &self.key);
        let found = hash(&files);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == found {
            return Looked::Same;
        }
        *seen = found;
        match parse(&self.certificate, &self.key, files) {
            Ok(pair) => {
                self.ends.set(ending(&pair));
                *self.present.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
                self.unusable.set(0);
                Looked::Taken
            }
            Err(error) => {
                self.unusable.set(1);
                Looked::Kept(error)
            }
        }
    }

    /// Looks again and again until cancelled.
    pub async fn keep_fresh(self: Arc<Self>, stop: CancellationToken) {
        let mut said = None::<tokio::time::Instant>;
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            let at = self.clone();
            match tokio::task::spawn_blocking(move || at.look()).await {
                Ok(Looked::Taken) => tracing::info!(file = %self.certificate.display(),
                    "another certificate is shown to browsers from now on"),
                Ok(Looked::Kept(error)) => tracing::error!(%error,
                    "the files of the certificate changed and cannot be used; the one before is still shown"),
                Ok(Looked::Same) => {}
                Err(error) => tracing::error!(%error, "the certificate could not be looked at"),
            }
            let left_s = left_s(self.ends.get());
            if is_soon(left_s) && said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                said = Some(tokio::time::Instant::now());
                tracing::error!(file = %self.certificate.display(), left_s,
                    "the certificate that browsers are shown ends within two weeks, or has ended; have it renewed");
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.present.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Sends whoever comes by plain HTTP on to the console's own URL.
pub fn redirect(public_url: &str) -> Router {
    let base = public_url.trim_end_matches('/').to_owned();
    Router::new().fallback(move |uri: Uri| {
        // A path, whatever else a request may name: the host is ours.
        let rest = uri.path_and_query().map_or("/", |rest| rest.as_str());
        let rest = if rest.starts_with('/') { rest } else { "/" };
        let to = Redirect::permanent(&format!("{base}{rest}"));
        async { to }
    })
}

/// For how many seconds a pair of files can be used, for `doctor`; none are left of one
/// that has ended.
///
/// # Errors
/// [`TlsError`] that says what to mend.
pub fn usable(certificate: &Path, key: &Path) -> Result<i64, TlsError> {
    parse(certificate, key, read(certificate, key)).map(|pair| left_s(ending(&pair)))
}

/// Whether a certificate of which so much is left is to be renewed at once.
#[must_use]
pub fn is_soon(left_s: i64) -> bool {
    left_s < SOON_S
}

/// When a certificate ends, Unix seconds; never, where that cannot be read.
fn ending(pair: &CertifiedKey) -> i64 {
    let first = pair.cert.first().map(AsRef::as_ref).unwrap_or_default();
    x509_parser::parse_x509_certificate(first)
        .map_or(i64::MAX, |(_, parsed)| parsed.validity().not_after.timestamp())
}

fn left_s(ends: i64) -> i64 {
    ends.saturating_sub(OffsetDateTime::now_utc().unix_timestamp())
}

type Files = (Vec<u8>, Zeroizing<Vec<u8>>);

fn read(certificate: &Path, key: &Path) -> Result<Files, TlsError> {
    let whole = |path: &Path| {
        let mut bytes = Vec::new();
        let read = fs::File::open(path).and_then(|f| f.take(MAX_FILE).read_to_end(&mut bytes));
        read.map(|_| bytes).map_err(|source| TlsError::Read { path: path.into(), source })
    };
    Ok((whole(certificate)?, Zeroizing::new(whole(key)?)))
}

fn hash(files: &Result<Files, TlsError>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    match files {
        Ok((certificate, key)) => {
            hasher.update(blake3::hash(certificate).as_bytes());
            hasher.update(blake3::hash(key).as_bytes());
        }
        Err(error) => {
            hasher.update(error.to_string().as_bytes());
        }
    }
    hasher.finalize()
}

fn parse(
    certificate: &Path,
    key: &Path,
    files: Result<Files, TlsError>,
) -> Result<CertifiedKey, TlsError> {
    let (chain, secret) = files?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::NoCertificate(certificate.into()))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(certificate.into()));
    }
    let secret = PrivateKeyDer::from_pem_slice(&secret).map_err(|_| TlsError::NoKey(key.into()))?;
    CertifiedKey::from_der(chain, secret, &aws_lc_rs::default_provider()).map_err(|e| match e {
        RustlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::Mismatch { certificate: certificate.into(), key: key.into() }
        }
        source => TlsError::Unusable { certificate: certificate.into(), key: key.into(), source },
    })
}

#[cfg(test)]
mod tests;
