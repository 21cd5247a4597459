//! Length-prefixed messages on a libp2p stream.

use bytes::{Bytes, BytesMut};
use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt, AsyncWrite, SinkExt};
use libp2p::Stream;
use std::io;
use tokio_util::{
    codec::{FramedRead, FramedWrite, LengthDelimitedCodec},
    compat::{Compat, FuturesAsyncReadCompatExt, FuturesAsyncWriteCompatExt},
};
use unifyit_protocol::codec::MAX_MESSAGE;

/// The reading half of a stream.
pub(super) type Frames = FramedRead<Compat<ReadHalf<Stream>>, LengthDelimitedCodec>;
/// The writing half of a stream.
pub(super) type FrameSink = FramedWrite<Compat<WriteHalf<Stream>>, LengthDelimitedCodec>;

/// Splits a stream into framed halves.
pub(super) fn split(stream: Stream) -> (Frames, FrameSink) {
    let (reader, writer) = stream.split();
    (FramedRead::new(reader.compat(), codec()), sink(writer))
}

/// Writes messages to a stream's half.
pub(super) fn sink<W: AsyncWrite>(half: W) -> FramedWrite<Compat<W>, LengthDelimitedCodec> {
    FramedWrite::new(half.compat_write(), codec())
}

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .length_field_type::<u32>()
        .big_endian()
        .max_frame_length(MAX_MESSAGE)
        .new_codec()
}

/// Writes messages until the channel closes or the stream breaks. What is queued
/// goes out in one flush, and a single message at once.
pub(super) async fn write_all(
    mut sink: FrameSink,
    mut queue: tokio::sync::mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    while let Some(message) = queue.recv().await {
        sink.feed(message).await?;
        while let Ok(message) = queue.try_recv() {
            sink.feed(message).await?;
        }
        SinkExt::<Bytes>::flush(&mut sink).await?;
    }
    SinkExt::<Bytes>::close(&mut sink).await
}

/// The bytes of a read frame.
pub(super) fn frozen(frame: io::Result<BytesMut>) -> io::Result<Bytes> {
    frame.map(BytesMut::freeze)
}
