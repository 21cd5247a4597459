//! The pages, embedded in the binary. Files with a hash in their name never
//! change and are cached for a year; the page itself is asked for each time.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, Uri, header};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../web/dist/site"]
struct Pages;

/// Serves a file, or the page for every other path: its routes are its own.
pub(super) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path.starts_with("api/") {
        return super::sessions::problem(StatusCode::NOT_FOUND, "There is no such thing here.");
    }
    if !matches!(method, Method::GET | Method::HEAD) {
        let allow = [(header::ALLOW, "GET, HEAD")];
        return (StatusCode::METHOD_NOT_ALLOWED, allow).into_response();
    }
    let name = if path.is_empty() { "index.html" } else { path };
    // The packed forms are no files of their own.
    if name.ends_with(".br") || name.ends_with(".gz") {
        return StatusCode::NOT_FOUND.into_response();
    }
    if let Some(response) = file(name, &headers) {
        return response;
    }
    if name.contains('.') {
        return StatusCode::NOT_FOUND.into_response();
    }
    file("index.html", &headers).unwrap_or_else(|| StatusCode::NOT_FOUND.into_response())
}

fn file(name: &str, headers: &HeaderMap) -> Option<Response> {
    let accepts = |coding: &str| {
        let value = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok());
        value.is_some_and(|v| v.split(',').any(|c| c.trim().starts_with(coding)))
    };
    let cache = match name.starts_with("assets/") {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let packed = [("br", "br"), ("gzip", "gz")]
        .into_iter()
        .filter(|(coding, _)| accepts(coding))
        .find_map(|(coding, end)| Some((coding, Pages::get(&format!("{name}.{end}"))?)));
    let plain = || Pages::get(name);
    let (coding, file) = match packed {
        Some((coding, file)) => (Some(coding), file),
        None => (None, plain()?),
    };
    let tag = format!("\"{}\"", &crate::cache::content::hex(&file.metadata.sha256_hash())[..32]);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()) == Some(&tag);
    let mut response = match known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => file.data.into_owned().into_response(),
    };
    let out = response.headers_mut();
    // In the place of what the body brought: a header of each name.
    let mut put = |header_name: header::HeaderName, value: &str| {
        if let Ok(value) = value.parse() {
            out.insert(header_name, value);
        }
    };
    put(header::CONTENT_TYPE, media_type(name));
    put(header::CACHE_CONTROL, cache);
    put(header::ETAG, &tag);
    put(header::VARY, "accept-encoding");
    if let Some(coding) = coding {
        put(header::CONTENT_ENCODING, coding);
    }
    Some(response)
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or("") {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "woff2" => "font/woff2",
        "png" => "image/png",
        "json" | "webmanifest" => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_are_got_and_nothing_else() {
        for (method, allowed) in [
            (Method::GET, true),
            (Method::HEAD, true),
            (Method::TRACE, false),
            (Method::OPTIONS, false),
        ] {
            let answer = serve(method.clone(), Uri::from_static("/"), HeaderMap::new()).await;
            let refused = answer.status() == StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(refused, !allowed, "{method}: {}", answer.status());
        }
    }

    #[test]
    fn a_page_has_each_header_once() {
        let page = file("index.html", &HeaderMap::new()).expect("it is built in");
        for name in page.headers().keys() {
            assert_eq!(page.headers().get_all(name).iter().count(), 1, "{name}");
        }
        assert_eq!(page.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
    }
}
