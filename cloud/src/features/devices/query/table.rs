//! Which table a question reads.

/// What stands as `d` in a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    /// The computers themselves: their indexes give the order of names.
    Devices,
    /// A short line of each, for questions that read all of them.
    Lines,
    /// Those lines that have a word that is looked for, as an index finds them.
    Found,
    /// What each told last, which is no part of its line.
    Loads,
    /// Loads, with what lines are searched for.
    Both,
    /// How many stand how at each site.
    Tallies,
    /// How many of those that have the one word that is looked for, as its index finds them.
    TalliesFound,
}

impl Table {
    /// For the place after `FROM`, where no index is asked for words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Devices => "devices d",
            Self::Lines | Self::Found => "device_lines d",
            Self::Loads => "device_loads d",
            Self::Both => {
                "(SELECT b.*, a.search FROM device_loads b JOIN device_lines a ON a.id = b.id) d"
            }
            Self::Tallies | Self::TalliesFound => "device_tallies d",
        }
    }

    /// Whether a computer was put out.
    pub(super) fn revoked(self) -> &'static str {
        match self {
            Self::Devices => "d.revoked_at IS NOT NULL",
            _ => "d.revoked",
        }
    }

    /// The contrary.
    pub(super) fn not_revoked(self) -> &'static str {
        match self {
            Self::Devices => "d.revoked_at IS NULL",
            _ => "NOT d.revoked",
        }
    }

    /// Whether what is read is what an index finds for a word.
    pub(super) fn is_searched_by_index(self) -> bool {
        matches!(self, Self::Found | Self::Both | Self::TalliesFound)
    }

    /// Whether a row stands for several computers.
    pub(super) fn is_of_sums(self) -> bool {
        matches!(self, Self::Tallies | Self::TalliesFound)
    }
}
