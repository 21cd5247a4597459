//! When it is looked whether the cache answers.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use std::net::TcpListener;

fn settings(folder: &Path) -> Settings {
    Settings {
        state: folder.to_owned(),
        log: String::new(),
        log_json: false,
        mqtt: Vec::new(),
        https: Vec::new(),
        spool_bytes: 0,
        max_scripts: 1,
        max_terminals: 1,
        terminal_ends_all: false,
        package_cache: true,
        root: folder.to_owned(),
    }
}

#[tokio::test]
async fn a_cache_that_answers_is_looked_at_seldom_and_at_once_when_something_changed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = TcpListener::bind("127.0.0.1:0").unwrap();
    cache.set_nonblocking(true).unwrap();
    let looks = || std::iter::from_fn(|| cache.accept().ok()).count();
    let addresses = vec![cache.local_addr().unwrap().to_string()];
    let package_cache = PackageCache { addresses, hosts: vec!["ok.org".into()] };
    let offer = DeviceConfig { package_cache, ..DeviceConfig::default() };
    let (told, config) = watch::channel(offer);
    let live = Arc::new(LiveQueue::default());
    tokio::time::pause();
    let following = tokio::spawn(follow(settings(folder.path()), config, Arc::clone(&live)));
    let quiet = Duration::from_secs(60);
    sleep(12 * LOOK - quiet).await;
    assert_eq!(looks(), 12);
    for up in [true, false] {
        live.set_up(up);
        sleep(PATIENCE).await;
        assert_eq!(looks(), 1, "the link changed: {up}");
    }
    told.send_modify(|_| {});
    sleep(PATIENCE).await;
    assert_eq!(looks(), 1, "the settings may have changed");
    following.abort();
}
