//! One thing that partners may set: for how many days something is kept.

/// A number of days that a partner may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its name on the wire.
    pub field: &'static str,
    /// Its column in the table `retention`, which has the same bounds.
    pub column: &'static str,
    /// What it is about, as the audit log says it.
    pub about: &'static str,
    /// What it is about, as the document says it.
    pub says: &'static str,
    /// Where a partner has set nothing.
    pub usual: i32,
    /// Not for less.
    pub least: Bound,
    /// Not for longer.
    pub most: Bound,
    /// Names the bounds to who is beyond them.
    pub refusal: &'static str,
}

impl Setting {
    /// The longest that anything is kept, in days: ten years.
    pub const LONGEST: Bound = Bound::Days(3660);
}

/// A bound of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// So many days.
    Days(i32),
    /// As many as another of the same feature is set to.
    Of(&'static Setting),
}
