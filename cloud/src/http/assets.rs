//! The console's files, embedded in the binary.
//!
//! The build leaves each text beside its Brotli and gzip form, so nothing is
//! compressed while somebody waits. Vite puts a hash into the name of every asset, so those are cached for a
//! year; `index.html` is asked for again each time by its tag. Any other path
//! without a dot is one of the console's own routes and gets `index.html`.

use super::Problem;
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../web/dist/console"]
struct Console;

/// Serves a file of the console, or its start page.
pub async fn serve(request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let api = path == "api" || path.starts_with("api/");
    if api || !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Problem::not_found().into_response();
    }
    let answer = match path.rsplit('/').next().unwrap_or_default() {
        // The packed forms are no files of their own.
        last if last.ends_with(".br") || last.ends_with(".gz") => None,
        last if last.contains('.') => file(&request, path),
        _ => file(&request, "index.html"),
    };
    answer.unwrap_or_else(|| Problem::not_found().into_response())
}

/// A file in the smallest form that the client takes.
fn file(request: &Request, path: &str) -> Option<Response> {
    let takes = |coding: &str| {
        let asked = request.headers().get_all(header::ACCEPT_ENCODING).iter();
        asked.filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).any(|item| {
            let mut parts = item.split(';').map(str::trim);
            parts.next() == Some(coding) && !parts.any(|p| p == "q=0")
        })
    };
    let packed = [("br", "br"), ("gzip", "gz")]
        .into_iter()
        .filter(|(coding, _)| takes(coding))
        .find_map(|(coding, end)| Some((Some(coding), Console::get(&format!("{path}.{end}"))?)));
    let (coding, file) = match packed {
        Some(packed) => packed,
        None => (None, Console::get(path)?),
    };
    Some(answer(request, path, file, coding))
}

fn answer(
    request: &Request,
    path: &str,
    file: EmbeddedFile,
    coding: Option<&'static str>,
) -> Response {
    let tag = format!("\"{}\"", blake3::Hash::from(file.metadata.sha256_hash()).to_hex());
    let cache = if path.starts_with("assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let known = request.headers().get(header::IF_NONE_MATCH).is_some_and(|t| t == tag.as_str());
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(Body::from(file.data))
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(path)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(coding) = coding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
