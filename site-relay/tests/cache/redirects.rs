//! An upstream's redirect leads nowhere that the site does not allow.

use crate::{
    Running, bytes,
    client::{get, mirror},
    repository::{publish, update},
    upstream::{Pose, Upstream},
};

#[tokio::test]
async fn redirects_to_what_is_allowed_are_followed_and_all_others_refused() {
    let (up, allowed, inner) =
        (Upstream::start().await, Upstream::start().await, Upstream::start().await);
    inner.put("/metrics", "secret");
    allowed.put("/f", bytes(1, 1000));
    let folder = tempfile::tempdir().unwrap();
    let also = allowed.authority.clone();
    let run = Running::start(folder.path(), &up.authority, |config| config.hosts.push(also)).await;
    up.pose("/good", Pose::redirect(&allowed.url("/f")));
    let good = get(run.address, &up.url("/good"), &[]).await.unwrap();
    assert!(good.body == bytes(1, 1000));
    // Twice: by the first one's leave the second one is not free.
    allowed.pose("/on", Pose::redirect(&inner.url("/metrics")));
    up.pose("/twice", Pose::redirect(&allowed.url("/on")));
    up.pose("/bad", Pose::redirect(&inner.url("/metrics")));
    up.pose("/round", Pose::redirect(&up.url("/round")));
    up.pose("/meta", Pose::redirect("http://169.254.169.254/latest/meta-data"));
    up.pose("/file", Pose::redirect("file:///etc/passwd"));
    for path in ["/twice", "/bad", "/round", "/meta", "/file"] {
        for got in [
            get(run.address, &up.url(path), &[]).await.unwrap(),
            mirror(run.address, &format!("/remap/up{path}")).await.unwrap(),
            crate::client::head(run.address, &up.url(path), &[]).await.unwrap(),
        ] {
            assert_eq!(got.status, 502, "{path}");
            assert!(!got.body.windows(6).any(|w| w == b"secret"), "{path}");
        }
    }
    let page = get(run.address, &up.url("/bad"), &[]).await.unwrap().body;
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains(&inner.authority) && page.contains("cache.hosts"), "{page}");
    assert_eq!(inner.gets("/metrics"), 0);
}

#[tokio::test]
async fn a_name_that_lies_on_this_machine_is_not_asked_unless_somebody_said_so() {
    let up = Upstream::start().await;
    up.put("/f", "here");
    let port = up.authority.rsplit(':').next().unwrap().to_owned();
    // A name of the loopback that every resolver knows, and that a wildcard allows.
    let url = format!("http://localhost:{port}/f");
    let folder = tempfile::tempdir().unwrap();
    let named = format!("localhost:{port}");
    let run = Running::start(folder.path(), &up.authority, |config| config.hosts.push(named)).await;
    assert_eq!(get(run.address, &url, &[]).await.unwrap().body, b"here");
    // The same by a redirect from a remap, whose own permission covers nothing else.
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    up.pose("/to", Pose::redirect(&url));
    assert_eq!(get(run.address, &up.url("/to"), &[]).await.unwrap().status, 502);
    assert_eq!(up.gets("/f"), 1);
}

#[tokio::test]
async fn a_mirror_of_the_upstreams_choice_does_not_lie_on_this_machine() {
    let up = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let host = up.authority.split(':').next().unwrap().to_owned();
    let run =
        Running::start(folder.path(), &up.authority, |config| config.mirrors.push(host)).await;
    publish(&up, &bytes(1, 30_000));
    update(&run, &up).await;
    // Its bytes are named, so the name may be any; where it lies shows when it is resolved.
    up.pose("/r/pool", Pose::redirect("http://localhost/a.deb"));
    let got = get(run.address, &up.url("/r/pool/a.deb"), &[]).await.unwrap();
    let page = String::from_utf8(got.body).unwrap();
    assert_eq!(got.status, 502, "{page}");
    assert!(page.contains("localhost lies at"), "{page}");
}

#[tokio::test]
async fn a_portal_that_redirects_does_not_take_away_what_is_here() {
    let (up, portal) = (Upstream::start().await, Upstream::start().await);
    portal.put_as("/login", "<html>log in</html>", "text/html");
    up.put("/d/InRelease", "Suite: s\n");
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    let url = up.url("/d/InRelease");
    assert_eq!(get(run.address, &url, &[]).await.unwrap().status, 200);
    up.pose("/", Pose::redirect(&portal.url("/login")));
    let stale = get(run.address, &url, &[]).await.unwrap();
    assert_eq!((stale.status, stale.body.as_slice()), (200, &b"Suite: s\n"[..]));
    assert!(stale.headers["warning"].to_str().unwrap().starts_with("111"));
    assert_eq!(portal.gets("/login"), 0);
}
