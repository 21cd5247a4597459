//! Frames as they come, and the cloud's first two.

use super::{framing::Frames, metrics::UplinkMetrics, session::Ended};
use crate::clock::SiteClock;
use futures::StreamExt as _;
use unifyit_protocol::{
    envelope::Decoded,
    lane::Resume,
    link::{Frame, Goodbye, LinkHello},
};

/// Words of a farewell that mean that this relay is not wanted any more.
const REVOKED: &str = "revoked";

/// The next frame of a known kind.
pub(super) async fn next(frames: &mut Frames, metrics: &UplinkMetrics) -> Result<Frame, Ended> {
    loop {
        let bytes = match frames.next().await {
            None => return Err(Ended::Lost("the cloud closed the stream".into())),
            Some(Err(error)) => return Err(Ended::Lost(error.to_string())),
            Some(Ok(bytes)) => bytes,
        };
        metrics.received(bytes.len());
        match Frame::read(&bytes)? {
            Decoded::Known(frame) => return Ok(frame),
            Decoded::Unknown(_) => metrics.unknown.inc(),
        }
    }
}

/// What the cloud says of itself, and where it stands in each lane.
pub(super) async fn greeting(
    frames: &mut Frames,
    (clock, asked_ms): (&SiteClock, u64),
    metrics: &UplinkMetrics,
) -> Result<(LinkHello, Resume), Ended> {
    let mut introduced = None;
    loop {
        match next(frames, metrics).await? {
            Frame::Hello(hello) if introduced.is_none() => {
                clock.learn(hello.now_ms, asked_ms);
                metrics.clocks(clock.ahead_ms().unwrap_or_default());
                // Both sides go by the cloud's time from here on.
                introduced = Some(hello);
            }
            Frame::Resume(resume) => match introduced {
                Some(hello) => return Ok((hello, resume)),
                None => return Err(Ended::Lost("the cloud did not introduce itself".into())),
            },
            Frame::Goodbye(goodbye) => return Err(farewell(goodbye)),
            // Whom somebody watches may be told at any time; it is told again.
            Frame::Watch(_) | Frame::Sisters(_) | Frame::ClockAnswer(_) => {}
            _ => return Err(Ended::Lost("the cloud did not introduce itself".into())),
        }
    }
}

/// How a session ends that the cloud ends.
pub(super) fn farewell(goodbye: Goodbye) -> Ended {
    match goodbye.reason.to_lowercase().contains(REVOKED) {
        true => Ended::Refused(goodbye.reason),
        false => Ended::Goodbye(goodbye.reason),
    }
}
