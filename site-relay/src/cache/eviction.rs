//! Which contents go when room is needed: a pure choice by cost and recency
//! (greedy dual size with frequency, Cherkasova 1998). What a pending job has
//! pinned never goes.

use super::{content::Hash, index::Content};

/// Chooses contents to remove so that at least `needed` bytes come free, least
/// worth first. Fewer come back when the rest is pinned.
#[must_use]
pub fn victims(contents: &[(Hash, Content)], needed: u64, now_ms: u64) -> Vec<(Hash, u64)> {
    let mut movable: Vec<_> = contents.iter().filter(|(_, c)| c.pinned_ms <= now_ms).collect();
    movable.sort_by(|(_, a), (_, b)| worth(a, now_ms).total_cmp(&worth(b, now_ms)));
    let mut freed = 0;
    movable
        .into_iter()
        .take_while(|(_, content)| {
            let more = freed < needed;
            freed += content.size;
            more
        })
        .map(|(hash, content)| (*hash, content.size))
        .collect()
}

/// Time saved a byte kept, halved for each week without use.
fn worth(content: &Content, now_ms: u64) -> f64 {
    const WEEK_MS: f64 = 7.0 * 24.0 * 3600.0 * 1000.0;
    // Precision beyond 52 bits of milliseconds or bytes does not matter here.
    #[expect(clippy::cast_precision_loss, reason = "a ranking, not an account")]
    let (idle, size) = (now_ms.saturating_sub(content.used_ms) as f64, content.size as f64);
    let cost = f64::from(content.cost_ms) + 50.0;
    f64::from(content.uses + 1) * cost / (size + 4096.0) * (-idle / WEEK_MS).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(size: u64, used_ms: u64, uses: u32, pinned_ms: u64) -> Content {
        Content { size, sha256: [0; 32], used_ms, uses, cost_ms: 100, pinned_ms }
    }

    #[test]
    fn idle_content_goes_before_used_and_pinned_content_stays() {
        let now = 10_000_000_000;
        let all = vec![
            ([1; 32], content(100, now, 50, 0)),
            ([2; 32], content(100, 0, 1, 0)),
            ([3; 32], content(100, 0, 0, now + 1)),
        ];
        assert_eq!(victims(&all, 1, now), [([2; 32], 100)]);
        assert_eq!(victims(&all, 1000, now), [([2; 32], 100), ([1; 32], 100)]);
        assert_eq!(victims(&all, 0, now), []);
    }
}
