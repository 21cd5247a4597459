//! Windows Update and Delivery Optimization content, asked for as BITS, the Store
//! and winget ask: heads, many ranges of a file that is not here yet, conditions,
//! and signed addresses at several hosts.

use crate::{
    Running, bytes,
    client::{Got, get, head, raw},
    upstream::{MODIFIED, Pose, Upstream},
};
use unifyit_relay::cache::content::hex;

const SIZE: usize = 24 << 20;
const FILE: &str = "/filestreamingservice/files/0f3c2a10-1111-2222-3333-444455556666";

/// A cache that reaches Microsoft's hosts by a proxy, which the upstream plays.
async fn site() -> (tempfile::TempDir, Upstream, Running) {
    let (folder, up) = (tempfile::tempdir().unwrap(), Upstream::start().await);
    let proxy = up.url("");
    let change = move |config: &mut unifyit_relay::cache::CacheConfig| {
        config.hosts = vec!["*.delivery.mp.microsoft.com".into(), "*.windowsupdate.com".into()];
        config.proxy = proxy;
    };
    let cache = Running::start(folder.path(), "unused:1", change).await;
    (folder, up, cache)
}

fn signed(host: &str, signature: &str) -> String {
    format!("http://{host}.dl.delivery.mp.microsoft.com{FILE}?P1=1&P2=404&P4={signature}")
}

