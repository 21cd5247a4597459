//! Durable records from the cloud: inbox, settings, revocations.
