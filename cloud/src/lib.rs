//! unifyit-cloud
