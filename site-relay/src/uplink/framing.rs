//! Length-prefixed messages on a libp2p stream.

use bytes::Bytes;
use futures::{
    AsyncReadExt as _, SinkExt,
    io::{ReadHalf, WriteHalf},
};
use libp2p::Stream;
use std::io;
use tokio::sync::mpsc;
use tokio_util::{
    codec::{FramedRead, FramedWrite, LengthDelimitedCodec},
    compat::{Compat, FuturesAsyncReadCompatExt as _, FuturesAsyncWriteCompatExt as _},
};
use unifyit_protocol::codec::MAX_MESSAGE;

/// The reading half of a stream.
pub(crate) type Frames = FramedRead<Compat<ReadHalf<Stream>>, LengthDelimitedCodec>;
/// The writing half of a stream.
pub(crate) type FrameSink = FramedWrite<Compat<WriteHalf<Stream>>, LengthDelimitedCodec>;

/// Splits a stream into framed halves.
pub(crate) fn split(stream: Stream) -> (Frames, FrameSink) {
    let (reader, writer) = stream.split();
    let codec = || {
        LengthDelimitedCodec::builder()
            .length_field_type::<u32>()
            .big_endian()
            .max_frame_length(MAX_MESSAGE)
            .new_codec()
    };
    (FramedRead::new(reader.compat(), codec()), FramedWrite::new(writer.compat_write(), codec()))
}

/// Writes messages until all queues are closed and empty, urgent ones first: a
/// live or bulk frame goes out only when no urgent one waits, and is flushed by
/// itself, so that an alert stands behind one small frame at most (G5). Live and
/// bulk frames take turns.
pub(crate) async fn write_all(
    mut sink: FrameSink,
    mut urgent: mpsc::Receiver<Bytes>,
    mut live: mpsc::Receiver<Bytes>,
    mut bulk: mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    let mut live_first = true;
    loop {
        let message = {
            let (first, second) = match live_first {
                true => (&mut live, &mut bulk),
                false => (&mut bulk, &mut live),
            };
            tokio::select! {
                biased;
                Some(message) = urgent.recv() => message,
                Some(message) = first.recv() => message,
                Some(message) = second.recv() => message,
                else => return SinkExt::<Bytes>::close(&mut sink).await,
            }
        };
        live_first = !live_first;
        sink.feed(message).await?;
        while let Ok(message) = urgent.try_recv() {
            sink.feed(message).await?;
        }
        SinkExt::<Bytes>::flush(&mut sink).await?;
    }
}

/// Waits until the queue has room again.
pub(crate) async fn room(queue: &mpsc::Sender<Bytes>) {
    // A writer that is gone is noticed where its queue is used.
    if queue.reserve().await.is_err() {
        std::future::pending().await
    }
}
