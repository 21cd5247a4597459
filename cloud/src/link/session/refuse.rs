//! A word to a relay that has no right any more, before its connection is closed: the
//! people at its site read it. Few are told at once, and nothing is kept of what they say
//! meanwhile; the others are sent away without a word.

use super::Ended;
use crate::link::{framing, relay::KnownPeer};
use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, SinkExt};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};
use unifyit_protocol::link::{Frame, Goodbye};

/// What a revoked relay is told.
pub(super) const REVOKED: &str = "This relay was revoked in the console.";
/// How long it may take to read it and go.
const PATIENCE: Duration = Duration::from_secs(2);
/// Lanes on which that is told at once. A relay opens one.
const AT_ONCE: usize = 16;

/// Those who are told. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::link) struct Telling(Arc<Semaphore>);

impl Default for Telling {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Telling {
    /// Why a peer has no right to a lane. A revoked relay is told so; of a stranger
    /// nothing is said.
    pub(in crate::link) async fn without_right(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        known: Option<KnownPeer>,
    ) -> &'static str {
        if known.is_none() {
            return "not_enrolled";
        }
        if let Ok(_place) = self.0.try_acquire() {
            // Whether it read it or not, its connection is closed next.
            let _ = timeout(PATIENCE, tell(stream)).await;
        }
        "revoked"
    }
}

/// Tells a revoked relay so and waits until it goes.
async fn tell(stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), Ended> {
    let (mut reader, writer) = stream.split();
    let goodbye = Frame::Goodbye(Goodbye { reason: REVOKED.to_owned() });
    let mut sink = framing::sink(writer);
    sink.send(Bytes::from(goodbye.encode()?)).await?;
    SinkExt::<Bytes>::close(&mut sink).await?;
    let mut passed_over = [0; 4096];
    while reader.read(&mut passed_over).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio_util::compat::TokioAsyncReadCompatExt;
    use unifyit_protocol::ids::{OrganizationId, PartnerId, RelayId, SiteId};

    fn revoked() -> Option<KnownPeer> {
        let (id, partner) = (RelayId::generate(), PartnerId::generate());
        let (organization, site) = (OrganizationId::generate(), SiteId::generate());
        let relay = crate::link::RelayIdentity { id, partner, organization, site };
        Some(KnownPeer { relay, revoked: true })
    }

    /// What a peer has been told, when nothing more comes.
    async fn heard(mut peer: DuplexStream) -> usize {
        let mut all = Vec::new();
        peer.read_to_end(&mut all).await.unwrap();
        all.len()
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_lanes_few_are_told_at_once_and_none_is_listened_to_for_long() {
        let telling = Telling::default();
        let (lanes, peers): (Vec<_>, Vec<_>) = (0..100).map(|_| duplex(64 * 1024)).unzip();
        let told = lanes.into_iter().map(|lane| telling.without_right(lane.compat(), revoked()));
        let talks = peers.into_iter().map(async |mut peer| {
            // Each of them talks for as long as somebody listens.
            let (mut reader, mut writer) = tokio::io::split(&mut peer);
            let mut said = Vec::new();
            let talking = async {
                for _ in 0..1000 {
                    let Ok(()) = writer.write_all(&[0xFF; 1024]).await else { break };
                }
            };
            let _ = tokio::join!(talking, reader.read_to_end(&mut said));
            said.len()
        });
        let (why, said) = tokio::join!(join_all(told), join_all(talks));
        assert!(why.iter().all(|why| *why == "revoked"));
        assert_eq!(said.iter().filter(|said| **said > 0).count(), AT_ONCE);
        // When these are gone, the next one is told.
        let (lane, peer) = duplex(64 * 1024);
        let told = telling.without_right(lane.compat(), revoked());
        let (_, said) = tokio::join!(told, heard(peer));
        assert!(said > 0);
    }
}
