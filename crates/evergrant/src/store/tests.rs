//! The contract of the stores, run against memory, plain and sealed files, threads and real processes.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use evergrant_core::Secret;
use evergrant_core::time::Span;
use tempfile::TempDir;

use super::*;
use crate::clock;
use crate::grant::Credential;

mod damage;
mod exposure;
mod format;
mod power_cut;
mod transfer;
mod versions;

fn key(label: &str) -> CredentialKey {
    CredentialKey::new("https://login.example/token", &Credential::client_credentials("id", Secret::from("s")), label)
}

fn seal_key(text: &str) -> SealKey {
    use base64::Engine;
    let bytes: Vec<u8> = text.bytes().cycle().take(32).collect();
    SealKey::from_base64(&Secret::new(base64::engine::general_purpose::STANDARD.encode(bytes))).unwrap()
}

fn record(generation: u64, text: &str) -> Record {
    Record {
        generation,
        access_token: Some(Secret::new(format!("access-{text}"))),
        refresh_token: Some(Secret::new(format!("refresh-{text}"))),
        ..Record::default()
    }
}

fn soon() -> Boot {
    clock::boot() + Span::from_secs(20)
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("store")
    }

    fn plain(&self) -> Store {
        Store::File(FileStore::plain(&self.path()))
    }

    fn sealed(&self, key: &str) -> Store {
        Store::File(FileStore::sealed(&self.path(), seal_key(key)))
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

async fn put(store: &Store, key: &CredentialKey, record: &Record) {
    let mut lease = store.lease(key, soon()).await.unwrap();
    lease.write(record).await.unwrap();
    lease.release().await;
}

/// Reads the number in the record, waits for others to interleave, and writes it one higher.
async fn increment(store: &Store, key: &CredentialKey) {
    let mut lease = store.lease(key, soon()).await.unwrap();
    let generation = lease.read().map_or(0, |record| record.generation);
    tokio::task::yield_now().await;
    lease.write(&record(generation + 1, "x")).await.unwrap();
}

#[tokio::test]
async fn every_store_keeps_the_contract() {
    let folders = [Folder::new(), Folder::new()];
    for store in [Store::Memory(MemoryStore::default()), folders[0].plain(), folders[1].sealed("k")] {
        assert_eq!(store.load(&key("a")).await.unwrap(), None);
        let mut lease = store.lease(&key("a"), soon()).await.unwrap();
        assert_eq!(lease.read(), None);
        lease.write(&record(1, "one")).await.unwrap();
        assert_eq!(lease.read(), Some(&record(1, "one")));
        assert_eq!(store.load(&key("a")).await.unwrap(), Some(record(1, "one")), "readers need no lease");
        lease.write(&record(2, "two")).await.unwrap();
        let lower = lease.write(&record(1, "late")).await.unwrap_err();
        assert!(matches!(lower, StoreError::Superseded { stored: 2, offered: 1 }), "{lower}");
        let busy = store.lease(&key("a"), clock::boot() + Span::from_millis(20)).await.unwrap_err();
        assert!(matches!(busy, StoreError::Busy { .. }), "{busy}");
        put(&store, &key("b"), &record(9, "other")).await;
        lease.release().await;
        assert_eq!(store.lease(&key("a"), soon()).await.unwrap().read(), Some(&record(2, "two")));
        assert_eq!(store.load(&key("b")).await.unwrap(), Some(record(9, "other")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_on_one_store_lose_no_update() {
    let folders = [Folder::new(), Folder::new()];
    for store in [Store::Memory(MemoryStore::default()), folders[0].plain(), folders[1].sealed("k")] {
        let tasks: Vec<_> = (0..8)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move {
                    for _ in 0..5 {
                        increment(&store, &key(if n % 2 == 0 { "even" } else { "odd" })).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        for label in ["even", "odd"] {
            assert_eq!(store.load(&key(label)).await.unwrap().unwrap().generation, 20);
        }
    }
}

const CHILD_STORE: &str = "EVERGRANT_TEST_CHILD_STORE";
const CHILD_ACTION: &str = "EVERGRANT_TEST_CHILD_ACTION";

/// Not a test by itself: what a child process of the tests below does.
#[tokio::test]
async fn child_process() {
    let (Some(path), Ok(action)) = (std::env::var_os(CHILD_STORE), std::env::var(CHILD_ACTION)) else { return };
    let store = Store::File(FileStore::plain(Path::new(&path)));
    if action == "increment" {
        for _ in 0..10 {
            increment(&store, &key("shared")).await;
        }
        return;
    }
    let mut lease = store.lease(&key("shared"), soon()).await.unwrap();
    let mut intended = lease.read().cloned().unwrap_or_default();
    intended.intent = Some(Intent::new(Some(&Secret::from("refresh-x")), Stamp::of(clock::now(), None)));
    lease.write(&intended).await.unwrap();
    println!("HELD");
    std::io::stdout().flush().unwrap();
    // Until the parent kills this process, or ends and closes the pipe.
    let _ = std::io::stdin().lines().next();
}

fn child(path: &Path, action: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::child_process", "--nocapture"])
        .env(CHILD_STORE, path)
        .env(CHILD_ACTION, action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn processes_on_one_file_lose_no_update() {
    let folder = Folder::new();
    let children: Vec<_> = (0..4).map(|_| child(&folder.path(), "increment")).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    assert_eq!(folder.plain().load(&key("shared")).await.unwrap().unwrap().generation, 40);
}

#[tokio::test]
async fn a_killed_holder_leaves_its_intent_and_frees_its_lease() {
    let folder = Folder::new();
    let store = folder.plain();
    put(&store, &key("shared"), &record(3, "x")).await;
    let mut holder = child(&folder.path(), "hold");
    let pid = holder.id();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("HELD")));

    let busy = store.lease(&key("shared"), clock::boot() + Span::from_millis(50)).await.unwrap_err();
    assert!(busy.to_string().contains(&format!("process {pid} on ")), "{busy}");
    holder.kill().unwrap();
    holder.wait().unwrap();
    let lease = store.lease(&key("shared"), soon()).await.unwrap();
    let left = lease.read().unwrap();
    assert_eq!((left.generation, left.refresh_token.clone()), (3, Some(Secret::from("refresh-x"))));
    let intent = left.intent.as_ref().unwrap();
    assert_eq!(intent.owner.pid, pid);
    assert_eq!(intent.refresh_token_hash, Some(TokenHash::of(&Secret::from("refresh-x"))));
}

#[tokio::test]
async fn a_cancelled_write_still_reaches_the_file_whole() {
    let folder = Folder::new();
    let store = folder.plain();
    put(&store, &key("a"), &record(1, "old")).await;
    {
        let mut lease = store.lease(&key("a"), soon()).await.unwrap();
        let new = record(2, "new");
        let write = lease.write(&new);
        tokio::select! { biased; _ = write => panic!("a write takes longer than one poll"), () = std::future::ready(()) => {} }
    }
    // The lease is free only after the write that was started under it.
    let lease = store.lease(&key("a"), soon()).await.unwrap();
    assert_eq!(lease.read(), Some(&record(2, "new")));
}

#[tokio::test]
async fn a_lease_whose_lock_file_was_removed_writes_nothing() {
    let folder = Folder::new();
    let store = folder.plain();
    let mut lost = store.lease(&key("a"), soon()).await.unwrap();
    lost.write(&record(1, "one")).await.unwrap();
    let lock =
        folder.names().into_iter().find(|name| name.len() > "store.lock".len() && name.ends_with(".lock")).unwrap();
    fs::remove_file(folder.0.path().join(lock)).unwrap();
    let mut second = store.lease(&key("a"), soon()).await.unwrap();
    assert!(matches!(lost.write(&record(2, "lost")).await, Err(StoreError::LeaseLost { .. })));
    second.write(&record(2, "second")).await.unwrap();
    assert_eq!(store.load(&key("a")).await.unwrap(), Some(record(2, "second")));
}

#[tokio::test]
async fn a_record_that_changed_under_the_lease_is_not_overwritten() {
    let folder = Folder::new();
    let mut lease = folder.plain().lease(&key("a"), soon()).await.unwrap();
    lease.write(&record(1, "one")).await.unwrap();
    let mut document: serde_json::Value = serde_json::from_slice(&fs::read(folder.path()).unwrap()).unwrap();
    document["credentials"][key("a").as_str()]["revision"] = 99.into();
    write_owner_only(&folder.path(), document.to_string().as_bytes());
    let error = lease.write(&record(2, "two")).await.unwrap_err();
    assert!(matches!(error, StoreError::Superseded { .. }), "{error}");
}

fn write_owner_only(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    set_mode(path, 0o600);
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
