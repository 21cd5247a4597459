//! Signed indexes overrule names: republished and damaged files.

use crate::{
    Running, bytes,
    client::get,
    upstream::{Behaviour, Upstream},
};
use aws_lc_rs::digest::{SHA256, digest};
use unifyit_relay::cache::content::hex;

fn sha256(body: &[u8]) -> String {
    hex(digest(&SHA256, body).as_ref())
}

/// Publishes a one-package apt repository and its indexes.
pub fn publish(up: &Upstream, deb: &[u8]) {
    publish_as(up, "a.deb", deb);
}

/// As [`publish`], under another name.
pub fn publish_as(up: &Upstream, name: &str, deb: &[u8]) {
    let packages = format!(
        "Package: a\nVersion: 1\nFilename: pool/{name}\nSize: {}\nSHA256: {}\n",
        deb.len(),
        sha256(deb)
    );
    let release = format!(
        "Suite: s\nSHA256:\n {} {} main/binary-amd64/Packages\n",
        sha256(packages.as_bytes()),
        packages.len()
    );
    up.put(&format!("/r/pool/{name}"), deb);
    up.put("/r/dists/s/main/binary-amd64/Packages", packages);
    up.put("/r/dists/s/InRelease", release);
}

/// The indexes, in the order in which apt asks for them.
pub const INDEXES: [&str; 2] = ["/r/dists/s/InRelease", "/r/dists/s/main/binary-amd64/Packages"];

pub async fn update(run: &Running, up: &Upstream) {
    for path in INDEXES {
        assert_eq!(get(run.address, &up.url(path), &[]).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_republished_file_of_the_same_name_gives_the_new_content() {
    let up = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    for seed in [1, 2, 1] {
        publish(&up, &bytes(seed, 100_000));
        update(&run, &up).await;
        let got = get(run.address, &up.url("/r/pool/a.deb"), &[]).await.unwrap();
        assert!(got.body == bytes(seed, 100_000));
    }
    // The third round's content was known by its hash.
    assert_eq!(up.gets("/r/pool/a.deb"), 2);
}

#[tokio::test]
async fn a_body_that_is_not_what_the_index_names_is_never_served_whole() {
    let up = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    publish(&up, &bytes(1, 300_000));
    update(&run, &up).await;
    up.behave(Behaviour { flip: true, ..Behaviour::default() });
    let wrong = get(run.address, &up.url("/r/pool/a.deb"), &[]).await;
    assert!(wrong.is_err() || wrong.is_ok_and(|got| got.status == 502));
    up.behave(Behaviour::default());
    let right = get(run.address, &up.url("/r/pool/a.deb"), &[]).await.unwrap();
    assert!(right.body == bytes(1, 300_000));
}

#[tokio::test]
async fn what_is_cached_installs_while_the_upstream_is_gone_also_after_a_restart() {
    let up = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    publish(&up, &bytes(1, 50_000));
    update(&run, &up).await;
    get(run.address, &up.url("/r/pool/a.deb"), &[]).await.unwrap();
    up.vanish();
    run.stop().await;
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    let index = get(run.address, &up.url(INDEXES[0]), &[]).await.unwrap();
    assert_eq!(index.status, 200);
    assert!(index.headers["warning"].to_str().unwrap().starts_with("111"));
    assert!(run.cache.upstream_lost_since_ms().is_some());
    let deb = get(run.address, &up.url("/r/pool/a.deb"), &[]).await.unwrap();
    assert!(deb.body == bytes(1, 50_000));
    let unknown = get(run.address, &up.url("/r/pool/b.deb"), &[]).await.unwrap();
    assert_eq!(unknown.status, 504);
}
