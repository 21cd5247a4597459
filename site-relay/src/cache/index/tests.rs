//! A damaged index never serves a wrong row; savings stay within their bounds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use crate::cache::facts::Fact;
use std::{fs, os::unix::fs::FileExt};

fn resource(n: u32) -> Resource {
    let path = format!("/f{n}");
    Resource { repository: "r".into(), place: "r".into(), url: format!("http://r{path}"), path }
}

fn entry(n: u32) -> Entry {
    Entry {
        content: *blake3::hash(&n.to_le_bytes()).as_bytes(),
        size: u64::from(n),
        etag: Some(format!("\"{n}\"")),
        last_modified: None,
        content_type: None,
        checked_ms: 1,
        fresh_s: 0,
        fetched_ms: 0,
        as_named: false,
    }
}

fn content(n: u32) -> Content {
    let sha256 = *blake3::hash(&(n + 1_000_000).to_le_bytes()).as_bytes();
    Content { size: u64::from(n), sha256, used_ms: 0, uses: 0, cost_ms: 0, pinned_ms: 0 }
}

fn filled(path: &Path) {
    let index = Index::open(path).unwrap();
    for n in 0..50 {
        index.keep(&resource(n), &entry(n), &content(n)).unwrap();
    }
}

/// Whatever is found must be what was written.
fn nothing_wrong(index: &Index) -> usize {
    let mut found = 0;
    for n in 0..50 {
        if let Ok(Some(seen)) = index.entry(&resource(n)) {
            assert_eq!(seen, entry(n));
            found += 1;
        }
        if let Ok(Some(seen)) = index.content(&entry(n).content) {
            assert_eq!(seen, content(n));
        }
    }
    found
}

#[test]
fn flipped_bits_never_make_a_row_wrong_and_the_index_stays_usable() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.redb");
    filled(&whole);
    let length = fs::metadata(&whole).unwrap().len();
    let mut lost = 0;
    for round in 0..60_u64 {
        let path = folder.path().join("index.redb");
        fs::copy(&whole, &path).unwrap();
        let mut places = blake3::Hasher::new().update(&round.to_le_bytes()).finalize_xof();
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        // Half of the rounds hit the file while it is open, as disks do.
        let running = (round % 2 == 0).then(|| Index::open(&path).unwrap());
        for _ in 0..200 {
            let mut place = [0; 8];
            places.fill(&mut place);
            let at = u64::from_le_bytes(place) % length;
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ (1 << (place[0] % 8))], at).unwrap();
        }
        let index = running.unwrap_or_else(|| Index::open(&path).unwrap());
        lost += 50 - nothing_wrong(&index);
        // The second time at the latest it takes new rows.
        let kept = (0..3).any(|_| index.keep(&resource(77), &entry(77), &content(77)).is_ok());
        assert!(kept, "round {round}: the index takes nothing any more");
        assert_eq!(index.entry(&resource(77)).unwrap(), Some(entry(77)));
    }
    assert!(lost > 0, "no flip hit anything");
}

#[test]
fn a_file_that_is_no_database_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.redb");
    for nonsense in [vec![7; 4096], vec![0; 100_000]] {
        fs::write(&path, nonsense).unwrap();
        let index = Index::open(&path).unwrap();
        assert!(index.take_lost() && !index.take_lost());
        index.keep(&resource(1), &entry(1), &content(1)).unwrap();
    }
}

#[test]
fn savings_are_kept_by_day_and_repository_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(&folder.path().join("index.redb")).unwrap();
    let first = time::macros::date!(2026 - 01 - 01);
    let more = Saving { served: 10, fetched: 1, hits: 1, misses: 0 };
    for day in 0..60 {
        let day = first + time::Duration::days(day);
        for _ in 0..2 {
            index.note(&[], day, &[("deb.debian.org".into(), more)]).unwrap();
        }
    }
    let rows = index.savings().unwrap();
    assert_eq!((rows.len(), rows[0].0.as_str()), (35, "2026-01-26"));
    assert!(rows.iter().all(|(.., s)| s.served == 20 && s.hits == 2));
    let many: Vec<_> = (0..400).map(|n| (format!("host-{n}"), more)).collect();
    let day = first + time::Duration::days(60);
    index.note(&[], day, &many).unwrap();
    let rows = index.savings().unwrap();
    let today: Vec<_> = rows.iter().filter(|(d, ..)| d == "2026-03-02").collect();
    assert_eq!(today.len(), 257);
    assert_eq!(today.iter().map(|(.., s)| s.served).sum::<u64>(), 4000);
}

#[test]
fn facts_are_bounded_and_those_that_no_index_names_any_more_go_first() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(&folder.path().join("index.redb")).unwrap();
    let teach = |path: &str, at_ms: u64, names: std::ops::Range<u32>| {
        let teacher = Teacher { place: "r", path, at_ms };
        let facts: Vec<_> = names
            .map(|n| Fact { path: format!("/f{n}"), sha256: [n as u8; 32], size: None })
            .collect();
        index.learn(teacher, &facts).unwrap();
        index.taught(teacher, facts.len() as u64).unwrap()
    };
    assert_eq!(teach("/old/Packages", 1, 0..100), 100);
    assert_eq!(teach("/a/Packages", 2, 100..200), 200);
    // Another version, which leaves out a half and names as many others.
    assert_eq!(teach("/a/Packages", 3, 150..250), 250);
    let known = |n: u32| index.expected(&resource(n)).unwrap();
    let expected = known(160).unwrap();
    assert_eq!(index.teacher("r", &expected).unwrap().as_deref(), Some("/a/Packages"));
    assert_eq!(index.forget_facts(230).unwrap(), 50);
    assert!(known(10).is_some() && known(110).is_none() && known(249).is_some());
    // In use again: the other one goes.
    let old = Teacher { place: "r", path: "/old/Packages", at_ms: 9 };
    index.still_taught(old).unwrap();
    assert_eq!(index.forget_facts(150).unwrap(), 100);
    assert!(known(10).is_some() && known(160).is_none());
    assert_eq!(index.facts().unwrap(), 100);
}

#[test]
fn entries_without_content_go_and_the_rest_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::open(&folder.path().join("index.redb")).unwrap();
    for n in 0..50 {
        let entry = Entry { checked_ms: u64::from(n), ..entry(n) };
        index.keep(&resource(n), &entry, &content(n)).unwrap();
    }
    index.forget(&[entry(49).content]).unwrap();
    assert_eq!(index.forget_entries(100).unwrap(), 1);
    assert_eq!(index.forget_entries(20).unwrap(), 31);
    assert!(index.entry(&resource(30)).unwrap().is_none());
    assert!(index.entry(&resource(31)).unwrap().is_some());
    assert_eq!(index.entries().unwrap(), 18);
}
