//! A request's body; its connection waits for the request until the body is whole.

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
    /// Whose connection waits for it, in which turn.
    waits: Option<(Place, u64)>,
}

impl Question {
    /// The body of a request whose head has come.
    pub(super) fn new(body: Incoming, place: Place) -> Self {
        if body.is_end_stream() {
            place.asked();
            return Self { body, waits: None };
        }
        let turn = place.headed();
        Self { body, waits: Some((place, turn)) }
    }

    fn ended(&mut self) {
        if let Some((place, turn)) = self.waits.take() {
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
