//! Somebody between here and the upstream answers in its place: log-in pages,
//! refusals, empty answers. What is here stays, and nothing of it is kept.

use crate::{
    Running, bytes,
    client::{get, mirror},
    repository::{publish, update},
    upstream::{Behaviour, Pose, Upstream},
};

fn wheel(seed: u64) -> Vec<u8> {
    [b"PK\x03\x04", bytes(seed, 5000).as_slice()].concat()
}

/// An index, a wheel, a document and a page of links, in two versions.
fn put(up: &Upstream, version: u64) {
    up.put("/d/InRelease", format!("Suite: s\nVersion: {version}\n"));
    up.put("/p/a-1-py3-none-any.whl", wheel(version));
    up.put_as("/six", format!("{{\"v\": {version}}}"), "application/json");
    let page = format!("<!doctype html><a href=\"a.whl#sha256={version:064}\">a</a>");
    up.put_as("/simple/six/", page, "text/html");
    up.put("/blob", bytes(version, 3000));
}

const PATHS: [&str; 5] =
    ["/d/InRelease", "/p/a-1-py3-none-any.whl", "/six", "/simple/six/", "/blob"];

#[tokio::test]
async fn what_is_here_outlives_a_log_in_page_and_all_is_well_after_the_log_in() {
    let up = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    put(&up, 1);
    let mut first = Vec::new();
    for path in PATHS {
        first.push(mirror(run.address, &format!("/remap/up{path}")).await.unwrap().body);
    }
    let empty = Pose { body: Vec::new(), ..Pose::page() };
    let plain = Pose { headers: "cache-control: max-age=3600\r\n".into(), ..Pose::page() };
    let told =
        Pose { headers: String::new(), body: b"{\"error\": \"log in\"}".to_vec(), status: 200 };
    let mut poses = vec![Pose::page(), plain, empty];
    poses.extend([203, 204, 401, 403, 407, 429, 451, 503, 511].map(Pose::status));
    for (n, pose) in poses.into_iter().enumerate() {
        up.pose("/", pose);
        for (path, first) in PATHS.iter().zip(&first) {
            let got = mirror(run.address, &format!("/remap/up{path}")).await.unwrap();
            assert_eq!(got.status, 200, "pose {n}, {path}");
            assert!(got.body == *first, "pose {n}, {path}");
            assert!(
                got.headers["warning"].to_str().unwrap().starts_with("111"),
                "pose {n}, {path}"
            );
        }
    }
    // JSON is what a document is; it poses for everything else.
    up.pose("/", told);
    for path in ["/d/InRelease", "/p/a-1-py3-none-any.whl", "/simple/six/"] {
        let got = mirror(run.address, &format!("/remap/up{path}")).await.unwrap();
        assert!(got.headers.contains_key("warning"), "{path}");
    }
    assert!(run.cache.meters.posing.get() > 0);
    up.be_itself();
    put(&up, 2);
    for (path, first) in PATHS.iter().zip(&first) {
        let got = mirror(run.address, &format!("/remap/up{path}")).await.unwrap();
        assert!(got.body != *first && !got.headers.contains_key("warning"), "{path}");
    }
}

#[tokio::test]
async fn a_page_is_not_kept_for_a_package_and_does_not_outlive_the_portal() {
    let up = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    up.pose("/", Pose::page());
    for path in ["/d/InRelease", "/p/a-1-py3-none-any.whl", "/a.tgz", "/a.deb", "/a.rpm"] {
        assert_eq!(get(run.address, &up.url(path), &[]).await.unwrap().status, 502, "{path}");
        let head = crate::client::head(run.address, &up.url(path), &[]).await.unwrap();
        assert_eq!(head.status, 502, "{path}");
    }
    assert_eq!(run.cache.stored_bytes(), 0);
    // Where a page is what is asked for, nobody can tell; but it is not believed.
    let page = mirror(run.address, "/remap/up/simple/six/").await.unwrap();
    assert_eq!(page.status, 200);
    // A text where a wheel should be may be one; it is passed on and not kept.
    let busy = Pose { status: 200, headers: String::new(), body: b"busy".to_vec() };
    up.pose("/p/", busy);
    for asked in 1..=2 {
        let url = up.url("/p/b-1-py3-none-any.whl");
        assert_eq!(get(run.address, &url, &[]).await.unwrap().body, b"busy");
        assert_eq!(up.gets("/p/b-1-py3-none-any.whl"), asked);
    }
    up.be_itself();
    put(&up, 1);
    let page = mirror(run.address, "/remap/up/simple/six/").await.unwrap();
    assert!(String::from_utf8(page.body).unwrap().contains("sha256="));
    let got = get(run.address, &up.url("/p/a-1-py3-none-any.whl"), &[]).await.unwrap();
    assert!(got.body == wheel(1));
}

#[tokio::test]
async fn an_index_outlives_a_404_and_a_file_that_is_gone_does_not() {
    let up = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    put(&up, 1);
    for path in PATHS {
        get(run.address, &up.url(path), &[]).await.unwrap();
    }
    up.pose("/", Pose::status(404));
    let index = get(run.address, &up.url("/d/InRelease"), &[]).await.unwrap();
    assert!(index.status == 200 && index.headers.contains_key("warning"));
    for path in ["/p/a-1-py3-none-any.whl", "/blob"] {
        assert_eq!(get(run.address, &up.url(path), &[]).await.unwrap().status, 404);
    }
    up.pose("/", Pose::status(410));
    assert_eq!(get(run.address, &up.url("/d/InRelease"), &[]).await.unwrap().status, 410);
}

#[tokio::test]
async fn what_a_signed_index_names_is_not_shown_a_page_for_either() {
    let up = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    publish(&up, &bytes(1, 30_000));
    update(&run, &up).await;
    let chunked = Behaviour { chunked: true, ..Behaviour::default() };
    up.behave(chunked);
    up.pose("/r/pool", Pose::page());
    assert_eq!(get(run.address, &up.url("/r/pool/a.deb"), &[]).await.unwrap().status, 502);
    up.be_itself();
    let got = get(run.address, &up.url("/r/pool/a.deb"), &[]).await.unwrap();
    assert!(got.body == bytes(1, 30_000));
}
