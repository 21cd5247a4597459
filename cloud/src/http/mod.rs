//! The HTTP side of the spine: problems, request ids, limits, paging,
//! idempotency, the API document, the console's files.

pub mod assets;
pub mod docs;
pub mod downloads;
pub mod health;
mod idempotency;
mod input;
pub mod layers;
pub mod limits;
pub mod metrics;
mod network;
mod origin;
mod paging;
mod problem;
pub mod seats;
pub(crate) mod seldom;
pub mod server;
pub mod shares;
mod strict;
pub mod tls;
pub mod turns;

pub use idempotency::{Claim, Idempotency, Replay};
pub use input::{Body, Path, Query};
pub use layers::RequestId;
pub use network::{Network, Networks};
pub use origin::{client_address, same_origin};
pub use paging::{MAX_LIMIT, Page, PageQuery, cursor, from_cursor, limit};
pub use problem::Problem;
