//! Bodies on disk, each once, named by its BLAKE3 hash.
//!
//! A body is written to `partial/`, hashed while it is written, synced, and only
//! then renamed into `content/`; what a crash leaves in `partial/` is removed at
//! the next start. Beside each body stands a list of its blocks' nodes in
//! the tree that BLAKE3 is, so that a damaged disk block is found *before* its bytes are sent.
//! Once every block of a file has been read and found right, the file may be
//! sent by the kernel without looking again, until its inode changes or the
//! proof grows old.

mod partial;

pub use super::hex::{hex, unhex};
pub use partial::{Partial, Sealed};

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

/// Length of a verified block in bytes.
pub const BLOCK: usize = 256 * 1024;
/// How long a finished verification is trusted before the file is read again.
const PROOF_LASTS: Duration = Duration::from_secs(3600);
/// Most files whose verification is remembered.
const MAX_PROOFS: usize = 16_384;

/// BLAKE3 of a whole body.
pub type Hash = [u8; 32];

/// The store of bodies below one folder.
#[derive(Debug)]
pub struct Contents {
    folder: PathBuf,
    proofs: Mutex<HashMap<Hash, Proof>>,
}

/// A verification that has been done, and of which file exactly.
#[derive(Debug, Clone, Copy)]
struct Proof {
    identity: Identity,
    at: Instant,
}

/// Changes whenever anybody writes to the file, whatever the time it claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Identity {
    fn of(meta: &fs::Metadata) -> Self {
        Self { inode: meta.ino(), size: meta.size(), changed: (meta.ctime(), meta.ctime_nsec()) }
    }
}

/// What a finished body turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digests {
    /// BLAKE3, its name in the store.
    pub blake3: Hash,
    /// Length in bytes.
    pub size: u64,
}

/// A stored body, open for reading.
#[derive(Debug)]
pub struct Body {
    file: File,
    hash: Hash,
    size: u64,
    identity: Identity,
    sums: Sums,
    proven: bool,
}

/// What the blocks of a body are held against.
#[derive(Debug)]
enum Sums {
    /// Nodes of the tree whose root is the body's name.
    Nodes(Vec<Hash>),
    /// Hashes of the blocks by themselves, which earlier relays wrote.
    Alone(Vec<Hash>),
}

impl Contents {
    /// Opens the store, removing what an earlier crash left half-written.
    ///
    /// # Errors
    /// When the folders cannot be made.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let partial = folder.join("partial");
        match fs::remove_dir_all(&partial) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        fs::create_dir_all(&partial)?;
        fs::create_dir_all(folder.join("content"))?;
        Ok(Self { folder: folder.into(), proofs: Mutex::default() })
    }

    /// Starts a body. `name` is unique among the running ones; `named` when its
    /// SHA-256 is to be known at its end.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn begin(&self, name: u64, named: bool) -> io::Result<Partial> {
        Partial::create(self.folder.join("partial").join(format!("{name:016x}")), named)
    }

    /// Keeps a finished body: synced before it gets its name, so that a name
    /// always stands for whole content. Returns its SHA-256.
    ///
    /// # Errors
    /// When the disk refuses; the partial file is removed.
    pub fn keep(&self, partial: &Sealed) -> io::Result<[u8; 32]> {
        let body = self.path(&partial.digests.blake3);
        let written = (|| {
            let sha256 = partial.sha256()?;
            if let Some(parent) = body.parent() {
                fs::create_dir_all(parent)?;
            }
            let mut side = File::create(nodes_path(&body))?;
            side.write_all(partial.nodes.as_flattened())?;
            side.sync_all()?;
            partial.file.sync_all()?;
            fs::rename(&partial.path, &body)?;
            if let Some(parent) = body.parent() {
                File::open(parent)?.sync_all()?;
            }
            Ok(sha256)
        })();
        written.inspect_err(|_| {
            let _gone = fs::remove_file(&partial.path);
        })
    }

    /// Opens a stored body. `None` when there is none, or its companions do not
    /// fit; the caller fetches again.
    #[must_use]
    pub fn get(&self, hash: &Hash) -> Option<Body> {
        let path = self.path(hash);
        let file = File::open(&path).ok()?;
        let meta = file.metadata().ok()?;
        let size = meta.len();
        let blocks = usize::try_from(size.div_ceil(BLOCK as u64)).ok()?;
        let list = |path: &Path| {
            let mut bytes = Vec::new();
            File::open(path).ok()?.read_to_end(&mut bytes).ok()?;
            let (sums, rest) = bytes.as_chunks::<32>();
            (sums.len() == blocks && rest.is_empty()).then(|| sums.to_vec())
        };
        let nodes = list(&nodes_path(&path)).map(Sums::Nodes);
        let sums = nodes.or_else(|| list(&sums_path(&path)).map(Sums::Alone))?;
        let identity = Identity::of(&meta);
        let proven =
            self.proofs.lock().ok()?.get(hash).is_some_and(|proof| {
                proof.identity == identity && proof.at.elapsed() < PROOF_LASTS
            });
        Some(Body { file, hash: *hash, size, identity, sums, proven })
    }

    /// Remembers that every block of a body was read and found right.
    pub fn proven(&self, body: &Body) {
        let unchanged = body.file.metadata().is_ok_and(|meta| Identity::of(&meta) == body.identity);
        let Ok(mut proofs) = self.proofs.lock() else { return };
        if unchanged {
            if proofs.len() >= MAX_PROOFS {
                proofs.retain(|_, proof| proof.at.elapsed() < PROOF_LASTS / 2);
            }
            if proofs.len() < MAX_PROOFS {
                proofs.insert(body.hash, Proof { identity: body.identity, at: Instant::now() });
            }
        }
    }

    /// Removes a body that is damaged or no longer wanted. Readers that have it
    /// open keep reading the old inode.
    pub fn remove(&self, hash: &Hash) {
        let path = self.path(hash);
        let _absent = fs::remove_file(nodes_path(&path));
        let _absent = fs::remove_file(sums_path(&path));
        let _absent = fs::remove_file(path);
        if let Ok(mut proofs) = self.proofs.lock() {
            proofs.remove(hash);
        }
    }

    /// Hashes of all bodies on disk with their sizes, for reconciling the index
    /// with the disk after a crash.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> io::Result<Vec<(Hash, u64)>> {
        let mut found = Vec::new();
        for shard in fs::read_dir(self.folder.join("content"))? {
            let shard = shard?.path();
            if !shard.is_dir() {
                continue;
            }
            for file in fs::read_dir(shard)? {
                let file = file?;
                if let Some(hash) = file.file_name().to_str().and_then(unhex) {
                    found.push((hash, file.metadata()?.len()));
                } else if !file.path().with_extension("").exists() {
                    // Sums whose body was never kept.
                    let _best_effort = fs::remove_file(file.path());
                }
            }
        }
        Ok(found)
    }

    /// Bytes free for the cache on its disk.
    #[must_use]
    pub fn disk_free(&self) -> Option<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.folder).ok()?;
        Some(stat.blocks_available() * stat.fragment_size())
    }

    fn path(&self, hash: &Hash) -> PathBuf {
        let name = hex(hash);
        self.folder.join("content").join(&name[..2]).join(name)
    }
}

