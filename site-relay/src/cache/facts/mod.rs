//! What signed repository indexes say about files: path → hash.
//!
//! The indexes themselves pass through untouched, signatures and all; clients
//! check those. The cache reads them to know which bytes a path stands for, so
//! that a republished or damaged file is never taken for the present one.

pub mod apt;
pub mod rpm;

/// What an index says of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Path below the repository's host, with its leading slash.
    pub path: String,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
    /// Length in bytes, when the index tells.
    pub size: Option<u64>,
}

/// Most facts taken from one index. Debian's largest has about 70,000.
pub const MAX_FACTS: usize = 400_000;
/// Longest index that is read, in bytes after decompression.
pub const MAX_INDEX: u64 = 512 * 1024 * 1024;

/// An index that the cache can read, recognised by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexKind {
    /// apt `Release` or `InRelease`.
    AptRelease,
    /// apt `Packages` or `Sources`, possibly compressed.
    AptPackages,
    /// rpm `repomd.xml`.
    RpmRepomd,
    /// rpm `primary.xml`, possibly compressed.
    RpmPrimary,
}

impl IndexKind {
    /// Whether it names other indexes rather than packages.
    #[must_use]
    pub fn names_indexes(self) -> bool {
        matches!(self, Self::AptRelease | Self::RpmRepomd)
    }

    /// Recognises an index by its path.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?;
        let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
        match name {
            "InRelease" | "Release" => Some(Self::AptRelease),
            "repomd.xml" => Some(Self::RpmRepomd),
            _ if matches!(stem, "Packages" | "Sources") && readable(name) => {
                Some(Self::AptPackages)
            }
            _ if name.contains("primary.xml") && readable(name) => Some(Self::RpmPrimary),
            _ => None,
        }
    }
}

/// Whether a file of this path may be an index: then what it says must be known
/// before a client that has read it asks for more.
#[must_use]
pub fn speaks_of_others(path: &str) -> bool {
    IndexKind::of(path).is_some() || path.contains("/by-hash/")
}

/// Whether the ending is one that [`unpack`] understands.
fn readable(name: &str) -> bool {
    match name.rsplit_once('.') {
        None => true,
        Some((_, end)) => matches!(end, "gz" | "xz" | "zst" | "xml" | "lzma"),
    }
}

/// Reads all facts of an index.
///
/// # Errors
/// A sentence for the log when the index cannot be read.
pub fn read(kind: IndexKind, path: &str, body: &[u8]) -> Result<Vec<Fact>, String> {
    let plain = unpack(path, body)?;
    match kind {
        IndexKind::AptRelease => Ok(apt::release(path, &plain)),
        IndexKind::AptPackages => Ok(apt::packages(path, &plain)),
        IndexKind::RpmRepomd => rpm::repomd(path, &plain),
        IndexKind::RpmPrimary => rpm::primary(path, &plain),
    }
}

/// Decompresses by ending, up to [`MAX_INDEX`].
fn unpack(path: &str, body: &[u8]) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let end = path.rsplit('.').next().unwrap_or("");
    let mut plain = Vec::new();
    let read = match end {
        "gz" => flate2::read::MultiGzDecoder::new(body).take(MAX_INDEX + 1).read_to_end(&mut plain),
        "xz" | "lzma" => liblzma::read::XzDecoder::new_multi_decoder(body)
            .take(MAX_INDEX + 1)
            .read_to_end(&mut plain),
        "zst" => zstd::Decoder::new(body)
            .and_then(|decoder| decoder.take(MAX_INDEX + 1).read_to_end(&mut plain)),
        _ => return Ok(body.to_vec()),
    };
    match read {
        Ok(_) if plain.len() as u64 <= MAX_INDEX => Ok(plain),
        Ok(_) => Err(format!("the index unfolds beyond {MAX_INDEX} bytes")),
        Err(e) => Err(format!("the index cannot be decompressed: {e}")),
    }
}

/// The folder of a path, with its trailing slash.
fn folder(path: &str) -> &str {
    path.rfind('/').map_or("/", |at| &path[..=at])
}
