//! Lists in pages: `?limit=&cursor=` → `{items, next_cursor}`.
//!
//! A cursor is the sort key of the last item, opaque to clients: a page costs
//! the same wherever it lies, and rows that come or go never shift it.

use super::Problem;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _},
};
use utoipa::{IntoParams, ToSchema};

/// Most items of one page.
pub const MAX_LIMIT: u32 = 500;
/// Items of a page when nothing is asked.
const DEFAULT_LIMIT: u32 = 100;
/// Longest cursor accepted; a sort key holds a name of bounded length.
const MAX_CURSOR: usize = 4096;

/// One page.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page starts; none at the end.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of rows fetched with `limit + 1`: the surplus row only says
    /// that there is more.
    pub fn cut<K: Serialize>(mut items: Vec<T>, limit: i64, key: impl Fn(&T) -> K) -> Self {
        let limit = usize::try_from(limit).unwrap_or_default();
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = if more { items.last().map(|last| cursor(&key(last))) } else { None };
        Self { items, next_cursor }
    }
}

/// Which page.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Most items, 1 to 500; 100 when absent.
    #[serde(default, deserialize_with = "limit")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Reads a `limit`.
///
/// # Errors
/// When it is none, or outside its bounds.
pub fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let limit = Option::<u32>::deserialize(deserializer)?;
    match limit {
        Some(n) if !(1..=MAX_LIMIT).contains(&n) => {
            Err(D::Error::custom(format!("limit must be 1 to {MAX_LIMIT}")))
        }
        within => Ok(within),
    }
}

impl PageQuery {
    /// The number of items asked for, within bounds.
    #[must_use]
    pub fn limit(&self) -> i64 {
        i64::from(self.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT))
    }

    /// The key after which the page starts.
    ///
    /// # Errors
    /// 400 for a cursor that this list did not give.
    pub fn after<K: DeserializeOwned>(&self) -> Result<Option<K>, Problem> {
        self.cursor.as_deref().filter(|c| !c.is_empty()).map(from_cursor).transpose()
    }
}

/// Writes a cursor.
#[must_use]
pub fn cursor<K: Serialize>(key: &K) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).unwrap_or_default())
}

/// Reads a cursor.
///
/// # Errors
/// 400 for what is none.
pub fn from_cursor<K: DeserializeOwned>(text: &str) -> Result<K, Problem> {
    let bytes = (text.len() <= MAX_CURSOR).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten();
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or_else(|| {
        Problem::malformed("The cursor is not one of this list. Start again without a cursor.")
    })
}
