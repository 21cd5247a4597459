//! Unfolding indexes, within bounds of memory and length.

use super::{MAX_INDEX, zchunk};
use std::io::{self, Read};

/// Most memory of a decoder: what `xz -9` and zstd's longest usual window need.
const DECODER: u64 = 160 * 1024 * 1024;
const WINDOW_LOG: u32 = 27;

/// Decompresses by the path's ending, up to [`MAX_INDEX`].
///
/// # Errors
/// A sentence when it is not what its ending says.
pub(super) fn by_ending<'a>(
    path: &str,
    body: impl Read + 'a,
) -> Result<Box<dyn Read + 'a>, String> {
    let broken = |e: io::Error| format!("the index cannot be decompressed: {e}");
    let plain: Box<dyn Read + 'a> = match path.rsplit('.').next().unwrap_or("") {
        "gz" => Box::new(flate2::read::MultiGzDecoder::new(body)),
        "xz" | "lzma" => {
            let flags = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_auto_decoder(DECODER, flags);
            let stream = stream.map_err(|e| broken(e.into()))?;
            Box::new(liblzma::read::XzDecoder::new_stream(body, stream))
        }
        "zst" => {
            let mut decoder = zstd::Decoder::new(body).map_err(broken)?;
            decoder.window_log_max(WINDOW_LOG).map_err(broken)?;
            Box::new(decoder)
        }
        "zck" => Box::new(zchunk::Reader::new(body).map_err(broken)?),
        _ => Box::new(body),
    };
    Ok(Box::new(Limited { plain, left: MAX_INDEX }))
}

/// Fails, rather than ends, at the bound: what is cut is not the index.
struct Limited<R> {
    plain: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.plain.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::other(format!("the index unfolds beyond {MAX_INDEX} bytes"))
        })?;
        Ok(read)
    }
}
