//! Fetching a file from the cloud, range by range.

use super::{BlobError, MAX_FILE};
use crate::uplink::framing;
use blake3::{Hash, Hasher};
use bytes::Bytes;
use futures::{SinkExt, StreamExt as _};
use libp2p::{PeerId, StreamProtocol};
use libp2p_stream::Control;
use prometheus::IntCounter;
use std::{
    io::{self, Read},
    path::Path,
    time::Duration,
};
use tokio::{
    io::{AsyncSeekExt as _, AsyncWriteExt as _},
    time::timeout,
};
use unifyit_protocol::{
    blob::{BlobAnswer, BlobRequest, PROTOCOL as NAME, RANGE},
    codec,
};

const PROTOCOL: StreamProtocol = StreamProtocol::new(NAME);
/// A cloud that sends nothing for this long is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) hash: Hash,
    /// Only if anybody may have it.
    pub(super) open: bool,
}

/// Completes the partial file, which then is the whole and verified. Returns its
/// size. What was fetched stays when the cloud goes, and is thrown away when the
/// whole does not hash to its name.
pub(super) async fn fetch(
    mut control: Control,
    cloud: PeerId,
    Wanted { hash, open }: Wanted,
    partial: &Path,
    fetched: &IntCounter,
) -> Result<u64, BlobError> {
    let wanted = Wanted { hash, open };
    let mut file =
        tokio::fs::File::options().create(true).truncate(false).write(true).open(partial).await?;
    let mut at = file.seek(io::SeekFrom::End(0)).await?;
    loop {
        let size = range(&mut control, cloud, wanted, (&mut file, &mut at), fetched).await?;
        if at >= size {
            break;
        }
    }
    file.sync_all().await?;
    let path = partial.to_owned();
    let found = tokio::task::spawn_blocking(move || hash_of(&path))
        .await
        .map_err(|e| BlobError::Disk(io::Error::other(e)))??;
    if found != hash {
        tokio::fs::remove_file(partial).await?;
        return Err(BlobError::Damaged);
    }
    Ok(at)
}

/// Appends one range. Returns the file's size.
async fn range(
    control: &mut Control,
    cloud: PeerId,
    Wanted { hash, open }: Wanted,
    (file, at): (&mut tokio::fs::File, &mut u64),
    fetched: &IntCounter,
) -> Result<u64, BlobError> {
    let away = |e: &dyn std::fmt::Display| BlobError::Away(e.to_string());
    let slow = |_| BlobError::Away("it does not answer".into());
    let opened = timeout(PATIENCE, control.open_stream(cloud, PROTOCOL)).await.map_err(slow)?;
    let (mut frames, mut sink) = framing::split(opened.map_err(|e| away(&e))?);
    let hash = *hash.as_bytes();
    let request = BlobRequest { hash, offset: *at, length: RANGE, sha256: false, open };
    let bytes = codec::encode(&request).map_err(|e| away(&e))?;
    SinkExt::<Bytes>::send(&mut sink, bytes.into()).await.map_err(|e| away(&e))?;
    let first = timeout(PATIENCE, frames.next()).await.map_err(slow)?;
    let first = first.ok_or_else(|| away(&"it closed the stream"))?.map_err(|e| away(&e))?;
    let (size, following) = match codec::decode(&first).map_err(|e| away(&e))? {
        BlobAnswer::Missing => return Err(BlobError::Missing),
        BlobAnswer::Found { size, .. } if size > MAX_FILE => return Err(BlobError::TooLarge(size)),
        BlobAnswer::Found { size, following } => (size, following),
    };
    let end = at.saturating_add(following);
    if !request.allows(size, following) {
        return Err(BlobError::Damaged);
    }
    while *at < end {
        let next = timeout(PATIENCE, frames.next()).await.map_err(slow)?;
        let bytes = next.ok_or_else(|| away(&"it closed the stream"))?.map_err(|e| away(&e))?;
        if bytes.is_empty() || *at + bytes.len() as u64 > end {
            return Err(BlobError::Damaged);
        }
        file.write_all(&bytes).await?;
        *at += bytes.len() as u64;
        fetched.inc_by(bytes.len() as u64);
    }
    file.flush().await?;
    Ok(size)
}

fn hash_of(path: &Path) -> io::Result<Hash> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize()),
            n => drop(hasher.update(&buffer[..n])),
        }
    }
}
