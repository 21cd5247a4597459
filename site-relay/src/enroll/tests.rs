//! Tokens are judged, and the answer of the cloud is checked.
