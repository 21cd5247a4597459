//! `GET /blobs/<hash>` for admitted devices, with ranges, so that a download
//! that broke goes on where it stopped.

use super::{BlobError, Blobs};
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use blake3::Hash;
use std::io::SeekFrom;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

/// Newcomers that are answered at the same time.
const FETCHES: usize = 16;

/// The route. The caller sees to it that only admitted devices reach it.
pub fn router(blobs: Blobs) -> Router {
    Router::new().route("/blobs/{hash}", get(serve)).with_state(blobs)
}

/// `GET /install/<hash>` for anybody on the LAN: what newcomers install from. Each
/// checks what it gets against the hashes of its install line.
pub fn install_router(installers: Blobs) -> Router {
    // Strangers may make this relay ask the cloud: a few at a time.
    let bound = tower::limit::GlobalConcurrencyLimitLayer::new(FETCHES);
    Router::new().route("/install/{hash}", get(serve)).layer(bound).with_state(installers)
}

async fn serve(
    State(blobs): State<Blobs>,
    Path(hash): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Ok(hash) = Hash::from_hex(&hash) else {
        return (StatusCode::BAD_REQUEST, "a BLAKE3 hash in hexadecimal is expected")
            .into_response();
    };
    match answer(&blobs, hash, &headers).await {
        Ok(response) => response,
        Err(error) => {
            let status = match error {
                BlobError::Missing => StatusCode::NOT_FOUND,
                BlobError::TooLarge(_) => StatusCode::INSUFFICIENT_STORAGE,
                BlobError::Away(_) => StatusCode::SERVICE_UNAVAILABLE,
                BlobError::Damaged => StatusCode::BAD_GATEWAY,
                BlobError::Disk(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            tracing::warn!(%hash, %error, "a file could not be served");
            (status, error.to_string()).into_response()
        }
    }
}

async fn answer(blobs: &Blobs, hash: Hash, headers: &HeaderMap) -> Result<Response, BlobError> {
    let path = blobs.get(hash).await?;
    let mut file = tokio::fs::File::open(path).await?;
    let size = file.metadata().await?.len();
    let wanted = headers.get(header::RANGE).and_then(|v| v.to_str().ok());
    let mut response = Response::new(Body::empty());
    let head = response.headers_mut();
    head.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let (from, until) = match wanted.map(|range| parse(range, size)) {
        None | Some(Wanted::Whole) => (0, size),
        Some(Wanted::Part(from, until)) => {
            let text = format!("bytes {from}-{}/{size}", until - 1);
            head.extend(HeaderValue::try_from(text).map(|v| (header::CONTENT_RANGE, v)));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            (from, until)
        }
        Some(Wanted::Beyond) => {
            let text = format!("bytes */{size}");
            head.extend(HeaderValue::try_from(text).map(|v| (header::CONTENT_RANGE, v)));
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            return Ok(response);
        }
    };
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(until - from));
    file.seek(SeekFrom::Start(from)).await?;
    blobs.0.served.inc_by(until - from);
    let stream = ReaderStream::with_capacity(file.take(until - from), 256 * 1024);
    *response.body_mut() = Body::from_stream(stream);
    Ok(response)
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// No range, or one that may be ignored.
    Whole,
    /// From the first byte to before the second.
    Part(u64, u64),
    /// Nothing of the file.
    Beyond,
}

/// One range of bytes. Several, or another unit, are answered with the whole,
/// as RFC 9110 allows.
pub(super) fn parse(range: &str, size: u64) -> Wanted {
    let Some((from, until)) = range.strip_prefix("bytes=").and_then(|r| r.split_once('-')) else {
        return Wanted::Whole;
    };
    match (from.trim().parse::<u64>(), until.trim()) {
        (Ok(from), _) if from >= size => Wanted::Beyond,
        (Ok(from), "") => Wanted::Part(from, size),
        (Ok(from), until) => match until.parse::<u64>() {
            Ok(until) if until >= from => Wanted::Part(from, until.saturating_add(1).min(size)),
            _ => Wanted::Whole,
        },
        (Err(_), until) if from.trim().is_empty() => match until.parse::<u64>() {
            Ok(0) => Wanted::Beyond,
            Ok(last) if size > 0 => Wanted::Part(size.saturating_sub(last), size),
            _ => Wanted::Whole,
        },
        _ => Wanted::Whole,
    }
}
