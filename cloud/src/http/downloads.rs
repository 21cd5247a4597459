//! `GET /install/<BLAKE3>`: the installer and the packages, for anybody.
//!
//! They hold no secret, and who fetches them has no account yet. Whoever runs
//! them checks them against the hashes of the install line.

use super::Problem;
use crate::{context::AppState, downloads::FOLDER};
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};
use std::io;
use tokio::fs::File;
use tokio_util::io::ReaderStream;

/// Bytes read at a time.
const CHUNK: usize = 256 * 1024;

/// The route, outside of the API.
pub fn routes() -> Router<AppState> {
    Router::new().route(&format!("/{FOLDER}/{{hash}}"), get(serve))
}

async fn serve(State(state): State<AppState>, Path(hash): Path<String>) -> Response {
    let Ok(hash) = blake3::Hash::from_hex(&hash) else {
        return Problem::not_found().into_response();
    };
    let opened = async {
        let file = File::open(state.downloads.path(&hash)).await?;
        let size = file.metadata().await?.len();
        io::Result::Ok((file, size))
    };
    let (file, size) = match opened.await {
        Ok(opened) => opened,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Problem::not_found().into_response();
        }
        Err(error) => {
            tracing::error!(%error, "a package cannot be read; see `downloads` in the settings");
            return Problem::internal().into_response();
        }
    };
    let mut answer = Response::new(Body::from_stream(ReaderStream::with_capacity(file, CHUNK)));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    // A name is its content: it is never another.
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    headers.insert(header::CACHE_CONTROL, forever);
    answer
}
