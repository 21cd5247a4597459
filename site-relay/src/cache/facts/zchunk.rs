//! zchunk, the compression of rpm's metadata of which clients fetch only the parts
//! that changed: a header that lists chunks, then the chunks, each a zstd frame of
//! its own that may lean on a dictionary, the first of them. Format: the file
//! `zchunk_format.txt` of the zchunk project.
//!
//! The header's and chunks' own checksums are not looked at: the whole file is
//! held against the hash that `repomd.xml` names.

use std::io::{self, Read};

/// Longest header; Fedora's has 1 MB.
const MAX_HEADER: usize = 32 * 1024 * 1024;
/// Longest chunk, folded or not.
const MAX_CHUNK: usize = 64 * 1024 * 1024;
/// Longest dictionary; those of Fedora's metadata have about 100 kB.
const MAX_DICTIONARY: usize = 4 * 1024 * 1024;
/// Most chunks; Fedora's metadata has one for each source package.
const MAX_CHUNKS: usize = super::MAX_FACTS;
const HAS_STREAMS: u64 = 1;
const HAS_ELEMENTS: u64 = 2;
const HAS_PLAIN_SUMS: u64 = 4;

/// Unfolds a file as it is read.
pub(super) struct Reader<R> {
    body: R,
    /// What unfolds chunks, with the dictionary prepared, unless they are not folded.
    decoder: Option<zstd::bulk::Decompressor<'static>>,
    /// Lengths of the chunks to come, folded and not, the last one first.
    chunks: Vec<(usize, usize)>,
    plain: io::Cursor<Vec<u8>>,
}

impl<R: Read> Reader<R> {
    /// Reads the header and the dictionary.
    pub(super) fn new(mut body: R) -> io::Result<Self> {
        let mut id = [0; 5];
        body.read_exact(&mut id)?;
        if &id != b"\0ZCK1" {
            return Err(wrong("it is no zchunk file"));
        }
        let sum = sum_length(number(&mut body)?)?;
        let length = usize::try_from(number(&mut body)?).unwrap_or(usize::MAX);
        if length > MAX_HEADER {
            return Err(wrong("its header is too long"));
        }
        skip(&mut body, sum)?;
        let mut header = vec![0; length];
        body.read_exact(&mut header)?;
        let (zstd, mut chunks) = header_of(&header, sum)?;
        chunks.reverse();
        let decoder = if zstd { Some(zstd::bulk::Decompressor::new()?) } else { None };
        let mut reader = Self { body, decoder, chunks, plain: io::Cursor::default() };
        // The first chunk is the dictionary, mostly an empty one.
        if reader.chunks.last().is_some_and(|(folded, plain)| *folded.max(plain) > MAX_DICTIONARY) {
            return Err(wrong("its dictionary is too long"));
        }
        let dictionary = reader.next_chunk()?.unwrap_or_default();
        if let Some(decoder) = &mut reader.decoder {
            decoder.set_dictionary(&dictionary)?;
        }
        Ok(reader)
    }

    fn next_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some((folded, plain)) = self.chunks.pop() else { return Ok(None) };
        let mut bytes = vec![0; folded];
        self.body.read_exact(&mut bytes)?;
        match &mut self.decoder {
            Some(decoder) if folded > 0 => Ok(Some(decoder.decompress(&bytes, plain)?)),
            _ => Ok(Some(bytes)),
        }
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.plain.read(buffer)? {
                0 if !buffer.is_empty() => {}
                read => return Ok(read),
            }
            match self.next_chunk()? {
                Some(plain) => self.plain = io::Cursor::new(plain),
                None => return Ok(0),
            }
        }
    }
}

/// Whether chunks are folded by zstd, and their lengths.
fn header_of(mut header: &[u8], sum: usize) -> io::Result<(bool, Vec<(usize, usize)>)> {
    let from = &mut header;
    skip(from, sum)?;
    let flags = number(from)?;
    let zstd = match number(from)? {
        0 => false,
        2 => true,
        _ => return Err(wrong("its compression is unknown")),
    };
    if flags & HAS_ELEMENTS != 0 {
        for _ in 0..number(from)? {
            number(from)?;
            let length = number(from)?;
            skip(from, usize::try_from(length).unwrap_or(usize::MAX))?;
        }
    }
    let length = usize::try_from(number(from)?).unwrap_or(usize::MAX);
    let mut index = from.get(..length).ok_or_else(|| wrong("its index is cut"))?;
    let from = &mut index;
    let sum = sum_length(number(from)?)?;
    let _count = number(from)?;
    let mut chunks = Vec::new();
    while !from.is_empty() {
        if flags & HAS_STREAMS != 0 {
            number(from)?;
        }
        skip(from, sum)?;
        if flags & HAS_PLAIN_SUMS != 0 {
            skip(from, sum)?;
        }
        let mut length = || {
            let length = usize::try_from(number(from)?).unwrap_or(usize::MAX);
            if length > MAX_CHUNK { Err(wrong("a chunk is too long")) } else { Ok(length) }
        };
        chunks.push((length()?, length()?));
        if chunks.len() > MAX_CHUNKS {
            return Err(wrong("it has too many chunks"));
        }
    }
    Ok((zstd, chunks))
}

