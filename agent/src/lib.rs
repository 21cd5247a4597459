//! unifyit-agent
