//! Checks what can be wrong, and says how to mend it.
