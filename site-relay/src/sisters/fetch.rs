//! Asking sisters: all of them at once who has a file, then the first that does
//! for its bytes.

use super::Sisters;
use crate::uplink::framing::{self, Frames};
use bytes::Bytes;
use futures::{SinkExt, StreamExt as _, stream::FuturesUnordered};
use libp2p::{PeerId, StreamProtocol};
use std::time::Duration;
use tokio::time::timeout;
use unifyit_protocol::{
    blob::{BlobAnswer, BlobRequest, PROTOCOL, RANGE},
    codec,
};

/// How long a sister may take to say whether it has a file. Who waits for the
/// file waits this long at most when none has it.
const ANSWER: Duration = Duration::from_secs(2);
/// A sister that sends nothing for this long is given up.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a file is asked for by.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Name {
    /// BLAKE3: the cloud's files.
    Blake3([u8; 32]),
    /// SHA-256: packages, as signed indexes name them.
    Sha256([u8; 32]),
}

/// Why a sister gave nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// It has no such file.
    #[error("it has no such file")]
    Missing,
    /// It went, or says nothing.
    #[error("it broke off: {0}")]
    BrokeOff(String),
    /// Its bytes are not those that were asked for.
    #[error("it sent other bytes than were asked for")]
    Lied,
}

/// A file as it comes.
pub(crate) struct Reading {
    sisters: Sisters,
    peer: PeerId,
    name: Name,
    frames: Frames,
    /// Its length, as the sister says.
    pub(crate) size: u64,
    at: u64,
    /// Where the range under way ends.
    end: u64,
}

impl Sisters {
    /// The first sister to say that she has a file, with the length that she names.
    /// Nobody waits for the others' answers once one has it; those of `tried` are
    /// not asked.
    pub(crate) async fn holder(&self, name: Name, tried: &[PeerId]) -> Option<(PeerId, u64)> {
        let mut asked: FuturesUnordered<_> = self
            .ready()
            .into_iter()
            .filter(|peer| !tried.contains(peer))
            .map(|peer| async move {
                // Beyond the end of any file: only whether it is there.
                let asked = timeout(ANSWER, self.ask(peer, name, u64::MAX, 1)).await;
                (peer, asked.unwrap_or_else(|_| Err(Trouble::BrokeOff("no answer".into()))))
            })
            .collect();
        while let Some((peer, answer)) = asked.next().await {
            match answer {
                Ok((_, size, _)) => return Some((peer, size)),
                Err(Trouble::Missing) => {}
                Err(trouble) => self.set_aside(peer, &trouble),
            }
        }
        None
    }

    /// Begins to read a file from one of them.
    pub(crate) async fn read(&self, peer: PeerId, name: Name) -> Result<Reading, Trouble> {
        let (frames, size, following) = self.range(peer, name, 0).await?;
        Ok(Reading { sisters: self.clone(), peer, name, frames, size, at: 0, end: following })
    }

    async fn range(
        &self,
        peer: PeerId,
        name: Name,
        offset: u64,
    ) -> Result<(Frames, u64, u64), Trouble> {
        let answer = timeout(PATIENCE, self.ask(peer, name, offset, RANGE)).await;
        let (frames, size, following) =
            answer.map_err(|_| Trouble::BrokeOff("no answer".into()))??;
        let request =
            BlobRequest { hash: [0; 32], offset, length: RANGE, sha256: false, open: false };
        match request.allows(size, following) {
            true => Ok((frames, size, following)),
            false => Err(Trouble::Lied),
        }
    }

    async fn ask(
        &self,
        peer: PeerId,
        name: Name,
        offset: u64,
        length: u64,
    ) -> Result<(Frames, u64, u64), Trouble> {
        let (hash, sha256) = match name {
            Name::Blake3(hash) => (hash, false),
            Name::Sha256(hash) => (hash, true),
        };
        let stream = self.control().open_stream(peer, StreamProtocol::new(PROTOCOL)).await;
        let (mut frames, mut sink) = framing::split(stream.map_err(broke_off)?);
        let request = codec::encode(&BlobRequest { hash, offset, length, sha256, open: false });
        let request = Bytes::from(request.map_err(broke_off)?);
        SinkExt::<Bytes>::send(&mut sink, request).await.map_err(broke_off)?;
        let first = frames.next().await.ok_or_else(|| broke_off("it closed the stream"))?;
        match codec::decode(&first.map_err(broke_off)?).map_err(broke_off)? {
            BlobAnswer::Missing => Err(Trouble::Missing),
            BlobAnswer::Found { size, following } => Ok((frames, size, following)),
        }
    }
}

impl Reading {
    /// The next bytes; none at the end of the file.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Trouble> {
        if self.at == self.end {
            if self.at >= self.size {
                return Ok(None);
            }
            let (frames, size, following) =
                self.sisters.range(self.peer, self.name, self.at).await?;
            if size != self.size || following == 0 {
                return Err(Trouble::Lied);
            }
            self.frames = frames;
            self.end = self.at.saturating_add(following);
        }
        let next = timeout(PATIENCE, self.frames.next()).await;
        let next = next.map_err(|_| broke_off("it sends nothing"))?;
        let bytes = next.ok_or_else(|| broke_off("it closed the stream"))?.map_err(broke_off)?;
        let length = bytes.len() as u64;
        if length == 0 || length > self.end - self.at {
            return Err(Trouble::Lied);
        }
        self.at += length;
        self.sisters.fetched_bytes().inc_by(length);
        Ok(Some(bytes.freeze()))
    }
}

fn broke_off(error: impl std::fmt::Display) -> Trouble {
    Trouble::BrokeOff(error.to_string())
}
