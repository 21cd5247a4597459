//! `unifyit-relay`: the site relay.

fn main() {}
