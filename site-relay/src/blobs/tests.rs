//! Serving what is here.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::{
    BlobError, Blobs,
    serve::{Wanted, parse, router},
};
use crate::telemetry::Telemetry;
use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

#[test]
fn ranges_are_read_as_rfc_9110_says() {
    assert_eq!(parse("bytes=0-0", 10), Wanted::Part(0, 1));
    assert_eq!(parse("bytes=4-", 10), Wanted::Part(4, 10));
    assert_eq!(parse("bytes=-3", 10), Wanted::Part(7, 10));
    assert_eq!(parse("bytes=5-99", 10), Wanted::Part(5, 10));
    assert_eq!(parse("bytes=10-", 10), Wanted::Beyond);
    assert_eq!(parse("bytes=-0", 10), Wanted::Beyond);
    for ignored in ["bytes=5-4", "items=1-2", "bytes=1-2,4-5", "bytes=-", "bytes=a-b"] {
        assert_eq!(parse(ignored, 10), Wanted::Whole, "{ignored}");
    }
}

#[tokio::test]
async fn a_file_that_is_here_is_served_in_parts_and_another_is_not() {
    let state = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(state.path(), 1000, &Telemetry::new()).unwrap();
    let hash = blake3::hash(b"0123456789");
    std::fs::write(blobs.path(&hash), b"0123456789").unwrap();
    let request = Request::get(format!("/blobs/{hash}")).header("range", "bytes=2-4");
    let answer = router(blobs.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(answer.headers()["content-range"], "bytes 2-4/10");
    assert_eq!(&answer.into_body().collect().await.unwrap().to_bytes()[..], b"234");
    let other = blobs.get(blake3::hash(b"other")).await;
    assert!(matches!(other, Err(BlobError::Away(_))));
    let request = Request::get("/blobs/..%2Fsecret").body(Body::empty()).unwrap();
    let answer = router(blobs).oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
}

#[test]
fn the_folder_is_bounded_and_the_longest_unused_goes_first() {
    let state = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(state.path(), 250, &Telemetry::new()).unwrap();
    let hashes: Vec<_> = (0..3u8).map(|n| blake3::hash(&[n])).collect();
    for (n, hash) in hashes.iter().enumerate() {
        std::fs::write(blobs.path(hash), [0; 100]).unwrap();
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(n as u64 + 1);
        std::fs::File::options()
            .append(true)
            .open(blobs.path(hash))
            .unwrap()
            .set_modified(at)
            .unwrap();
    }
    blobs.make_room(100, &hashes[2]);
    assert!(!blobs.path(&hashes[0]).exists());
    assert!(blobs.path(&hashes[1]).exists() && blobs.path(&hashes[2]).exists());
}
