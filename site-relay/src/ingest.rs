//! Reports of agents into the store, acknowledged after the commit (G1).
