//! The lane stream to the cloud.
