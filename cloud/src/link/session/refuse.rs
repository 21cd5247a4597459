//! A word to a relay that has no right any more, before its connection is closed: the
//! people at its site read it.

use super::{Ended, Outgoing, framing};
use crate::link::relay::KnownPeer;
use futures::StreamExt;
use libp2p::Stream;
use std::time::Duration;
use tokio::{sync::mpsc, time::timeout};
use unifyit_protocol::link::{Frame, Goodbye};

/// What a revoked relay is told.
pub(super) const REVOKED: &str = "This relay was revoked in the console.";
/// How long it may take to read it and go.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a peer has no right to a lane. A revoked relay is told so; of a stranger nothing
/// is said.
pub(in crate::link) async fn without_right(
    stream: Stream,
    known: Option<KnownPeer>,
) -> &'static str {
    if known.is_none() {
        return "not_enrolled";
    }
    tell(stream).await;
    "revoked"
}

/// Tells a revoked relay so and waits until it goes, but not long.
async fn tell(stream: Stream) {
    let (mut frames, sink) = framing::split(stream);
    let said = async {
        let mut waiting = Outgoing::default();
        waiting.push(Frame::Goodbye(Goodbye { reason: REVOKED.to_owned() }))?;
        let (out, queue) = mpsc::channel(1);
        if let Some(frame) = waiting.pop() {
            out.send(frame).await.map_err(|_| Ended::Closed)?;
        }
        drop(out);
        framing::write_all(sink, queue).await?;
        while frames.next().await.is_some_and(|frame| frame.is_ok()) {}
        Ok::<_, Ended>(())
    };
    // Whether it read it or not, its connection is closed next.
    let _ = timeout(PATIENCE, said).await;
}