impl Body {
    /// One that was just received and has no name on the disk yet.
    fn received(sealed: &Sealed) -> io::Result<Self> {
        let file = sealed.file.try_clone()?;
        let (hash, size) = (sealed.digests.blake3, sealed.digests.size);
        let identity = Identity::of(&file.metadata()?);
        let sums = Sums::Nodes(sealed.nodes.clone());
        Ok(Self { file, hash, size, identity, sums, proven: false })
    }

    /// Length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its name.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Whether a recent look at every block found it right.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    /// The file, for the kernel to send from. Only for proven bodies.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Reads the block that holds `offset` and checks it.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when the block is damaged.
    pub fn block(&self, offset: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a cached block is damaged");
        let index = offset / BLOCK as u64;
        let start = index * BLOCK as u64;
        let length = usize::try_from(self.size.saturating_sub(start).min(BLOCK as u64))
            .map_err(|_| damaged())?;
        buffer.resize(length, 0);
        self.file.read_exact_at(buffer, start)?;
        let index = usize::try_from(index).map_err(|_| damaged())?;
        let right = match &self.sums {
            Sums::Nodes(nodes) => nodes.get(index) == Some(&partial::node(buffer, start)),
            Sums::Alone(sums) => sums.get(index) == Some(blake3::hash(buffer).as_bytes()),
        };
        if right { Ok(()) } else { Err(damaged()) }
    }

    /// Reads and checks the whole body.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when any block is damaged.
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut block = Vec::new();
        while (all.len() as u64) < self.size {
            self.block(all.len() as u64, &mut block)?;
            all.extend_from_slice(&block);
        }
        Ok(all)
    }
}

fn nodes_path(body: &Path) -> PathBuf {
    body.with_extension("nodes")
}

fn sums_path(body: &Path) -> PathBuf {
    body.with_extension("sums")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_held_against_their_blocks_also_those_that_earlier_relays_kept() {
        let folder = tempfile::tempdir().unwrap();
        let contents = Contents::open(folder.path()).unwrap();
        let bytes: Vec<u8> = (0..2 * BLOCK + 9).map(|n| (n % 251) as u8).collect();
        let mut partial = contents.begin(1, false).unwrap();
        partial.write(&bytes).unwrap();
        let sealed = partial.finish();
        let sha256 = contents.keep(&sealed).unwrap();
        let right = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
        assert_eq!(sha256, right.as_ref());
        let hash = sealed.digests.blake3;
        assert!(contents.get(&hash).unwrap().read_all().unwrap() == bytes);
        let path = contents.path(&hash);
        fs::remove_file(nodes_path(&path)).unwrap();
        assert!(contents.get(&hash).is_none());
        let alone: Vec<_> = bytes.chunks(BLOCK).map(|b| *blake3::hash(b).as_bytes()).collect();
        fs::write(sums_path(&path), alone.as_flattened()).unwrap();
        assert!(contents.get(&hash).unwrap().read_all().unwrap() == bytes);
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(b"x", BLOCK as u64 + 5).unwrap();
        assert!(contents.get(&hash).unwrap().read_all().is_err());
    }
}
