//! Content-addressed files served to agents and fetched from the cloud.
