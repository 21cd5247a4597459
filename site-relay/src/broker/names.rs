//! Topic names and filters as MQTT defines them, for those that clients send.

/// Whether this can be the name of a topic.
pub(super) fn is_topic(name: &str) -> bool {
    !name.is_empty() && !name.contains(['+', '#'])
}

/// Whether this can be a filter: `#` stands for all of the last level, `+` for all
/// of any, and a shared one names its group.
pub(super) fn is_filter(filter: &str) -> bool {
    let filter = match filter.strip_prefix("$share/") {
        Some(shared) => match shared.split_once('/') {
            Some((group, filter)) if is_topic(group) => filter,
            _ => return false,
        },
        None => filter,
    };
    let mut levels = filter.split('/').peekable();
    let mut good = !filter.is_empty();
    while let Some(level) = levels.next() {
        good &= match level {
            "#" => levels.peek().is_none(),
            "+" => true,
            name => !name.contains(['+', '#']),
        };
    }
    good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_what_the_standard_says() {
        for good in ["#", "+", "a", "/", "a//b", "a/+/b/#", "+/+", "$share/g/a/#", "$SYS/#"] {
            assert!(is_filter(good), "{good}");
        }
        for bad in [
            "",
            "a#",
            "#/a",
            "a/#/b",
            "a+",
            "+a/b",
            "##",
            "$share/g",
            "$share//a",
            "$share/+/a",
            "$share/g/",
        ] {
            assert!(!is_filter(bad), "{bad}");
        }
        assert!(is_topic("a/b") && !is_topic("") && !is_topic("a/+") && !is_topic("#"));
    }
}
