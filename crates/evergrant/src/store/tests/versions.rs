//! Files of every version that was ever written, kept as they were, and what opens them.

use super::*;

/// As it was written by the version before passphrases.
const PLAIN_1: &[u8] = include_bytes!("fixtures/v1-plain.json");
const SEALED_1: &[u8] = include_bytes!("fixtures/v1-sealed.json");
const PASSPHRASE_2: &[u8] = include_bytes!("fixtures/v2-passphrase.json");

type Open = fn(&Folder) -> Store;

fn with_passphrase(folder: &Folder, text: &str) -> Store {
    Store::File(FileStore::with_passphrase(&folder.path(), Secret::from(text)))
}

fn version(folder: &Folder) -> serde_json::Value {
    let document: serde_json::Value = serde_json::from_slice(&fs::read(folder.path()).unwrap()).unwrap();
    document["evergrant_store"].clone()
}

#[tokio::test]
async fn a_file_of_every_version_is_read_and_stays_what_it_is() {
    let cases: [(&[u8], u64, Open); 3] = [
        (PLAIN_1, 1, |folder| folder.plain()),
        (SEALED_1, 1, |folder| folder.sealed("fixture")),
        (PASSPHRASE_2, 2, |folder| with_passphrase(folder, "fixture passphrase")),
    ];
    for (bytes, number, open) in cases {
        let folder = Folder::new();
        write_owner_only(&folder.path(), bytes);
        let store = open(&folder);
        assert_eq!(store.load(&key("a")).await.unwrap(), Some(record(3, "first")));
        assert_eq!(store.load(&key("b")).await.unwrap(), Some(record(5, "second")));
        put(&store, &key("a"), &record(4, "third")).await;
        assert_eq!(version(&folder), number);
        assert_eq!(open(&folder).load(&key("a")).await.unwrap(), Some(record(4, "third")));
        assert_eq!(open(&folder).load(&key("b")).await.unwrap(), Some(record(5, "second")));
    }
}

#[tokio::test]
async fn a_new_file_with_a_passphrase_opens_with_it_only() {
    let folder = Folder::new();
    put(&with_passphrase(&folder, "correct horse battery"), &key("a"), &record(1, "tell-tale")).await;
    assert_eq!(version(&folder), 2);
    let text = fs::read_to_string(folder.path()).unwrap();
    assert!(!text.contains("tell-tale") && !text.contains("horse"), "{text}");
    let right = with_passphrase(&folder, "correct horse battery");
    assert_eq!(right.load(&key("a")).await.unwrap(), Some(record(1, "tell-tale")));
    let wrong = with_passphrase(&folder, "correct horse batterz");
    for error in [wrong.load(&key("a")).await.unwrap_err(), wrong.lease(&key("a"), soon()).await.unwrap_err()] {
        assert!(matches!(error, StoreError::WrongPassphrase { .. }), "{error}");
        assert!(error.to_string().contains("another passphrase") && error.hint().contains("STORE_PASSPHRASE"));
    }
    assert_eq!(fs::read_to_string(folder.path()).unwrap(), text);
    assert!(folder.names().iter().all(|name| !name.contains("damaged")), "{:?}", folder.names());
}

#[tokio::test]
async fn a_key_where_a_passphrase_is_needed_and_the_other_way_round_are_named() {
    let cases: [(&[u8], Open, &str, &str); 5] = [
        (
            PASSPHRASE_2,
            |folder| folder.sealed("k"),
            "sealed with a passphrase, not sealed with a key",
            "STORE_PASSPHRASE",
        ),
        (
            SEALED_1,
            |folder| with_passphrase(folder, "x"),
            "sealed with a key, not sealed with a passphrase",
            "STORE_KEY",
        ),
        (PLAIN_1, |folder| with_passphrase(folder, "x"), "is plain, not sealed with a passphrase", "file+plain:"),
        (PASSPHRASE_2, |folder| folder.plain(), "is xchacha20poly1305, not plain", "`file:`"),
        (SEALED_1, |folder| folder.sealed("k"), "sealed with another key", "STORE_KEY"),
    ];
    for (bytes, open, words, hint) in cases {
        let folder = Folder::new();
        write_owner_only(&folder.path(), bytes);
        let error = open(&folder).load(&key("a")).await.unwrap_err();
        assert!(error.to_string().contains(words) && error.to_string().contains("left untouched"), "{error}");
        assert!(error.hint().contains(hint), "{}", error.hint());
        assert_eq!(fs::read(folder.path()).unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_head_that_was_changed_does_not_open_and_is_left_where_it_is() {
    let text = std::str::from_utf8(PASSPHRASE_2).unwrap();
    let cases = [
        (text.replace("\"memory_kib\":65536", "\"memory_kib\":4000000000"), "more than"),
        (text.replace("\"passes\":3", "\"passes\":1"), "another passphrase"),
        (text.replace("argon2id", "md5"), "does not know"),
    ];
    for (changed, words) in cases {
        assert_ne!(changed, text);
        let folder = Folder::new();
        write_owner_only(&folder.path(), changed.as_bytes());
        let error = with_passphrase(&folder, "fixture passphrase").load(&key("a")).await.unwrap_err();
        assert!(error.to_string().contains(words) && error.to_string().contains("left untouched"), "{error}");
        assert_eq!(fs::read_to_string(folder.path()).unwrap(), changed);
    }
}

/// What one process derives, another derives too: both take the head that is in the file.
#[tokio::test]
async fn two_stores_that_begin_at_once_end_with_one_head() {
    let folder = Folder::new();
    let stores = [(); 2].map(|()| with_passphrase(&folder, "correct horse battery"));
    let [one, two] = &stores;
    let (a, b) = (key("a"), key("b"));
    let (first, second) = (record(1, "a"), record(1, "b"));
    tokio::join!(put(one, &a, &first), put(two, &b, &second));
    for store in &stores {
        assert_eq!(store.load(&a).await.unwrap(), Some(record(1, "a")));
        assert_eq!(store.load(&b).await.unwrap(), Some(record(1, "b")));
    }
}

#[tokio::test]
async fn a_file_with_a_key_opens_within_five_milliseconds() {
    let folder = Folder::new();
    for label in 0..20 {
        put(&folder.sealed("k"), &key(&label.to_string()), &record(1, &"x".repeat(1_000))).await;
    }
    let mut quickest = Span::from_secs(1);
    // The quickest of many: neighbours may take the processor away from some, and never give any time back.
    for _ in 0..50 {
        let began = clock::boot();
        let found = folder.sealed("k").load(&key("7")).await.unwrap();
        quickest = quickest.min(clock::boot() - began);
        assert!(found.is_some());
    }
    assert!(quickest < Span::from_millis(5), "{quickest:?}");
}
