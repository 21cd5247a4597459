//! Asking upstreams: conditional and ranged GETs, and what their answers say.

use super::{
    CacheConfig, CacheError,
    console::Shared,
    index::Entry,
    reach::{Checked, Forbidden},
};
use reqwest::{RequestBuilder, Response, StatusCode, Url, header};
use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};
use thiserror::Error;

const CONNECT: Duration = Duration::from_secs(10);
/// Redirects that are followed.
const HOPS: usize = 5;

/// Why an upstream gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum UpstreamError {
    /// No connection, no answer, or an answer that broke off.
    #[error("the upstream cannot be reached or broke off: {0}")]
    Unreachable(String),
    /// It answered, and not with the file.
    #[error("the upstream answered {0}")]
    Status(u16),
    /// It led to where the cache may not go.
    #[error("the upstream cannot be used: {0}")]
    Astray(String),
    /// It answered with something else than what was asked for.
    #[error(
        "the answer is not the file but {0}: most likely somebody between here and the upstream answered, such as a log-in page"
    )]
    Posing(&'static str),
    /// The file changed while it was being fetched.
    #[error("the file changed at the upstream while it was being fetched")]
    Changed,
    /// The bytes are not those that the signed index names.
    #[error("the upstream's bytes are not those that the repository's signed index names")]
    Mismatch,
    /// The site's disk refused.
    #[error("the cache's disk refused: {0}")]
    Disk(String),
}

/// What an answer's head says of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// Whole length, when told.
    pub size: Option<u64>,
    /// Strong validator.
    pub etag: Option<String>,
    /// Date validator, as written.
    pub last_modified: Option<String>,
    /// Type, as written.
    pub content_type: Option<String>,
    /// Seconds that it stays fresh.
    pub fresh_s: u32,
}

impl Head {
    /// Reads an answer's headers; `size` of a 206 is the whole file's.
    #[must_use]
    pub(super) fn of(response: &Response) -> Self {
        let text = |name: header::HeaderName| {
            response
                .headers()
                .get(name)
                .and_then(|v| v.to_str().ok())
                .filter(|v| v.len() <= 512)
                .map(str::to_owned)
        };
        let size = if response.status() == StatusCode::PARTIAL_CONTENT {
            text(header::CONTENT_RANGE).and_then(|r| r.rsplit_once('/')?.1.parse().ok())
        } else {
            text(header::CONTENT_LENGTH).and_then(|n| n.parse().ok())
        };
        Self {
            size,
            etag: text(header::ETAG).filter(|tag| !tag.starts_with("W/")),
            last_modified: text(header::LAST_MODIFIED),
            content_type: text(header::CONTENT_TYPE),
            fresh_s: text(header::CACHE_CONTROL).map_or(0, |c| freshness(&c)),
        }
    }

    /// Whether another answer is about the same bytes, as far as validators tell.
    #[must_use]
    pub(super) fn same_file(&self, other: &Self) -> bool {
        let agree = |a: &Option<String>, b: &Option<String>| match (a, b) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        let sizes = match (self.size, other.size) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        let any = (self.etag.is_some() && other.etag.is_some())
            || (self.last_modified.is_some() && other.last_modified.is_some());
        any && sizes
            && agree(&self.etag, &other.etag)
            && agree(&self.last_modified, &other.last_modified)
    }

    /// The validator to send with `If-Range`.
    #[must_use]
    pub(super) fn validator(&self) -> Option<&str> {
        self.etag.as_deref().or(self.last_modified.as_deref())
    }
}

/// Freshness that a `Cache-Control` grants, bounded to a day: repositories
/// change more often than their headers admit.
fn freshness(control: &str) -> u32 {
    let directive = |name: &str| {
        control
            .split(',')
            .map(str::trim)
            .find(|d| d.split('=').next().is_some_and(|n| n.eq_ignore_ascii_case(name)))
    };
    if directive("no-cache").is_some() || directive("no-store").is_some() {
        return 0;
    }
    directive("s-maxage")
        .or_else(|| directive("max-age"))
        .and_then(|d| d.split_once('=')?.1.trim_matches('"').parse::<u32>().ok())
        .map_or(0, |seconds| seconds.min(24 * 3600))
}

/// The client that fetches.
pub(super) struct Client {
    http: reqwest::Client,
    /// No byte for this long counts as a cut.
    stall: Duration,
    rules: Shared,
}

/// Makes the client, which follows `rules` as they change.
///
/// # Errors
/// When the TLS roots cannot be loaded.
pub(super) fn client(
    config: &CacheConfig,
    rules: Shared,
    stall: Duration,
) -> Result<Client, CacheError> {
    let make = |roots: Option<Vec<reqwest::Certificate>>| -> Result<reqwest::Client, CacheError> {
        let own = config.authorities()?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("unifyit-relay/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .read_timeout(stall)
            // Followed here, hop by hop: each is looked at.
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(Checked::new(Arc::clone(&rules), config)))
            .pool_max_idle_per_host(8);
        http = match roots {
            None => http.tls_certs_merge(own),
            Some(roots) => http.tls_certs_only(roots.into_iter().chain(own)),
        };
        if let Some(proxy) = config.proxy()? {
            http = http.proxy(proxy);
        }
        Ok(http.build()?)
    };
    let http = match make(None) {
        Ok(http) => http,
        // A minimal system has none, and a site is not left without its relay for that.
        Err(error) => {
            tracing::warn!(%error, "This system names no authorities for HTTPS (no \
                ca-certificates?); Mozilla's list that this program carries is used.");
            make(Some(mozillas()?))?
        }
    };
    Ok(Client { http, stall, rules })
}

