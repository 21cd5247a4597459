//! Package caches under test: an upstream that misbehaves on command, a client
//! that tells whole from broken, a small disk, and the caches themselves, ours
//! and the peers', started as processes.
//!
//! [`rounds`] is the seeded fault test that runs against any of them.

pub mod client;
pub mod disk;
pub mod pose;
pub mod proxy;
pub mod repository;
pub mod rounds;
pub mod upstream;

use bytes::Bytes;

/// Bytes that repeat nowhere near, the same for the same seed.
#[must_use]
pub fn bytes(seed: u64, length: usize) -> Bytes {
    let mut out = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out.into()
}

/// SHA-256, by which repositories name their files.
#[must_use]
pub fn sha256(body: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
