//! The HTTP side of the spine: problems, request ids, limits, paging,
//! idempotency, the API document, the console's files.

mod problem;

pub use problem::Problem;
