//! A client that tells a whole body from a fragment.

use reqwest::header;
use std::net::SocketAddr;

pub struct Got {
    pub status: u16,
    pub body: Vec<u8>,
    pub headers: header::HeaderMap,
}

/// Asks the cache as a proxy would be asked. `Err` when the answer broke off.
pub async fn get(cache: SocketAddr, url: &str, headers: &[(&str, &str)]) -> reqwest::Result<Got> {
    ask(reqwest::Method::GET, cache, url, headers).await
}

/// As [`get`], for the head alone.
pub async fn head(cache: SocketAddr, url: &str, headers: &[(&str, &str)]) -> reqwest::Result<Got> {
    ask(reqwest::Method::HEAD, cache, url, headers).await
}

async fn ask(
    method: reqwest::Method,
    cache: SocketAddr,
    url: &str,
    headers: &[(&str, &str)],
) -> reqwest::Result<Got> {
    let client = reqwest::Client::builder()
        .proxy(reqwest::Proxy::http(format!("http://{cache}")).unwrap())
        .build()
        .unwrap();
    let mut request = client.request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Got { status, body: response.bytes().await?.to_vec(), headers })
}

/// Asks the cache as a mirror.
pub async fn mirror(cache: SocketAddr, path: &str) -> reqwest::Result<Got> {
    let response = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .get(format!("http://{cache}{path}"))
        .send()
        .await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Got { status, body: response.bytes().await?.to_vec(), headers })
}
