//! The tables of the file, by name and type, as installations have them: an upgrade opens
//! what is there. A line may be added here, and none changed.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::{StoreError, tests::Rig};
use redb::{Key, ReadTransaction, TableDefinition, TableHandle as _, Value};
use std::collections::BTreeSet;

fn is<K: Key + 'static, V: Value + 'static>(tx: &ReadTransaction, name: &str) -> String {
    tx.open_table(TableDefinition::<K, V>::new(name)).map(drop).unwrap();
    name.to_owned()
}

#[tokio::test]
async fn the_tables_of_a_file_keep_their_names_and_types() {
    let rig = Rig::new();
    let tables = |tx: &ReadTransaction| {
        let names = BTreeSet::from([
            is::<u128, &[u8]>(tx, "devices"),
            is::<&str, u128>(tx, "machines"),
            is::<u128, &[u8]>(tx, "tokens"),
            is::<(u128, u8), (u64, u64)>(tx, "cursors"),
            is::<(u8, u64), &[u8]>(tx, "outbox"),
            is::<(u8, u64), (u128, u32, bool)>(tx, "outbox_owners"),
            is::<u8, &[u8]>(tx, "lanes"),
            is::<u128, &[u8]>(tx, "commands"),
            is::<(u128, u128), (u8, u64)>(tx, "deliveries"),
            is::<(u128, u32), &[u8]>(tx, "series"),
            is::<(u64, u128, u64, u64), &[u8]>(tx, "raw"),
            is::<(u64, u128), ()>(tx, "dirty"),
            is::<u128, &[u8]>(tx, "presence"),
            is::<u128, &[u8]>(tx, "facts"),
            is::<&str, &[u8]>(tx, "meta"),
            is::<u64, &[u8]>(tx, "audit"),
            is::<(u64, u64), &[u8]>(tx, "unread"),
        ]);
        let found = tx.list_tables().unwrap().map(|table| table.name().to_owned());
        Ok::<_, StoreError>((names, found.collect::<BTreeSet<_>>()))
    };
    let (names, found) = rig.store.read(tables).await.unwrap();
    assert_eq!(found, names);
}
