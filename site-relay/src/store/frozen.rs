//! The store's file on a disk that takes no writes: read as it was left, with what
//! its repair changes kept in memory. It is for looking only; nothing in it lasts.

use redb::{Database, StorageBackend};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Mutex, PoisonError},
};

use super::StoreError;

/// Bytes of a piece that is kept in memory once it was written to.
const PIECE: usize = 4096;
/// Memory for what was written at most.
const MOST: usize = 64 * 1024 * 1024;

/// Opens the file for reading.
///
/// # Errors
/// When it cannot be read, or its repair changes too much.
pub(super) fn open(path: &Path, cache_bytes: usize) -> Result<Database, StoreError> {
    let file = File::open(path).map_err(redb::Error::Io)?;
    let len = file.metadata().map_err(redb::Error::Io)?.len();
    let layer = Mutex::new(Layer { len, pieces: BTreeMap::new() });
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    Ok(builder.create_with_backend(Frozen { file, layer })?)
}

#[derive(Debug)]
struct Frozen {
    file: File,
    layer: Mutex<Layer>,
}

/// What lies over the file.
#[derive(Debug)]
struct Layer {
    len: u64,
    /// By number; each is whole.
    pieces: BTreeMap<u64, Box<[u8]>>,
}

impl Frozen {
    fn layer(&self) -> std::sync::MutexGuard<'_, Layer> {
        self.layer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from the file; behind its end there are zeros.
    fn below(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < out.len() {
            match self.file.read_at(&mut out[done..], offset + done as u64)? {
                0 => break,
                n => done += n,
            }
        }
        out[done..].fill(0);
        Ok(())
    }
}

/// The pieces that a range touches: number, where in the piece, where in the range.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % PIECE as u64) as usize;
        let range = done..len.min(done + PIECE - within);
        done = range.end;
        Some((at / PIECE as u64, within, range))
    })
}

impl StorageBackend for Frozen {
    fn len(&self) -> io::Result<u64> {
        Ok(self.layer().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let layer = self.layer();
        if offset.saturating_add(out.len() as u64) > layer.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.below(offset, out)?;
        for (number, within, range) in pieces(offset, out.len()) {
            if let Some(piece) = layer.pieces.get(&number) {
                let end = within + range.len();
                out[range].copy_from_slice(&piece[within..end]);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.layer().len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut layer = self.layer();
        for (number, within, range) in pieces(offset, data.len()) {
            if !layer.pieces.contains_key(&number) {
                if layer.pieces.len() * PIECE >= MOST {
                    return Err(io::ErrorKind::ReadOnlyFilesystem.into());
                }
                let mut piece = vec![0; PIECE].into_boxed_slice();
                self.below(number * PIECE as u64, &mut piece)?;
                layer.pieces.insert(number, piece);
            }
            if let Some(piece) = layer.pieces.get_mut(&number) {
                let end = within + range.len();
                piece[within..end].copy_from_slice(&data[range]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition};

    const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("t");

    #[test]
    fn what_a_kill_left_is_read_and_the_file_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (path, left) = (folder.path().join("a"), folder.path().join("b"));
        let db = Database::create(&path).unwrap();
        for n in 0..200_u64 {
            let tx = db.begin_write().unwrap();
            tx.open_table(TABLE).unwrap().insert(n, [7; 3000].as_slice()).unwrap();
            tx.commit().unwrap();
        }
        std::fs::copy(&path, &left).unwrap();
        let before = std::fs::read(&left).unwrap();
        let frozen = open(&left, 1 << 20).unwrap();
        let rows = |db: &Database| {
            let tx = db.begin_read().unwrap();
            tx.open_table(TABLE).unwrap().iter().unwrap().count()
        };
        assert_eq!(rows(&frozen), 200);
        let tx = frozen.begin_write().unwrap();
        tx.open_table(TABLE).unwrap().insert(500, [1; 9000].as_slice()).unwrap();
        tx.commit().unwrap();
        assert_eq!(rows(&frozen), 201, "what lies over the file is read through it");
        drop(frozen);
        assert_eq!(std::fs::read(&left).unwrap(), before);
    }

    /// The database has what it wrote in its own memory, and would not notice.
    #[test]
    fn what_lies_over_the_file_is_read_in_its_place() {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), [7; 10_000]).unwrap();
        let layer = Mutex::new(Layer { len: 10_000, pieces: BTreeMap::new() });
        let frozen = Frozen { file: File::open(path.path()).unwrap(), layer };
        frozen.set_len(16_000).unwrap();
        frozen.write(4000, &[1; 5000]).unwrap();
        frozen.write(12_000, &[2; 1000]).unwrap();
        let mut found = vec![9; 16_000];
        frozen.read(0, &mut found).unwrap();
        let parts = [(0..4000, 7), (4000..9000, 1), (9000..10_000, 7), (10_000..12_000, 0)];
        for (range, byte) in parts.into_iter().chain([(12_000..13_000, 2), (13_000..16_000, 0)]) {
            assert!(found[range.clone()].iter().all(|b| *b == byte), "{range:?}");
        }
        assert!(frozen.read(15_999, &mut [0; 2]).is_err(), "behind the end");
    }

    #[test]
    fn a_range_is_cut_at_each_piece() {
        let cut: Vec<_> = pieces(4000, 5000).collect();
        assert_eq!(cut, [(0, 4000, 0..96), (1, 0, 96..4192), (2, 0, 4192..5000)]);
        assert_eq!(pieces(8192, 0).count(), 0);
    }
}
