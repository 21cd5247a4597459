//! Why a session ended, as the log and the relay are told.

use crate::db::DbError;
use std::io;
use unifyit_protocol::{ProtocolError, lane::LaneError};

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(in crate::link) enum Ended {
    #[error("the connection closed")]
    Closed,
    #[error("the stream broke: {0}")]
    Io(#[from] io::Error),
    #[error("the relay said goodbye: {0}")]
    Goodbye(String),
    #[error("the relay did not greet in time")]
    NoGreeting,
    #[error("the relay was revoked")]
    Revoked,
    #[error("another connection of the relay took over, or the cloud stops")]
    Cancelled,
    #[error("the relay lost in the middle of a session what it had acknowledged")]
    Forgetful,
    #[error("the relay claims an epoch of its downlink, {0}, that there cannot be")]
    BeyondAll(u64),
    #[error("another session has moved the relay's lanes")]
    Moved,
    #[error("a fault of this program ended it")]
    Crashed,
    #[error("the relay sent what no relay sends: {0}")]
    Protocol(#[from] ProtocolError),
    #[error("the lanes disagree: {0}")]
    Lane(#[from] LaneError),
    #[error(transparent)]
    Db(#[from] DbError),
}
