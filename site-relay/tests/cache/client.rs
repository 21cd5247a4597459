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

/// Asks for a target exactly as it is written, with further header lines, and
/// takes whatever comes until the end.
pub async fn raw(cache: SocketAddr, target: &str, lines: &str) -> Vec<u8> {
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: {cache}\r\n{lines}Connection: close\r\n\r\n");
    exchange(cache, &request).await
}

/// Sends what is given and takes whatever comes until the end.
pub async fn exchange(cache: SocketAddr, request: &str) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(cache).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _broken_off = stream.read_to_end(&mut answer).await;
    answer
}