/// Mozilla's list of authorities, as of this build.
fn mozillas() -> Result<Vec<reqwest::Certificate>, CacheError> {
    let list = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    Ok(list.map(|der| reqwest::Certificate::from_der(der)).collect::<Result<_, _>>()?)
}

/// What a request to the upstream adds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ask<'a> {
    /// Only if it differs from this.
    pub unless: Option<&'a Entry>,
    /// From this byte on, if `if_range` still holds.
    pub from: u64,
    /// Up to this byte (not included).
    pub until: Option<u64>,
    /// Validator of the bytes already had.
    pub if_range: Option<&'a str>,
    /// The client's `Accept`, because some repositories negotiate.
    pub accept: Option<&'a str>,
    /// Whether the hash of what comes is known.
    pub named: bool,
}

impl Ask<'_> {
    fn add_to(self, mut request: RequestBuilder) -> RequestBuilder {
        request = request.header(header::ACCEPT_ENCODING, "identity");
        if let Some(accept) = self.accept {
            request = request.header(header::ACCEPT, accept);
        }
        if let Some(entry) = self.unless {
            if let Some(etag) = &entry.etag {
                request = request.header(header::IF_NONE_MATCH, etag);
            } else if let Some(date) = &entry.last_modified {
                request = request.header(header::IF_MODIFIED_SINCE, date);
            }
        }
        if self.from > 0 || self.until.is_some() {
            let last = self.until.map(|end| end.saturating_sub(1).to_string()).unwrap_or_default();
            request = request.header(header::RANGE, format!("bytes={}-{last}", self.from));
            if let Some(validator) = self.if_range {
                request = request.header(header::IF_RANGE, validator);
            }
        }
        request
    }
}

/// Asks the upstream, following redirects to where the cache may go; answers of
/// 400 and above come back as they are.
///
/// # Errors
/// [`UpstreamError::Unreachable`] or [`UpstreamError::Astray`].
pub(super) async fn get(
    client: &Client,
    url: &str,
    ask: Ask<'_>,
) -> Result<Response, UpstreamError> {
    let first = Url::parse(url).map_err(|e| UpstreamError::Astray(e.to_string()))?;
    let reach = Arc::clone(&client.rules.read().unwrap_or_else(PoisonError::into_inner).reach);
    let mut at = first.clone();
    for _ in 0..=HOPS {
        let response = send(client, ask.add_to(client.http.get(at.clone()))).await?;
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(response);
        }
        let place = response.headers().get(header::LOCATION).and_then(|v| v.to_str().ok());
        let next = place.and_then(|place| at.join(place).ok());
        let next = next.ok_or_else(|| UpstreamError::Astray("it leads nowhere".into()))?;
        reach.hop(&first, &at, &next, ask.named).map_err(UpstreamError::Astray)?;
        at = next;
    }
    Err(UpstreamError::Astray("it leads on and on".into()))
}

/// Sends one request; the answer's head must come in bounded time.
///
/// # Errors
/// As [`get`].
pub(super) async fn send(
    client: &Client,
    request: RequestBuilder,
) -> Result<Response, UpstreamError> {
    match tokio::time::timeout(CONNECT + client.stall, request.send()).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(e)) => Err(match forbidden(&e) {
            Some(forbidden) => UpstreamError::Astray(forbidden.to_string()),
            None => UpstreamError::Unreachable(root_cause(&e)),
        }),
        Err(_) => Err(UpstreamError::Unreachable("no answer in time".into())),
    }
}

impl Client {
    /// A request of another kind than [`get`] makes.
    pub(super) fn post(&self, url: &str) -> RequestBuilder {
        self.http.post(url)
    }
}

fn forbidden(error: &reqwest::Error) -> Option<&Forbidden> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The innermost reason, which is the one that helps.
#[must_use]
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(etag: Option<&str>, modified: Option<&str>, size: u64) -> Head {
        Head {
            size: Some(size),
            etag: etag.map(Into::into),
            last_modified: modified.map(Into::into),
            content_type: None,
            fresh_s: 0,
        }
    }

    #[test]
    fn a_file_is_the_same_only_where_a_validator_says_so() {
        let a = head(Some("\"1\""), None, 5);
        assert!(a.same_file(&head(Some("\"1\""), None, 5)));
        assert!(!a.same_file(&head(Some("\"2\""), None, 5)));
        assert!(!a.same_file(&head(Some("\"1\""), None, 6)));
        assert!(!head(None, None, 5).same_file(&head(None, None, 5)));
    }

    #[test]
    fn freshness_is_bounded_and_no_cache_wins() {
        assert_eq!(freshness("public, max-age=600"), 600);
        assert_eq!(freshness("max-age=99999999"), 86400);
        assert_eq!(freshness("max-age=600, no-cache"), 0);
        assert_eq!(freshness("s-maxage=5, max-age=600"), 5);
        assert_eq!(freshness("private"), 0);
    }
}
