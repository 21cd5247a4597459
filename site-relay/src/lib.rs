//! unifyit-relay
