//! A request's body. Its connection waits for it from the moment that somebody reads and
//! finds nothing until it is whole: a request that stands in a line of ours before its body
//! is read is under way, for all that its sender did.

use super::places::Place;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// A body that comes.
#[derive(Debug)]
pub(super) struct Question {
    body: Incoming,
    /// Of which connection; none when the body is whole.
    place: Option<Place>,
    /// In which turn that waits for it.
    turn: Option<u64>,
}

impl Question {
    /// The body of a request whose head has come.
    pub(super) fn new(body: Incoming, place: Place) -> Self {
        place.asked();
        let place = (!body.is_end_stream()).then_some(place);
        Self { body, place, turn: None }
    }

    /// The first time; what comes later in pieces does not renew it.
    fn waits(&mut self) {
        if let (Some(place), None) = (&self.place, self.turn) {
            self.turn = Some(place.headed());
        }
    }

    fn ended(&mut self) {
        if let (Some(place), Some(turn)) = (self.place.take(), self.turn) {
            place.embodied(turn);
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.ended();
    }
}

impl Body for Question {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let last = matches!(polled, Poll::Ready(None | Some(Err(_))));
        if last || self.body.is_end_stream() {
            self.ended();
        } else if polled.is_pending() {
            self.waits();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
