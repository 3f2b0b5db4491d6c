//! Where the file lies and who else could touch it.

use super::*;

#[tokio::test]
async fn links_are_followed_and_share_one_lock() {
    let folder = Folder::new();
    let elsewhere = folder.0.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let link = folder.path();
    std::os::unix::fs::symlink("elsewhere/real", &link).unwrap();
    put(&folder.plain(), &key("a"), &record(1, "one")).await;
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "the link is still a link");
    let real = Store::File(FileStore::plain(&elsewhere.join("real")));
    assert_eq!(real.load(&key("a")).await.unwrap(), Some(record(1, "one")));
    let _held = real.lease(&key("a"), soon()).await.unwrap();
    assert!(folder.plain().lease(&key("a"), clock::boot()).await.is_err());
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("store", &link).unwrap();
    let error = folder.plain().load(&key("a")).await.unwrap_err();
    assert!(error.to_string().contains("too many symbolic links"), "{error}");
}

#[tokio::test]
async fn a_missing_folder_is_made_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let path = folder.0.path().join("new/deeper/store");
    let store = Store::File(FileStore::plain(&path));
    assert_eq!(store.load(&key("a")).await.unwrap(), None);
    put(&store, &key("a"), &record(1, "one")).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[tokio::test]
async fn files_and_folders_open_to_others_are_refused() {
    let folder = Folder::new();
    let store = folder.plain();
    put(&store, &key("a"), &record(1, "one")).await;
    for mode in [0o644, 0o640, 0o604, 0o660] {
        set_mode(&folder.path(), mode);
        let error = store.load(&key("a")).await.unwrap_err();
        assert!(error.to_string().contains(&format!("mode {mode:04o}")), "{error}");
        assert!(error.hint().contains("chmod 600"), "{}", error.hint());
    }
    set_mode(&folder.path(), 0o600);
    for mode in [0o777, 0o770, 0o1777] {
        set_mode(folder.0.path(), mode);
        let error = store.lease(&key("a"), soon()).await.unwrap_err();
        assert!(error.hint().contains("chmod 700"), "{error}");
    }
    set_mode(folder.0.path(), 0o755);
    assert!(store.lease(&key("a"), soon()).await.is_ok(), "a folder that others can list is accepted");
}

#[tokio::test]
async fn a_file_of_another_user_is_refused() {
    let folder = Folder::new();
    put(&folder.plain(), &key("a"), &record(1, "one")).await;
    if std::os::unix::fs::chown(folder.path(), Some(12_345), None).is_err() {
        // Only root can give files away; then the owner cannot be foreign here.
        assert_ne!(rustix::process::geteuid().as_raw(), 0);
        return;
    }
    let error = folder.plain().load(&key("a")).await.unwrap_err();
    assert!(error.to_string().contains("belongs to user 12345"), "{error}");
}

#[tokio::test]
async fn an_unusable_place_is_named_with_its_cause() {
    let folder = Folder::new();
    fs::write(folder.0.path().join("file"), "").unwrap();
    let store = Store::File(FileStore::plain(&folder.0.path().join("file/store")));
    let error = store.lease(&key("a"), soon()).await.unwrap_err();
    assert!(error.to_string().contains("/file"), "{error}");
    assert!(error.hint().contains("write"), "{}", error.hint());
}
