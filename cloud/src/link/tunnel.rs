//! Live bytes between the cloud and a relay: one libp2p stream a tunnel.
//!
//! Opening sends the signed command and waits for the relay's word that it was
//! passed on; libp2p-stream drops streams silently when the peer is slow to
//! take them, so without that word within the time limit the tunnel is tried
//! once more.

use super::framing::{self, FrameSink, Frames};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use libp2p::{PeerId, StreamProtocol};
use prometheus::IntGauge;
use std::time::Duration;
use tokio::time::timeout;
use unifyit_protocol::{
    envelope::Decoded,
    tunnel::{PROTOCOL, TunnelFrame, TunnelOpen},
};

/// How long the relay may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no tunnel, in a sentence for the technician.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The relay has no session.
    #[error(
        "The site's relay is not connected. Check the site's internet connection and its relay."
    )]
    RelayAway,
    /// The relay did not answer in time.
    #[error("The site's relay does not answer. Try again in a moment.")]
    NoAnswer,
    /// The relay said no.
    #[error("{0}")]
    Refused(String),
    /// The stream broke or carried nonsense.
    #[error("The connection to the site's relay broke: {0}")]
    Broken(String),
}

impl TunnelError {
    fn broken(error: impl std::fmt::Display) -> Self {
        Self::Broken(error.to_string())
    }
}

/// An open tunnel.
pub struct Tunnel {
    frames: TunnelFrames,
    sink: TunnelSink,
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

/// The writing half of a [`Tunnel`].
pub struct TunnelSink(FrameSink);

impl std::fmt::Debug for TunnelSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TunnelSink(…)")
    }
}

/// The reading half of a [`Tunnel`].
pub struct TunnelFrames {
    frames: Frames,
    open: IntGauge,
}

impl std::fmt::Debug for TunnelFrames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TunnelFrames(…)")
    }
}

pub(super) async fn open(
    mut control: libp2p_stream::Control,
    peer: PeerId,
    open: TunnelOpen,
    gauge: IntGauge,
) -> Result<Tunnel, TunnelError> {
    let first = TunnelFrame::Open(open).encode().map_err(TunnelError::broken)?;
    let first = Bytes::from(first);
    for _ in 0..2 {
        let attempt = timeout(PATIENCE, attempt(&mut control, peer, first.clone())).await;
        match attempt {
            Ok(Ok((frames, sink))) => {
                gauge.inc();
                let frames = TunnelFrames { frames, open: gauge };
                return Ok(Tunnel { frames, sink: TunnelSink(sink) });
            }
            // The stream was dropped before anything was answered.
            Ok(Err(TunnelError::NoAnswer)) => {}
            Ok(Err(other)) => return Err(other),
            Err(_) => return Err(TunnelError::NoAnswer),
        }
    }
    Err(TunnelError::NoAnswer)
}

async fn attempt(
    control: &mut libp2p_stream::Control,
    peer: PeerId,
    first: Bytes,
) -> Result<(Frames, FrameSink), TunnelError> {
    let stream = control
        .open_stream(peer, StreamProtocol::new(PROTOCOL))
        .await
        .map_err(TunnelError::broken)?;
    let (mut frames, mut sink) = framing::split(stream);
    if sink.send(first).await.is_err() {
        return Err(TunnelError::NoAnswer);
    }
    match frames.next().await {
        None | Some(Err(_)) => Err(TunnelError::NoAnswer),
        Some(Ok(bytes)) => match TunnelFrame::decode(&bytes).map_err(TunnelError::broken)? {
            Decoded::Known(TunnelFrame::Accepted(_)) => Ok((frames, sink)),
            Decoded::Known(TunnelFrame::Closed(closed)) => {
                Err(TunnelError::Refused(sentence(&closed.reason)))
            }
            _ => Err(TunnelError::Broken("it answered out of turn".into())),
        },
    }
}

/// A relay's words, fit to show and to store: without control characters, of which
/// the database refuses one, and the audit row with it.
fn sentence(said: &str) -> String {
    said.chars().filter(|c| !c.is_control()).take(300).collect()
}

impl Tunnel {
    /// Splits the tunnel, so that both directions run at their own pace.
    #[must_use]
    pub fn split(self) -> (TunnelFrames, TunnelSink) {
        (self.frames, self.sink)
    }
}

impl TunnelSink {
    /// Sends a frame at once.
    ///
    /// # Errors
    /// [`TunnelError::Broken`].
    pub async fn send(&mut self, frame: TunnelFrame) -> Result<(), TunnelError> {
        let bytes = frame.encode().map_err(TunnelError::broken)?;
        self.0.send(Bytes::from(bytes)).await.map_err(TunnelError::broken)
    }

    /// Ends the stream.
    pub async fn close(&mut self) {
        // The other side may have gone first.
        let _ = SinkExt::<Bytes>::close(&mut self.0).await;
    }
}

impl TunnelFrames {
    /// The next frame of a known kind, or `None` at the end.
    ///
    /// # Errors
    /// [`TunnelError::Broken`].
    pub async fn next(&mut self) -> Result<Option<TunnelFrame>, TunnelError> {
        loop {
            let Some(bytes) = self.frames.next().await else { return Ok(None) };
            let bytes = bytes.map_err(TunnelError::broken)?;
            if let Decoded::Known(frame) =
                TunnelFrame::decode(&bytes).map_err(TunnelError::broken)?
            {
                let frame = match frame {
                    TunnelFrame::Closed(mut closed) => {
                        closed.reason = sentence(&closed.reason);
                        TunnelFrame::Closed(closed)
                    }
                    other => other,
                };
                return Ok(Some(frame));
            }
        }
    }
}

impl Drop for TunnelFrames {
    fn drop(&mut self) {
        self.open.dec();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_relays_words_are_fit_to_store() {
        assert_eq!(super::sentence("no\0 shell\u{1b}[31m"), "no shell[31m");
        assert_eq!(super::sentence(&"x".repeat(5000)).len(), 300);
    }
}
