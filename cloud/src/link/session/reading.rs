//! Frames in: the greeting, and then a few frames ahead.

use super::Ended;
use crate::link::{
    framing::{self, Frames},
    metrics::LinkMetrics,
};
use futures::StreamExt;
use std::collections::VecDeque;
use tokio::{sync::mpsc, task::JoinHandle};
use unifyit_protocol::{
    ProtocolError,
    envelope::Decoded,
    lane::{Apply, Lane, Resume},
    link::{Frame, LinkHello},
};

/// Reads the relay's first two frames.
pub(super) async fn greeting(frames: &mut Frames) -> Result<(LinkHello, Resume), Ended> {
    let mut hello = None;
    while let Some(bytes) = frames.next().await {
        match Frame::read(&framing::frozen(bytes)?)? {
            Decoded::Known(Frame::Hello(said)) => hello = Some(said),
            Decoded::Known(Frame::Resume(resume)) => {
                return hello.map(|hello| (hello, resume)).ok_or_else(|| {
                    ProtocolError::Invalid("the first frame is not a hello").into()
                });
            }
            Decoded::Known(Frame::Goodbye(said)) => return Err(Ended::Goodbye(said.reason)),
            Decoded::Known(_) => {
                return Err(ProtocolError::Invalid("it spoke before its greeting").into());
            }
            Decoded::Unknown(_) => {}
        }
    }
    Err(Ended::Closed)
}

/// Decodes frames in a task of its own, a few ahead.
pub(super) fn read_ahead(
    mut frames: Frames,
    metrics: LinkMetrics,
) -> (mpsc::Receiver<Result<Frame, Ended>>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(32);
    let task = tokio::spawn(async move {
        while let Some(bytes) = frames.next().await {
            let frame = match framing::frozen(bytes).map_err(Ended::from) {
                Ok(bytes) => Frame::read(&bytes).map_err(Ended::from),
                Err(broken) => Err(broken),
            };
            let (message, last) = match frame {
                Ok(Decoded::Known(frame)) => (Ok(frame), false),
                Ok(Decoded::Unknown(_)) => {
                    metrics.unknown.inc();
                    continue;
                }
                Err(ended) => (Err(ended), true),
            };
            if sender.send(message).await.is_err() || last {
                return;
            }
        }
    });
    (receiver, task)
}

/// Bytes that accepted records take while they wait.
pub(super) fn size(apply: &Apply) -> usize {
    apply.records.iter().map(|(_, body)| body.len() + 16).sum()
}

/// Bytes of records in one transaction, so that an urgent one waits little.
const MAX_BATCH: usize = 1024 * 1024;

/// What the next transaction applies, with its bytes: urgent records alone when
/// there are any.
pub(super) fn next_batch(pending: &mut VecDeque<Apply>) -> (Vec<Apply>, usize) {
    let urgent = pending.iter().any(|a| a.becomes.lane == Lane::Urgent);
    let (mut batch, mut rest, mut bytes) = (Vec::new(), VecDeque::new(), 0);
    for apply in pending.drain(..) {
        let chosen = if urgent { apply.becomes.lane == Lane::Urgent } else { rest.is_empty() };
        if chosen && (bytes < MAX_BATCH || batch.is_empty()) {
            bytes += size(&apply);
            batch.push(apply);
        } else {
            rest.push_back(apply);
        }
    }
    *pending = rest;
    (batch, bytes)
}
