//! One folder a domain; [`crate::app`] registers them. A feature reaches an
//! earlier one by a named function, never by its SQL.
