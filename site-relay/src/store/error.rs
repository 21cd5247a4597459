//! Why the store could not do as asked, in words for a log or an installer.

/// Why the store could not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process has the file open.
    #[error(
        "the store is open in another process; stop the other unifyit-relay first (systemctl stop unifyit-relay)"
    )]
    AlreadyOpen,
    /// The disk has no space left.
    #[error("the disk of the state folder is full; free some space on it")]
    Full,
    /// The disk takes no writes.
    #[error(
        "the disk of the state folder is read-only: nothing can be stored; see why the system made it so (dmesg), then mend or remount it"
    )]
    ReadOnly,
    /// The relay is stopping.
    #[error("the store is closed: the relay is stopping")]
    Closed,
    /// Any other failure of the file.
    #[error("the store cannot be used: {0}")]
    Failed(String),
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::AlreadyOpen,
            redb::Error::Io(io) if io.kind() == std::io::ErrorKind::StorageFull => Self::Full,
            redb::Error::Io(io) if io.kind() == std::io::ErrorKind::QuotaExceeded => Self::Full,
            redb::Error::Io(io) if io.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly
            }
            other => Self::Failed(other.to_string()),
        }
    }
}

macro_rules! through_redb {
    ($($error:ty)+) => {$(
        impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )+};
}

through_redb! {
    redb::StorageError
    redb::TableError
    redb::DatabaseError
    redb::TransactionError
    redb::CommitError
    redb::CompactionError
    redb::SetDurabilityError
}

impl From<unifyit_protocol::ProtocolError> for StoreError {
    fn from(error: unifyit_protocol::ProtocolError) -> Self {
        Self::Failed(format!("a stored record is damaged: {error}"))
    }
}
