//! What can be wrong with what a client sends.

/// What is wrong with a packet. Ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    #[error("a packet of {0} bytes is too large")]
    TooLarge(usize),
    #[error("limit exceeded: {0}")]
    Quota(&'static str),
    #[error("more QoS 2 messages in flight than agreed")]
    ReceiveMaximum,
    #[error("topic aliases are not supported")]
    TopicAlias,
    #[error("retained messages are not supported")]
    Retain,
    #[error("subscription identifiers are not supported")]
    SubscriptionIdentifier,
    #[error("publish to a topic that is not the device's own")]
    NotAuthorized,
    #[error("protocol level {0} is not supported")]
    Level(u8),
    #[error("a client without a name has to begin a clean session")]
    Identifier,
    #[error("packets of at most {0} bytes are too small for what this relay has to say")]
    SmallPackets(u32),
    #[error("authentication methods are not supported; the certificate is enough")]
    AuthenticationMethod,
}
