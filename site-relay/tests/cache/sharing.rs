//! One fetch for many clients, ranges, conditions, refusals.

use crate::{
    Running, bytes,
    client::{get, mirror},
    upstream::{Behaviour, Upstream},
};
use std::sync::Arc;
use tokio::sync::Semaphore;
use unifyit_protocol::config::SiteConfig;

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_share_one_fetch_and_see_its_first_bytes_at_once() {
    let up = Upstream::start().await;
    let body = bytes(1, 3_000_000);
    up.put("/big", body.clone());
    // The upstream stops after 128 KiB until the clients have seen bytes.
    let gate = Arc::new(Semaphore::new(2));
    up.behave(Behaviour { gate: Some(Arc::clone(&gate)), ..Behaviour::default() });
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    let mut tasks = Vec::new();
    let first = Arc::new(Semaphore::new(0));
    for _ in 0..50 {
        let (address, url, first) = (run.address, up.url("/big"), Arc::clone(&first));
        tasks.push(tokio::spawn(async move {
            let client = reqwest::Client::builder()
                .proxy(reqwest::Proxy::http(format!("http://{address}")).unwrap())
                .build()
                .unwrap();
            let mut response = client.get(url).send().await.unwrap();
            let mut hasher = blake3::Hasher::new();
            while let Some(chunk) = response.chunk().await.unwrap() {
                if hasher.count() == 0 {
                    first.add_permits(1);
                }
                hasher.update(&chunk);
            }
            hasher.finalize()
        }));
    }
    let _seen = first.acquire_many(50).await.unwrap();
    gate.add_permits(1000);
    for task in tasks {
        assert_eq!(task.await.unwrap(), blake3::hash(&body));
    }
    assert_eq!((up.gets("/big"), up.ranges()), (1, 0));
    let again = get(run.address, &up.url("/big"), &[]).await.unwrap();
    assert!(again.body == body);
    assert_eq!(up.gets("/big"), 1);
}

#[tokio::test]
async fn ranges_and_conditions_are_answered_from_the_cache() {
    let up = Upstream::start().await;
    let body = bytes(2, 700_000);
    up.put("/f", body.clone());
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    // Uncached: what is needed comes first, and it is a 206.
    let part = get(run.address, &up.url("/f"), &[("range", "bytes=1000-1999")]).await.unwrap();
    assert_eq!((part.status, part.body.as_slice()), (206, &body[1000..2000]));
    let whole = get(run.address, &up.url("/f"), &[]).await.unwrap();
    assert!(whole.body == body);
    let etag = whole.headers["etag"].to_str().unwrap();
    let end = get(run.address, &up.url("/f"), &[("range", "bytes=-100")]).await.unwrap();
    assert_eq!((end.status, end.body.as_slice()), (206, &body[699_900..]));
    let same = get(run.address, &up.url("/f"), &[("if-none-match", etag)]).await.unwrap();
    assert_eq!((same.status, same.body.len()), (304, 0));
    let resumed =
        get(run.address, &up.url("/f"), &[("range", "bytes=5-"), ("if-range", "\"other\"")]).await;
    assert_eq!(resumed.unwrap().status, 200);
    let beyond = get(run.address, &up.url("/f"), &[("range", "bytes=700000-")]).await.unwrap();
    assert_eq!(
        (beyond.status, &beyond.headers["content-range"]),
        (416, &"bytes */700000".parse().unwrap())
    );
}

#[tokio::test]
async fn a_body_without_a_length_is_passed_on_whole_and_kept() {
    let up = Upstream::start().await;
    up.put("/c", bytes(3, 300_000));
    up.put("/empty", Vec::new());
    up.behave(Behaviour { chunked: true, ..Behaviour::default() });
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    for _ in 0..2 {
        let got = get(run.address, &up.url("/c"), &[]).await.unwrap();
        assert!(got.body == bytes(3, 300_000));
        assert_eq!(get(run.address, &up.url("/empty"), &[]).await.unwrap().body, b"");
    }
    assert_eq!(up.gets("/c"), 1);
}

#[tokio::test]
async fn what_the_site_does_not_allow_is_refused_with_a_page_that_says_who_can() {
    let up = Upstream::start().await;
    let other = Upstream::start().await;
    other.put("/x", "secret");
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    let refused = get(run.address, &other.url("/x"), &[]).await.unwrap();
    assert_eq!(refused.status, 403);
    assert!(
        String::from_utf8(refused.body).unwrap().contains("cache.hosts in /etc/unifyit/relay.toml")
    );
    assert_eq!(other.gets("/x"), 0);
    run.cache.follow(&SiteConfig {
        cache_hosts: vec![other.authority.clone()],
        ..SiteConfig::default()
    });
    assert_eq!(get(run.address, &other.url("/x"), &[]).await.unwrap().body, b"secret");
}

#[tokio::test]
async fn links_of_a_remapped_index_lead_through_the_cache() {
    let up = Upstream::start().await;
    let page = format!("<a href=\"http://{}/files/six.whl#sha256=00\">six</a>", up.authority);
    up.put_as("/simple/six/", page, "text/html");
    up.put("/files/six.whl", bytes(4, 1000));
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    let page = mirror(run.address, "/remap/up/simple/six/").await.unwrap();
    let link = format!("http://{}/remap/up/files/six.whl#sha256=00", run.address);
    let text = String::from_utf8(page.body).unwrap();
    assert!(text.contains(&link), "{text}");
    let file = mirror(run.address, "/remap/up/files/six.whl").await.unwrap();
    assert!(file.body == bytes(4, 1000));
}
