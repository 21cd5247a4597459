//! However a name is spelled, it is the same file: the same hash, the same copy,
//! the same fetch. And no spelling leads out of what is allowed.

use crate::{
    Running, bytes,
    client::{get, raw},
    repository::{INDEXES, publish, publish_as, update},
    upstream::{Behaviour, Upstream},
};

const NAME: &str = "libc6_2.36-9+deb12u1~rc1_amd64.deb";
/// As apt asks, as others do, and as nobody does.
const SPELLINGS: [&str; 6] = [
    "/r/pool/libc6_2.36-9%2bdeb12u1%7erc1_amd64.deb",
    "/r/pool/libc6_2.36-9%2Bdeb12u1%7Erc1%5famd64.deb",
    "/r/pool/libc6_2.36-9+deb12u1~rc1_amd64.deb",
    "/r/pool/./libc6_2.36-9+deb12u1~rc1_amd64.deb",
    "/r//pool/libc6_2.36-9+deb12u1~rc1_amd64.deb",
    "/r/pool/libc6_2.36-9+deb12u1~rc1_amd64.deb?download",
];

#[tokio::test]
async fn a_damaged_answer_is_refused_under_every_spelling_and_the_right_one_is_shared() {
    let up = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    let body = bytes(1, 100_000);
    publish_as(&up, NAME, &body);
    for path in SPELLINGS {
        // Servers of files do not look at queries and fold slashes.
        up.put(path, body.clone());
    }
    update(&run, &up).await;
    up.behave(Behaviour { flip: true, ..Behaviour::default() });
    for path in SPELLINGS {
        let wrong = raw(run.address, &up.url(path), "").await;
        assert!(!wrong.ends_with(&body[99_000..]) && wrong.len() < 100_000, "{path}");
    }
    up.behave(Behaviour::default());
    let plain = format!("/r/pool/{NAME}");
    let asked = || up.gets(&plain) + up.gets(SPELLINGS[4]) + up.gets(SPELLINGS[5]);
    // Once it is here under one of them, it is here under all.
    let mut once = 0;
    for path in SPELLINGS {
        assert!(raw(run.address, &up.url(path), "").await.ends_with(&body), "{path}");
        // It is shared by name until it is on the disk, and by its hash from then on.
        while run.cache.meters.flights.get() > 0 {
            tokio::task::yield_now().await;
        }
        once = if once == 0 { asked() } else { once };
    }
    assert_eq!(asked(), once, "one fetch for all spellings");
}

#[tokio::test]
async fn what_was_stored_damaged_before_its_index_was_known_is_thrown_away_after_it() {
    let up = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    let body = bytes(1, 100_000);
    publish_as(&up, NAME, &body);
    let url = up.url(SPELLINGS[0]);
    up.behave(Behaviour { flip: true, ..Behaviour::default() });
    assert!(get(run.address, &url, &[]).await.unwrap().body != body);
    up.behave(Behaviour::default());
    update(&run, &up).await;
    for path in SPELLINGS.into_iter().take(4) {
        assert!(get(run.address, &up.url(path), &[]).await.unwrap().body == body, "{path}");
    }
}

#[tokio::test]
async fn what_is_answered_to_a_query_teaches_nothing_of_the_names_without_it() {
    let up = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    publish(&up, &bytes(1, 1000));
    update(&run, &up).await;
    let query = format!("{}?of=yesterday", INDEXES[0]);
    let other = format!("Suite: s\nSHA256:\n {} 9 main/binary-amd64/Packages\n", "11".repeat(32));
    up.put(&query, other.clone());
    let got = get(run.address, &up.url(&query), &[]).await.unwrap();
    assert_eq!(got.body, other.as_bytes());
    let before = up.gets(INDEXES[1]);
    let packages = get(run.address, &up.url(INDEXES[1]), &[]).await.unwrap();
    assert_eq!(packages.status, 200);
    assert_eq!(up.gets(INDEXES[1]), before, "what is here is still what the index names");
}

#[tokio::test]
async fn no_spelling_leads_out_of_a_remap_or_past_the_hosts() {
    let up = Upstream::start().await;
    up.put("/secret/x", "secret");
    up.put("/open/x", "open");
    let folder = tempfile::tempdir().unwrap();
    let authority = up.authority.clone();
    let run = Running::start(folder.path(), "unused:1", |config| {
        config.remaps = vec![format!("corp=http://{authority}/open")];
    })
    .await;
    let ask = async |target: &str| {
        let answer = raw(run.address, target, "").await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert!(ask("/remap/corp/x").await.ends_with("open"));
    for path in [
        "/../secret/x",
        "/..\\secret\\x",
        "/a\\..\\..\\secret/x",
        "/%2e%2e/secret/x",
        "/..%2fsecret%2fx",
        "/%2e%2e%5csecret%5cx",
        "/%252e%252e/secret/x",
        "/..%255csecret%255cx",
        "/.%2e/secret/x",
        "/a%2f..%2f..%2fsecret/x",
    ] {
        let answer = ask(&format!("/remap/corp{path}")).await;
        assert!(answer.starts_with("HTTP/1.1 40"), "{path}: {answer}");
    }
    assert_eq!(up.gets("/secret/x"), 0);
}

#[tokio::test]
async fn a_remap_that_is_made_to_lead_elsewhere_inherits_nothing() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    one.put("/f", "one");
    two.put("/f", "two");
    one.behave(Behaviour { fresh: Some(3600), ..Behaviour::default() });
    let folder = tempfile::tempdir().unwrap();
    for (up, body) in [(&one, "one"), (&two, "two"), (&one, "one")] {
        let run = Running::start(folder.path(), &up.authority, |_| {}).await;
        let got = crate::client::mirror(run.address, "/remap/up/f").await.unwrap();
        assert_eq!(got.body, body.as_bytes());
        run.stop().await;
    }
    assert_eq!(one.gets("/f"), 1);
}
