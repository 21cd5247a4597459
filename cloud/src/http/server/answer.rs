//! An answer's body; when it is written out, its connection waits for the next request.

use super::places::Place;
use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// A body on its way.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    place: Option<Place>,
}

impl Answer {
    /// An answer on a connection that waits again when it is out, if it does.
    pub(super) fn new(body: Body, place: Option<Place>) -> Self {
        Self { body, place }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            place.answered();
        }
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
