//! unifyit-cloud
pub mod trust;