async fn part(cache: &Running, url: &str, start: usize, end: usize, more: &[(&str, &str)]) -> Got {
    let range = format!("bytes={start}-{}", end - 1);
    let headers = [&[("range", range.as_str())][..], more].concat();
    get(cache.address, url, &headers).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_ranges_of_a_file_that_is_not_here_cost_one_fetch() {
    let (_folder, up, cache) = site().await;
    let body = bytes(7, SIZE);
    let urls = [signed("tlu", "one"), signed("2.au", "two")];
    for url in &urls {
        up.put(url, body.clone());
    }
    let asked = get(cache.address, &urls[0], &[("range", "bytes=0-0")]).await.unwrap();
    assert_eq!(asked.headers["content-range"], format!("bytes 0-0/{SIZE}").as_str());
    // One after another, as BITS does in the background, by two computers whose
    // addresses differ in host and signature. Each pause without a request is one
    // in which nobody waits for the fetch.
    const PIECE: usize = 1 << 20;
    for (n, start) in (0..SIZE).step_by(PIECE).enumerate() {
        let got = part(&cache, &urls[n % 2], start, start + PIECE, &[]).await;
        assert_eq!(got.status, 206);
        assert!(got.body == body[start..start + PIECE], "piece {n}");
    }
    let whole = up.gets(&urls[0]) + up.gets(&urls[1]);
    assert_eq!(whole, 1, "the whole file is fetched once, whoever asks");
    let hit = part(&cache, &signed("3.tlu", "unknown upstream"), 5, 6, &[]).await;
    assert!(hit.status == 206 && hit.body == body[5..6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_far_ahead_of_the_fetch_is_fetched_first() {
    let (_folder, up, cache) = site().await;
    let (body, url) = (bytes(8, SIZE), signed("tlu", "one"));
    up.put(&url, body.clone());
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let behaviour = crate::upstream::Behaviour { gate: Some(gate.clone()), ..Default::default() };
    up.behave(behaviour);
    let last = SIZE - 64 * 1024;
    let asked = tokio::spawn({
        let (address, url) = (cache.address, url.clone());
        async move { get(address, &url, &[("range", &format!("bytes={last}-"))]).await.unwrap() }
    });
    // Piece by piece, fairly shared between the fetch of the whole and that of
    // the range, until the range is there.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while !asked.is_finished() {
        assert!(tokio::time::Instant::now() < deadline, "the range does not come");
        gate.add_permits(if up.ranges() == 0 && cache.cache.meters.fetched.get() > 0 {
            0
        } else {
            1
        });
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let got = asked.await.unwrap();
    assert!(got.status == 206 && got.body == body[last..]);
    assert!(cache.cache.meters.fetched.get() < SIZE as u64 / 2, "it waited for what is before it");
    gate.add_permits(1 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_conditions_are_answered_as_download_clients_expect() {
    let (_folder, up, cache) = site().await;
    let (body, url) = (bytes(9, 300_000), signed("tlu", "one"));
    up.put(&url, body.clone());
    let cold = head(cache.address, &url, &[]).await.unwrap();
    assert!(cold.status == 200 && cold.headers["content-length"] == "300000");
    get(cache.address, &url, &[]).await.unwrap();
    // The last byte is sent before the disk has it.
    while cache.cache.meters.flights.get() > 0 {
        tokio::task::yield_now().await;
    }
    let warm = head(cache.address, &url, &[]).await.unwrap();
    assert!(warm.status == 200 && warm.headers["content-length"] == "300000");
    assert_eq!(warm.headers["accept-ranges"], "bytes");
    let tag = warm.headers["etag"].to_str().unwrap().to_owned();

    let status = async |name: &str, value: &str| {
        get(cache.address, &url, &[(name, value)]).await.unwrap().status
    };
    assert_eq!(status("if-none-match", &tag).await, 304);
    assert_eq!(status("if-none-match", "\"other\"").await, 200);
    assert_eq!(status("if-modified-since", MODIFIED).await, 304);
    assert_eq!(status("if-modified-since", "Fri, 02 Oct 2026 00:00:00 GMT").await, 304);
    assert_eq!(status("if-modified-since", "Wed, 30 Sep 2026 00:00:00 GMT").await, 200);
    assert_eq!(status("if-match", "\"other\"").await, 412);

    // BITS: parts of the very file that it began with, or none.
    let same = part(&cache, &url, 10, 20, &[("if-unmodified-since", MODIFIED)]).await;
    assert!(same.status == 206 && same.body == body[10..20]);
    let older = [("if-unmodified-since", "Wed, 30 Sep 2026 00:00:00 GMT")];
    assert_eq!(part(&cache, &url, 10, 20, &older).await.status, 412);
    let same = part(&cache, &url, 10, 20, &[("if-range", &tag)]).await;
    assert!(same.status == 206 && same.body == body[10..20]);
    let other = part(&cache, &url, 10, 20, &[("if-range", "\"other\"")]).await;
    assert!(other.status == 200 && other.body == body);
    assert_eq!(part(&cache, &url, 300_000, 300_001, &[]).await.status, 416);
}

#[tokio::test]
async fn a_file_whose_name_holds_its_hash_is_held_against_it() {
    let (_folder, up, cache) = site().await;
    for (seed, kind) in
        [(10, &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY), (13, &aws_lc_rs::digest::SHA256)]
    {
        let body = bytes(seed, 40_000);
        let hash = hex(aws_lc_rs::digest::digest(kind, &body).as_ref());
        let host = "http://download.windowsupdate.com/d/msdownload/update/software/secu";
        let url = format!("{host}/2026/11/windows11.0-kb1-x64_{hash}.msu");
        up.put(&url, bytes(11, 40_000));
        let wrong = raw(cache.address, &url, "").await;
        assert!(!wrong.ends_with(&bytes(11, 40_000)), "{hash}");
        up.pose(&url, Pose::page());
        let page = get(cache.address, &url, &[]).await.unwrap();
        assert_eq!(page.status, 502);
        up.be_itself();
        up.put(&url, body.clone());
        for _ in 0..2 {
            assert!(get(cache.address, &url, &[]).await.unwrap().body == body);
        }
        assert_eq!(up.gets(&url), 3, "a wrong one, a page, and the right one, which stays");
    }
}

#[tokio::test]
async fn a_portals_page_is_never_the_content_of_a_windows_file() {
    let (_folder, up, cache) = site().await;
    let url = signed("tlu", "one");
    for pose in [
        Pose::page(),
        Pose { status: 200, headers: String::new(), body: b"log in".to_vec() },
        Pose { status: 200, headers: String::new(), body: Vec::new() },
    ] {
        up.pose("http://", pose);
        assert_eq!(get(cache.address, &url, &[]).await.unwrap().status, 502);
        up.be_itself();
    }
    up.put(&url, bytes(12, 40_000));
    assert!(get(cache.address, &url, &[]).await.unwrap().body == bytes(12, 40_000));
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_with_a_page_that_says_who_can_allow_it() {
    let (_folder, _up, cache) = site().await;
    let refused = get(cache.address, "http://elsewhere.example/x", &[]).await.unwrap();
    let page = String::from_utf8(refused.body).unwrap();
    assert_eq!(refused.status, 403);
    assert!(page.contains("elsewhere.example") && page.contains("cache.hosts"), "{page}");
}
