//! unifyit-tests
