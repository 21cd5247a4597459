//! A body that is being received: written, and hashed once while it is written.
//!
//! The hashes of its blocks are nodes of the tree that BLAKE3 is, so that the same
//! pass gives the body's name and what each block is held against later. SHA-256,
//! which is known of a body only where an index names it, waits until the body is
//! kept where nobody waits for it.

use super::{BLOCK, Body, Digests, Hash};
use aws_lc_rs::digest::{Context, SHA256};
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::PathBuf,
};

/// A body that is being received.
pub struct Partial {
    file: File,
    path: PathBuf,
    written: u64,
    block: blake3::Hasher,
    block_filled: usize,
    nodes: Vec<Hash>,
    sha256: Option<Context>,
}

/// A body that is complete and not yet kept.
#[derive(Debug)]
pub struct Sealed {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) nodes: Vec<Hash>,
    /// What it is.
    pub digests: Digests,
    /// SHA-256, when it was to be known at once.
    pub sha256: Option<[u8; 32]>,
}

impl Partial {
    /// Makes the file. `named` when its SHA-256 is to be known at its end.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(super) fn create(path: PathBuf, named: bool) -> io::Result<Self> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self {
            file,
            path,
            written: 0,
            block: blake3::Hasher::new(),
            block_filled: 0,
            nodes: Vec::new(),
            sha256: named.then(|| Context::new(&SHA256)),
        })
    }

    /// Appends bytes as they arrive.
    ///
    /// # Errors
    /// When the disk refuses, for example because it is full.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        // At its place, so that a failed write can be tried again.
        self.file.write_all_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        while !bytes.is_empty() {
            // The first full block waits for a second one: alone, it is the root.
            if self.block_filled == BLOCK {
                self.end_block();
            }
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.block_filled));
            self.block.update(now);
            self.block_filled += now.len();
            bytes = later;
        }
        Ok(())
    }

    /// Bytes received so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// A second handle, for those who read while it is written.
    ///
    /// # Errors
    /// When the process has no file handle left.
    pub fn reader(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Ends the body and says what it is.
    #[must_use]
    pub fn finish(mut self) -> Sealed {
        let alone = self.nodes.is_empty().then(|| *self.block.finalize().as_bytes());
        if self.block_filled > 0 {
            self.nodes.push(self.block.finalize_non_root());
        }
        let blake3 = alone.unwrap_or_else(|| root(&self.nodes));
        let sha256 = self.sha256.map(|context| {
            let mut sha256 = [0; 32];
            sha256.copy_from_slice(context.finish().as_ref());
            sha256
        });
        let digests = Digests { blake3, size: self.written };
        Sealed { file: self.file, path: self.path, nodes: self.nodes, digests, sha256 }
    }

    /// Gives the body up.
    pub fn discard(self) {
        let _absent = fs::remove_file(&self.path);
    }

    fn end_block(&mut self) {
        self.nodes.push(self.block.finalize_non_root());
        // A hasher that began elsewhere than at the start does not come back by a reset.
        self.block = blake3::Hasher::new();
        self.block.set_input_offset(self.nodes.len() as u64 * BLOCK as u64);
        self.block_filled = 0;
    }
}

impl Sealed {
    /// Gives the body up.
    pub fn discard(self) {
        let _absent = fs::remove_file(&self.path);
    }

    /// Its SHA-256; read again, and held against the blocks as they were received,
    /// when it is not known yet.
    pub(super) fn sha256(&self) -> io::Result<[u8; 32]> {
        if let Some(sha256) = self.sha256 {
            return Ok(sha256);
        }
        let body = Body::received(self)?;
        let (mut context, mut at, mut block) = (Context::new(&SHA256), 0, Vec::new());
        while at < body.size() {
            body.block(at, &mut block)?;
            context.update(&block);
            at += block.len() as u64;
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(context.finish().as_ref());
        Ok(sha256)
    }
}

/// The node of a block that begins at `offset`.
pub(super) fn node(bytes: &[u8], offset: u64) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset).update(bytes).finalize_non_root()
}

/// The hash of a body of several blocks.
fn root(nodes: &[Hash]) -> Hash {
    match split(nodes) {
        Some((left, right)) => *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes(),
        None => [0; 32],
    }
}

fn subtree(nodes: &[Hash]) -> Hash {
    match (split(nodes), nodes.first()) {
        (Some((left, right)), _) => merge_subtrees_non_root(&left, &right, Mode::Hash),
        (None, Some(node)) => *node,
        (None, None) => [0; 32],
    }
}

/// The two halves of a tree: the left one is full, and as large as possible.
fn split(nodes: &[Hash]) -> Option<(Hash, Hash)> {
    let left = nodes.len().div_ceil(2).next_power_of_two();
    let (left, right) = nodes.split_at_checked(left).filter(|(_, right)| !right.is_empty())?;
    Some((subtree(left), subtree(right)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn one_pass_gives_the_name_and_the_blocks_of_bodies_of_every_length() {
        let folder = tempfile::tempdir().unwrap();
        let lengths = [0, 1, 1024, 1025, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 7];
        for (n, length) in
            lengths.into_iter().chain([3, 4, 5, 7, 8, 9].map(|n| n * BLOCK)).enumerate()
        {
            let mut bytes = vec![0; length];
            blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof().fill(&mut bytes);
            let named = n % 2 == 0;
            let mut partial = Partial::create(folder.path().join(n.to_string()), named).unwrap();
            for piece in bytes.chunks(100_000 + n) {
                partial.write(piece).unwrap();
            }
            let sealed = partial.finish();
            assert_eq!(sealed.digests.blake3, *blake3::hash(&bytes).as_bytes(), "{length}");
            assert_eq!(sealed.nodes.len(), length.div_ceil(BLOCK));
            assert_eq!(sealed.sha256.is_some(), named);
            let sha256 = aws_lc_rs::digest::digest(&SHA256, &bytes);
            assert_eq!(sealed.sha256().unwrap(), sha256.as_ref());
        }
    }
}
