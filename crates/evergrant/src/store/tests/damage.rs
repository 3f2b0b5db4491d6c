//! Torn, foreign, sealed and crashed files: nothing lost, nothing shown, nothing replaced silently.

use super::*;

#[tokio::test]
async fn a_crash_between_write_beside_and_rename_changes_nothing() {
    let folder = Folder::new();
    let store = folder.plain();
    put(&store, &key("a"), &record(1, "old")).await;
    let torn = &fs::read(folder.path()).unwrap()[..40];
    fs::write(disk::with_suffix(&folder.path(), ".new"), torn).unwrap();
    assert_eq!(store.load(&key("a")).await.unwrap(), Some(record(1, "old")));
    put(&store, &key("a"), &record(2, "new")).await;
    assert_eq!(store.load(&key("a")).await.unwrap(), Some(record(2, "new")));
    assert!(folder.names().iter().all(|name| !name.ends_with(".new")), "{:?}", folder.names());
}

#[tokio::test]
async fn a_damaged_file_is_kept_aside_and_named() {
    let whole = {
        let folder = Folder::new();
        put(&folder.plain(), &key("a"), &record(1, "precious")).await;
        fs::read(folder.path()).unwrap()
    };
    let zeros = vec![0; 100];
    let last_brace = [&whole[..whole.len() - 3], b"\n"].concat();
    for damaged in [&whole[..whole.len() / 2], &whole[..10], &whole[..30], &last_brace, &zeros, b""] {
        let folder = Folder::new();
        write_owner_only(&folder.path(), damaged);
        let error = folder.plain().load(&key("a")).await.unwrap_err();
        let kept = disk::with_suffix(&folder.path(), ".damaged-1");
        assert!(matches!(&error, StoreError::Damaged { kept: named, .. } if *named == kept), "{error}");
        assert!(!error.to_string().contains("precious"), "{error}");
        assert_eq!(fs::read(kept).unwrap(), damaged);
        assert_eq!(folder.plain().load(&key("a")).await.unwrap(), None);
        put(&folder.plain(), &key("a"), &record(1, "new")).await;
        write_owner_only(&folder.path(), damaged);
        let error = folder.plain().lease(&key("a"), soon()).await.unwrap_err();
        assert!(error.to_string().ends_with(".damaged-2"), "{error}");
    }
}

#[tokio::test]
async fn a_damaged_entry_takes_no_other_with_it() {
    let folder = Folder::new();
    let store = folder.sealed("k");
    put(&store, &key("a"), &record(1, "a")).await;
    put(&store, &key("b"), &record(1, "b")).await;
    let mut document: serde_json::Value = serde_json::from_slice(&fs::read(folder.path()).unwrap()).unwrap();
    document["credentials"][key("a").as_str()]["generation"] = 7.into();
    write_owner_only(&folder.path(), document.to_string().as_bytes());
    let error = store.load(&key("a")).await.unwrap_err();
    assert!(error.to_string().contains("changed after it was sealed"), "{error}");
    assert_eq!(store.load(&key("a")).await.unwrap(), None);
    assert_eq!(store.load(&key("b")).await.unwrap(), Some(record(1, "b")));
    assert!(folder.names().contains(&"store.damaged-1".to_owned()));
}

#[tokio::test]
async fn a_commit_onto_a_damaged_file_is_not_lost() {
    let folder = Folder::new();
    let store = folder.plain();
    let mut lease = store.lease(&key("a"), soon()).await.unwrap();
    lease.write(&record(1, "one")).await.unwrap();
    write_owner_only(&folder.path(), b"{\"evergrant_store\":1,");
    lease.write(&record(2, "two")).await.unwrap();
    assert_eq!(store.load(&key("a")).await.unwrap(), Some(record(2, "two")));
    fs::remove_file(folder.path()).unwrap();
    lease.write(&record(3, "three")).await.unwrap();
    assert_eq!(store.load(&key("a")).await.unwrap(), Some(record(3, "three")), "a removed file is no newer result");
}

#[tokio::test]
async fn what_is_not_ours_is_left_where_it_is() {
    let cases: [(&[u8], &str); 4] = [
        (b"[profile]\nregion = 1\n", "is not an Evergrant store"),
        (b"{\"other\": true}", "is not an Evergrant store"),
        (b"{\"evergrant_store\":3,\"sealing\":7}", "format version 3"),
        (b"{\"evergrant_store\":0}", "format version 0"),
    ];
    for (content, words) in cases {
        let folder = Folder::new();
        write_owner_only(&folder.path(), content);
        for error in [
            folder.plain().load(&key("a")).await.unwrap_err(),
            folder.plain().lease(&key("a"), soon()).await.unwrap_err(),
        ] {
            assert!(error.to_string().contains(words), "{error}");
            assert!(error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
            assert!(!error.hint().is_empty());
        }
        assert_eq!(fs::read(folder.path()).unwrap(), content);
    }
    let folder = Folder::new();
    fs::create_dir(folder.path()).unwrap();
    let error = folder.plain().load(&key("a")).await.unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
}

#[tokio::test]
async fn a_sealed_file_shows_no_token_and_opens_with_its_key_only() {
    let folder = Folder::new();
    put(&folder.sealed("right"), &key("a"), &record(1, "tell-tale")).await;
    let text = fs::read_to_string(folder.path()).unwrap();
    assert!(!text.contains("tell-tale") && !text.contains("access") && !text.contains("refresh"), "{text}");
    assert_eq!(folder.sealed("right").load(&key("a")).await.unwrap(), Some(record(1, "tell-tale")));

    let wrong = folder.sealed("wrong").load(&key("a")).await.unwrap_err();
    assert!(matches!(wrong, StoreError::WrongKey { .. }), "{wrong}");
    let plain = folder.plain().lease(&key("a"), soon()).await.unwrap_err();
    assert!(plain.to_string().contains("is xchacha20poly1305, not plain"), "{plain}");
    assert_eq!(fs::read_to_string(folder.path()).unwrap(), text, "both were left untouched");
    assert!(matches!(Store::open(&StoreUrl::File(folder.path()), None), Err(StoreError::NoKey { .. })));
}

#[tokio::test]
async fn a_sealed_entry_moved_to_another_credential_does_not_open() {
    let folder = Folder::new();
    let store = folder.sealed("k");
    put(&store, &key("a"), &record(1, "a")).await;
    let moved = fs::read_to_string(folder.path()).unwrap().replace(key("a").as_str(), key("b").as_str());
    write_owner_only(&folder.path(), moved.as_bytes());
    assert!(matches!(store.load(&key("b")).await, Err(StoreError::Damaged { .. })));
}
