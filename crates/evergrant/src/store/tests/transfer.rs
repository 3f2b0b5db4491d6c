//! Listing, forgetting and moving records: what was in one store is in the other, or still where it was.

use super::*;

async fn moved(from: &Store, to: &Store) -> Result<Moved, MoveError> {
    from.move_to(to, &key("a"), clock::boot() + Span::from_millis(200)).await
}

#[tokio::test]
async fn a_store_lists_what_it_holds_and_moves_nothing() {
    let folders = [Folder::new(), Folder::new()];
    for store in [Store::Memory(MemoryStore::default()), folders[0].plain(), folders[1].sealed("k")] {
        assert!(store.contents().await.unwrap().credentials.is_empty());
        put(&store, &key("a"), &record(1, "a")).await;
        put(&store, &key("b"), &record(2, "b")).await;
        let mut held: Vec<_> =
            store.contents().await.unwrap().credentials.into_iter().map(|one| (one.key, one.record.unwrap())).collect();
        held.sort_by_key(|(_, record)| record.generation);
        assert_eq!(held, [(key("a"), record(1, "a")), (key("b"), record(2, "b"))]);
    }
    let folder = Folder::new();
    write_owner_only(&folder.path(), b"{\"evergrant_store\":1,");
    let error = folder.plain().contents().await.unwrap_err();
    assert!(error.to_string().contains("damaged") && error.to_string().contains("left untouched"), "{error}");
    assert_eq!(folder.names(), ["store"]);
    folder.plain().load(&key("a")).await.unwrap_err();
    fs::write(disk::with_suffix(&folder.path(), ".new"), "torn").unwrap();
    let contents = folder.plain().contents().await.unwrap();
    assert!(!contents.exists && contents.beside.len() == 2, "{:?}", contents.beside);
}

#[tokio::test]
async fn a_damaged_entry_is_listed_as_one() {
    let folder = Folder::new();
    put(&folder.sealed("k"), &key("a"), &record(1, "a")).await;
    let text = fs::read_to_string(folder.path()).unwrap().replace("\"generation\":1", "\"generation\":7");
    write_owner_only(&folder.path(), text.as_bytes());
    let contents = folder.sealed("k").contents().await.unwrap();
    assert_eq!(contents.credentials[0].record, Err("an entry was changed after it was sealed".to_owned()));
    assert_eq!(fs::read_to_string(folder.path()).unwrap(), text);
}

#[tokio::test]
async fn what_is_forgotten_is_gone_and_the_rest_stays() {
    let folders = [Folder::new(), Folder::new()];
    for store in [Store::Memory(MemoryStore::default()), folders[0].plain(), folders[1].sealed("k")] {
        put(&store, &key("a"), &record(5, "a")).await;
        put(&store, &key("b"), &record(1, "b")).await;
        store.lease(&key("a"), soon()).await.unwrap().forget().await.unwrap();
        assert_eq!(store.load(&key("a")).await.unwrap(), None);
        assert_eq!(store.load(&key("b")).await.unwrap(), Some(record(1, "b")));
        store.lease(&key("a"), soon()).await.unwrap().forget().await.unwrap();
        put(&store, &key("a"), &record(1, "again")).await;
        assert_eq!(store.load(&key("a")).await.unwrap(), Some(record(1, "again")));
    }
}

#[tokio::test]
async fn a_moved_record_is_in_the_other_store_only() {
    let folders = [Folder::new(), Folder::new()];
    let (plain, sealed) = (folders[0].plain(), folders[1].sealed("k"));
    assert!(matches!(moved(&plain, &sealed).await, Err(MoveError::Nothing)));
    put(&plain, &key("a"), &record(4, "a")).await;
    put(&plain, &key("b"), &record(1, "b")).await;
    assert_eq!(moved(&plain, &sealed).await.unwrap(), Moved { generation: 4, replaced: None });
    assert_eq!(plain.load(&key("a")).await.unwrap(), None);
    assert_eq!(plain.load(&key("b")).await.unwrap(), Some(record(1, "b")));
    assert_eq!(sealed.load(&key("a")).await.unwrap(), Some(record(4, "a")));
    put(&plain, &key("a"), &record(9, "newer")).await;
    assert_eq!(moved(&plain, &sealed).await.unwrap(), Moved { generation: 9, replaced: Some(4) });
    assert_eq!(sealed.load(&key("a")).await.unwrap(), Some(record(9, "newer")));
}

#[tokio::test]
async fn a_record_that_is_newer_or_of_another_login_is_not_replaced() {
    let folders = [Folder::new(), Folder::new()];
    let (from, to) = (folders[0].plain(), folders[1].plain());
    put(&from, &key("a"), &record(4, "here")).await;
    for (there, is_newer) in [(record(5, "there"), true), (record(4, "there"), false)] {
        fs::remove_file(folders[1].path()).ok();
        put(&to, &key("a"), &there).await;
        let error = moved(&from, &to).await.unwrap_err();
        assert_eq!(matches!(error, MoveError::Newer { there: 5, here: 4 }), is_newer, "{error}");
        assert_eq!(matches!(error, MoveError::Differs { generation: 4 }), !is_newer, "{error}");
        assert_eq!(to.load(&key("a")).await.unwrap(), Some(there));
        assert_eq!(from.load(&key("a")).await.unwrap(), Some(record(4, "here")));
    }
}

#[tokio::test]
async fn a_move_that_ended_halfway_goes_on_when_it_is_made_again() {
    let folders = [Folder::new(), Folder::new()];
    let (from, to) = (folders[0].plain(), folders[1].plain());
    // The last thing that a killed move has done: both hold the record.
    for store in [&from, &to] {
        put(store, &key("a"), &record(4, "a")).await;
    }
    assert_eq!(moved(&from, &to).await.unwrap(), Moved { generation: 4, replaced: None });
    assert_eq!(from.load(&key("a")).await.unwrap(), None);
    assert_eq!(to.load(&key("a")).await.unwrap(), Some(record(4, "a")));
}

#[tokio::test]
async fn a_store_that_is_busy_or_broken_loses_nothing_by_a_move() {
    let folders = [Folder::new(), Folder::new()];
    let (from, to) = (folders[0].plain(), folders[1].plain());
    put(&from, &key("a"), &record(4, "a")).await;
    let held = from.lease(&key("a"), soon()).await.unwrap();
    assert!(matches!(moved(&from, &to).await, Err(MoveError::Source(StoreError::Busy { .. }))));
    held.release().await;
    let held = to.lease(&key("a"), soon()).await.unwrap();
    assert!(matches!(moved(&from, &to).await, Err(MoveError::Destination(StoreError::Busy { .. }))));
    held.release().await;
    write_owner_only(&folders[1].path(), b"[other]\n");
    assert!(matches!(moved(&from, &to).await, Err(MoveError::Destination(StoreError::Foreign { .. }))));
    assert!(matches!(moved(&from, &from).await, Err(MoveError::SamePlace)));
    assert_eq!(from.load(&key("a")).await.unwrap(), Some(record(4, "a")));
}
