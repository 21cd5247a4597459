//! Cuts, lies, flipped bits and small disks: never a wrong byte.

use crate::{
    Running, bytes,
    client::get,
    upstream::{Behaviour, Upstream},
};
use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

#[tokio::test]
async fn an_upstream_cut_is_hidden_by_resuming() {
    let up = Upstream::start().await;
    up.put("/f", bytes(1, 2_000_000));
    up.behave(Behaviour { cut_after: Some((600_000, 3)), ..Behaviour::default() });
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    let got = get(run.address, &up.url("/f"), &[]).await.unwrap();
    assert!(got.body == bytes(1, 2_000_000));
    assert_eq!((up.gets("/f"), up.ranges()), (1, 3));
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_resumed_is_not_glued_together() {
    let up = Upstream::start().await;
    up.put("/f", bytes(1, 2_000_000));
    up.behave(Behaviour { cut_after: Some((600_000, 1)), ..Behaviour::default() });
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    let url = up.url("/f");
    let request = get(run.address, &url, &[]);
    let swap = async {
        while up.gets("/f") == 0 {
            tokio::task::yield_now().await;
        }
        up.put("/f", bytes(2, 2_000_000));
    };
    let (first, ()) = tokio::join!(request, swap);
    if let Ok(got) = first {
        assert!(
            got.status == 502 || got.body == bytes(1, 2_000_000) || got.body == bytes(2, 2_000_000)
        );
    }
    let second = get(run.address, &up.url("/f"), &[]).await.unwrap();
    assert!(second.body == bytes(2, 2_000_000));
}

#[tokio::test]
async fn a_lying_length_or_a_truncated_body_is_never_kept() {
    for claim in [400_000, 600_000] {
        let up = Upstream::start().await;
        up.put("/f", bytes(1, 500_000));
        up.behave(Behaviour {
            claim_length: Some(claim),
            no_validators: true,
            ..Behaviour::default()
        });
        let folder = tempfile::tempdir().unwrap();
        let run = Running::start(folder.path(), &up.authority, |_| {}).await;
        let got = get(run.address, &up.url("/f"), &[]).await;
        if claim > 500_000 {
            assert!(got.is_err(), "a truncated body was served as whole");
            assert_eq!(run.cache.stored_bytes(), 0);
        }
        up.behave(Behaviour::default());
    }
}

fn bodies(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for shard in fs::read_dir(folder.join("cache/content")).unwrap() {
        for file in fs::read_dir(shard.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none() {
                found.push(path);
            }
        }
    }
    found
}

#[tokio::test]
async fn a_flipped_bit_on_disk_is_found_dropped_and_fetched_again() {
    let up = Upstream::start().await;
    // One that is verified before its first byte, one that is streamed.
    for (round, length) in [(1, 300_000), (2, 9 * 1024 * 1024)] {
        let path = format!("/f{round}");
        up.put(&path, bytes(round, length));
        let folder = tempfile::tempdir().unwrap();
        let run = Running::start(folder.path(), &up.authority, |_| {}).await;
        for _ in 0..2 {
            get(run.address, &up.url(&path), &[]).await.unwrap();
        }
        let body = bodies(folder.path()).pop().unwrap();
        let file = fs::OpenOptions::new().read(true).write(true).open(&body).unwrap();
        let mut byte = [0];
        let at = length as u64 - 1000;
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 4], at).unwrap();
        let mut whole = None;
        for _ in 0..3 {
            if let Ok(got) = get(run.address, &up.url(&path), &[]).await {
                assert_eq!(got.body, bytes(round, length), "wrong bytes were served");
                whole = Some(());
                break;
            }
        }
        assert!(whole.is_some(), "the damaged file did not come back");
        assert_eq!(up.gets(&path), 2);
    }
}

#[tokio::test]
async fn a_small_cache_makes_room_and_a_file_beyond_it_is_passed_through() {
    let up = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |c| c.max_bytes = 1_000_000).await;
    for seed in 0..6 {
        let path = format!("/f{seed}");
        up.put(&path, bytes(seed, 300_000));
        assert!(get(run.address, &up.url(&path), &[]).await.unwrap().body == bytes(seed, 300_000));
        assert!(run.cache.stored_bytes() <= 1_000_000);
    }
    up.put("/huge", bytes(9, 1_500_000));
    assert!(get(run.address, &up.url("/huge"), &[]).await.unwrap().body == bytes(9, 1_500_000));
    assert!(run.cache.stored_bytes() <= 1_000_000);
}

#[tokio::test]
async fn what_a_crash_left_half_written_is_removed_and_the_rest_is_served() {
    let up = Upstream::start().await;
    up.put("/f", bytes(1, 100_000));
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    get(run.address, &up.url("/f"), &[]).await.unwrap();
    run.stop().await;
    let cache = folder.path().join("cache");
    fs::write(cache.join("partial/0000000000000001"), b"half").unwrap();
    let stray = cache.join("content/ab");
    fs::create_dir_all(&stray).unwrap();
    let unknown = stray.join("ab".repeat(32));
    fs::write(&unknown, b"never indexed").unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    assert!(!unknown.exists());
    assert!(fs::read_dir(cache.join("partial")).unwrap().next().is_none());
    assert_eq!(run.cache.stored_bytes(), 100_000);
    assert!(get(run.address, &up.url("/f"), &[]).await.unwrap().body == bytes(1, 100_000));
    assert_eq!(up.gets("/f"), 1);
}

#[tokio::test]
async fn damage_that_no_client_met_is_found_by_looking_for_it() {
    let up = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    for seed in 0..4 {
        let path = format!("/f{seed}");
        up.put(&path, bytes(seed, 300_000));
        get(run.address, &up.url(&path), &[]).await.unwrap();
    }
    assert_eq!(run.cache.scrub().await, 0);
    let body = bodies(folder.path()).pop().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&body).unwrap();
    file.write_all_at(b"x", 299_000).unwrap();
    assert_eq!(run.cache.scrub().await, 1);
    assert_eq!((run.cache.stored_bytes(), run.cache.meters.damaged.get()), (900_000, 1));
    assert!(!body.exists());
}
