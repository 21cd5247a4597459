//! One HTTPS request to the relay, with time limits and a bound on the answer.

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use std::{io, sync::Arc, time::Duration};
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(20);
const MAX_ANSWER: usize = 256 * 1024;

/// Why a request failed, by stage: each stage has its own remedy.
#[derive(Debug, Error)]
pub enum HttpsError {
    /// Not `host:port`.
    #[error("{0} is not an address of the form host:port")]
    Address(String),
    /// Nobody answers there.
    #[error("{0} cannot be reached: {1}")]
    Connect(String, io::Error),
    /// The TLS handshake failed.
    #[error("{0} did not prove to be the site's relay: {1}")]
    Tls(String, io::Error),
    /// The conversation broke off.
    #[error("{0} broke the conversation off: {1}")]
    Http(String, String),
    /// It refused.
    #[error("{0} answered {1}: {2}")]
    Status(String, StatusCode, String),
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Body.
    pub body: Bytes,
    /// The relay's clock, as HTTP tells it.
    pub date: Option<String>,
    /// Status.
    pub status: StatusCode,
}

/// Splits `host:port`; IPv6 addresses stand in brackets.
#[must_use]
pub fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty()).then_some((host, port.parse().ok()?))
}

/// Sends one request to `address` and reads the whole answer, whatever its status.
///
/// # Errors
/// [`HttpsError`] by the stage that failed.
pub async fn request(
    address: &str,
    tls: Arc<ClientConfig>,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<Answer, HttpsError> {
    let bad = || HttpsError::Address(address.into());
    let (host, port) = split_address(address).ok_or_else(bad)?;
    let name = ServerName::try_from(host.to_owned()).map_err(|_| bad())?;
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let tcp = timeout(CONNECT, TcpStream::connect((host, port)))
        .await
        .map_err(late)
        .and_then(|r| r)
        .map_err(|e| HttpsError::Connect(address.into(), e))?;
    let stream = timeout(CONNECT, TlsConnector::from(tls).connect(name, tcp))
        .await
        .map_err(late)
        .and_then(|r| r)
        .map_err(|e| HttpsError::Tls(address.into(), e))?;
    let broke = |e: String| HttpsError::Http(address.into(), e);
    let exchange = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| broke(e.to_string()))?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, address)
            .header(header::CONTENT_TYPE, "application/cbor")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| broke(e.to_string()))?;
        let response = sender.send_request(request).await.map_err(|e| broke(e.to_string()))?;
        let status = response.status();
        let date = response.headers().get(header::DATE);
        let date = date.and_then(|d| d.to_str().ok()).map(str::to_owned);
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|e| broke(e.to_string()))?
            .to_bytes();
        driver.abort();
        Ok(Answer { body, date, status })
    };
    timeout(ANSWER, exchange).await.map_err(|_| broke("it did not answer in time".into()))?
}

impl Answer {
    /// The body, when the relay accepted the request.
    ///
    /// # Errors
    /// [`HttpsError::Status`] with the relay's words.
    pub fn accepted(self, address: &str) -> Result<Bytes, HttpsError> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let text: String = String::from_utf8_lossy(&self.body)
            .chars()
            .filter(|c| !c.is_control())
            .take(300)
            .collect();
        Err(HttpsError::Status(address.into(), self.status, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_split_at_the_last_colon() {
        assert_eq!(split_address("relay.local:8443"), Some(("relay.local", 8443)));
        assert_eq!(split_address("[fe80::1]:8443"), Some(("fe80::1", 8443)));
        for bad in ["relay", ":1", "relay:", "relay:99999"] {
            assert_eq!(split_address(bad), None, "{bad}");
        }
    }
}
