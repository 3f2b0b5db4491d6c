//! Listing, forgetting and moving records: what was in one store is in the other, or still where it was.

use super::*;

async fn moved(from: &Store, to: &Store) -> Result<Moved, MoveError> {
    moved_with(from, to, OtherLogin::Stays).await
}

async fn moved_with(from: &Store, to: &Store, other_login: OtherLogin) -> Result<Moved, MoveError> {
    from.move_to(to, &key("a"), other_login, clock::boot() + Span::from_millis(200)).await
}

async fn is_listed(store: &Store, key: &CredentialKey) -> bool {
    store.contents().await.unwrap().credentials.iter().any(|listed| listed.key == *key)
}

async fn tokens(store: &Store, key: &CredentialKey) -> Option<Record> {
    store.load(key).await.unwrap().filter(Record::has_tokens)
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
        store.forget(&key("a"), soon()).await.unwrap();
        assert_eq!(tokens(&store, &key("a")).await, None);
        assert!(!is_listed(&store, &key("a")).await && is_listed(&store, &key("b")).await);
        assert_eq!(store.inspect(&key("a"), Span::ZERO).await.unwrap().record, None);
        assert_eq!(store.load(&key("b")).await.unwrap(), Some(record(1, "b")));
        store.forget(&key("a"), soon()).await.unwrap();
        let again = record(store.load(&key("a")).await.unwrap().unwrap().generation + 1, "again");
        assert!(again.generation > 5, "whoever still holds generation 5 adopts it");
        put(&store, &key("a"), &again).await;
        assert_eq!(store.load(&key("a")).await.unwrap(), Some(again));
        store.forget(&key("never there"), soon()).await.unwrap();
        assert_eq!(store.load(&key("never there")).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_seed_of_what_was_forgotten_is_not_taken_again() {
    let folder = Folder::new();
    let mut seeded = Record::default();
    seeded.take_seed(&Secret::from("seed"));
    (seeded.generation, seeded.refresh_token) = (3, Some(Secret::from("descendant")));
    put(&folder.plain(), &key("a"), &seeded).await;
    folder.plain().forget(&key("a"), soon()).await.unwrap();
    let mut left = folder.plain().load(&key("a")).await.unwrap().unwrap();
    assert_eq!((left.generation, left.has_tokens()), (4, false));
    assert!(!left.take_seed(&Secret::from("seed")) && left.take_seed(&Secret::from("a new login")));
}

#[tokio::test]
async fn a_damaged_entry_is_forgotten_and_the_rest_stays() {
    for damaged in [r#""generation":7"#, r#""generation":"7""#] {
        let folder = Folder::new();
        put(&folder.sealed("k"), &key("a"), &record(1, "a")).await;
        put(&folder.sealed("k"), &key("b"), &record(2, "b")).await;
        let text = fs::read_to_string(folder.path()).unwrap().replace("\"generation\":1", damaged);
        write_owner_only(&folder.path(), text.as_bytes());
        let forgotten = folder.sealed("k").forget(&key("a"), soon()).await;
        if damaged.ends_with('"') {
            // Not the entry but the file: nothing in it can be told apart, so nothing is replaced.
            assert!(matches!(forgotten, Err(StoreError::Foreign { .. })), "{forgotten:?}");
            assert_eq!(fs::read_to_string(folder.path()).unwrap(), text);
            continue;
        }
        forgotten.unwrap();
        assert_eq!(tokens(&folder.sealed("k"), &key("a")).await, None);
        assert_eq!(folder.sealed("k").load(&key("b")).await.unwrap(), Some(record(2, "b")));
        assert!(folder.names().iter().all(|name| !name.contains("damaged")), "{:?}", folder.names());
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
    assert_eq!(tokens(&plain, &key("a")).await, None);
    assert!(matches!(moved(&plain, &sealed).await, Err(MoveError::Nothing)));
    assert_eq!(plain.load(&key("b")).await.unwrap(), Some(record(1, "b")));
    assert_eq!(sealed.load(&key("a")).await.unwrap(), Some(record(4, "a")));

    // Back: above what was left here, or nobody who runs with it would adopt it.
    assert_eq!(moved(&sealed, &plain).await.unwrap(), Moved { generation: 6, replaced: None });
    assert_eq!(tokens(&sealed, &key("a")).await, None);
    assert_eq!(plain.load(&key("a")).await.unwrap(), Some(record(6, "a")));
}

#[tokio::test]
async fn another_login_is_replaced_only_if_asked_for() {
    let folders = [Folder::new(), Folder::new()];
    let (from, to) = (folders[0].plain(), folders[1].plain());
    put(&from, &key("a"), &record(9, "here")).await;
    for there in [4, 9, 12] {
        fs::remove_file(folders[1].path()).ok();
        put(&to, &key("a"), &record(there, "there")).await;
        let error = moved(&from, &to).await.unwrap_err();
        assert!(error.hint().contains("--replace"), "{}", error.hint());
        assert_eq!(matches!(error, MoveError::OtherLogin { there: 4, here: 9 }), there == 4, "{error}");
        assert_eq!(to.load(&key("a")).await.unwrap(), Some(record(there, "there")));
        assert_eq!(from.load(&key("a")).await.unwrap(), Some(record(9, "here")));
    }
    // Above what it replaces, so that whoever runs with that adopts it.
    let replaced = moved_with(&from, &to, OtherLogin::IsReplaced).await.unwrap();
    assert_eq!(replaced, Moved { generation: 13, replaced: Some(12) });
    assert_eq!(to.load(&key("a")).await.unwrap(), Some(record(13, "here")));

    // The same login with an older access token is none.
    let (mut older, newer) = (record(14, "x"), record(20, "x"));
    older.access_token = None;
    put(&from, &key("a"), &newer).await;
    put(&to, &key("a"), &older).await;
    assert_eq!(moved(&from, &to).await.unwrap(), Moved { generation: 20, replaced: Some(14) });
}

#[tokio::test]
async fn a_moved_record_leaves_the_clock_of_its_store_behind() {
    use evergrant_core::time::{Offset, OffsetInterval};
    let folders = [Folder::new(), Folder::new()];
    let (from, to) = (folders[0].plain(), folders[1].plain());
    let clock_of_store = Some(OffsetInterval { lo: Offset::from_nanos(0), hi: Offset::from_nanos(1_000_000_000) });
    let issued = |store| {
        let now = clock::now();
        let stamp = Stamp::of(now, store);
        Issued { sent: stamp, received: now.boot, offset: clock_of_store, store_offset: store }
    };
    let stamped = |issued: Issued| {
        let mut one = Record { mints: vec![issued.sent.clone()], ..record(4, "a") };
        one.intent = Some(Intent { attempt_id: "x".to_owned(), ..Intent::new(None, issued.sent.clone()) });
        one.issued = Some(issued);
        one
    };
    let written = stamped(issued(clock_of_store));
    put(&from, &key("a"), &written).await;
    moved(&from, &to).await.unwrap();
    let found = to.load(&key("a")).await.unwrap().unwrap();
    let (sent, intent) = (&found.issued.as_ref().unwrap().sent, found.intent.as_ref().unwrap());
    assert_eq!((sent.store, intent.at.store, found.mints[0].store), (None, None, None));
    assert_eq!(found.issued.as_ref().unwrap().store_offset, None);
    assert_eq!(found.issued.as_ref().unwrap().offset, clock_of_store, "the provider's clock is the same");
    assert_eq!(found.mints[0].boot, written.mints[0].boot);
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
    assert_eq!(tokens(&from, &key("a")).await, None);
    assert_eq!(to.load(&key("a")).await.unwrap(), Some(record(4, "a")));

    // Where the destination had a tombstone, the copy has a higher generation.
    put(&from, &key("a"), &record(6, "b")).await;
    put(&to, &key("a"), &record(9, "b")).await;
    assert_eq!(moved(&from, &to).await.unwrap(), Moved { generation: 9, replaced: None });
    assert_eq!(tokens(&from, &key("a")).await, None);
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