fn sum_length(kind: u64) -> io::Result<usize> {
    match kind {
        0 => Ok(20),
        1 => Ok(32),
        2 => Ok(64),
        3 => Ok(16),
        _ => Err(wrong("its checksums are of an unknown kind")),
    }
}

/// Seven bits a byte, the lowest first; the last byte has the eighth bit set.
fn number(from: &mut impl Read) -> io::Result<u64> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        let bits = u64::from(byte[0] & 0x7f);
        if shift > 56 {
            return Err(wrong("a number is too long"));
        }
        value |= bits << shift;
        if byte[0] & 0x80 != 0 {
            return Ok(value);
        }
        shift += 7;
    }
}

fn skip(from: &mut impl Read, length: usize) -> io::Result<()> {
    let skipped = io::copy(&mut from.take(length as u64), &mut io::sink())?;
    if skipped == length as u64 { Ok(()) } else { Err(wrong("it is cut")) }
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn put(out: &mut Vec<u8>, mut value: u64) {
        while value > 0x7f {
            out.push((value & 0x7f) as u8);
            value >>= 7;
        }
        out.push(value as u8 | 0x80);
    }

    /// A file of these chunks, written as `zck` writes it.
    pub(in crate::cache::facts) fn zchunk(chunks: &[&[u8]], dictionary: &[u8]) -> Vec<u8> {
        let fold = |plain: &[u8], with: &[u8]| {
            let packer = zstd::bulk::Compressor::with_dictionary(3, with);
            packer.and_then(|mut p| p.compress(plain)).unwrap_or_default()
        };
        let mut data = Vec::new();
        let mut index = Vec::new();
        put(&mut index, 3);
        put(&mut index, chunks.len() as u64 + 1);
        for (n, plain) in std::iter::once(&dictionary).chain(chunks).enumerate() {
            let folded = match (n, plain.is_empty()) {
                (_, true) => Vec::new(),
                (0, _) => fold(plain, &[]),
                _ => fold(plain, dictionary),
            };
            index.extend_from_slice(&[7; 16]);
            put(&mut index, folded.len() as u64);
            put(&mut index, plain.len() as u64);
            data.extend(folded);
        }
        let mut header = vec![9; 32];
        put(&mut header, 0);
        put(&mut header, 2);
        put(&mut header, index.len() as u64);
        header.extend(index);
        put(&mut header, 0);
        let mut file = b"\0ZCK1".to_vec();
        put(&mut file, 1);
        put(&mut file, header.len() as u64);
        file.extend_from_slice(&[5; 32]);
        file.extend(header);
        file.extend(data);
        file
    }

    fn unfolded(file: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        Reader::new(file)?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn chunks_are_joined_with_and_without_a_dictionary() {
        let (a, b) = (b"<metadata>".repeat(100), b"</metadata>".repeat(300));
        for dictionary in [&b""[..], &b"metadata metadata </metadata> <metadata>"[..]] {
            let file = zchunk(&[&a, b"", &b], dictionary);
            assert_eq!(unfolded(&file).ok(), Some([&a[..], &b].concat()));
            for cut in [3, 6, 50, 120, file.len() - 1] {
                assert!(unfolded(&file[..cut]).is_err(), "{cut}");
            }
        }
        assert!(unfolded(b"<html>log in</html>").is_err());
    }

    #[test]
    fn dictionaries_and_lists_of_chunks_that_only_cost_are_given_up() {
        let large = vec![b'x'; MAX_DICTIONARY + 1];
        let told = unfolded(&zchunk(&[b"<metadata/>"], &large)).map_err(|e| e.to_string());
        assert_eq!(told, Err("its dictionary is too long".into()));
        let fits = unfolded(&zchunk(&[b"<metadata/>"], &large[..MAX_DICTIONARY]));
        assert_eq!(fits.ok().as_deref(), Some(&b"<metadata/>"[..]));
        let many = unfolded(&zchunk(&vec![&b""[..]; MAX_CHUNKS + 1], b""));
        let told = many.map_err(|e| e.to_string());
        assert_eq!(told, Err("it has too many chunks".into()));
    }
}
