//! tmp
pub mod postgres;
