//! A store that the doctor finds something wrong with.

use super::*;

#[cfg(unix)]
#[test]
fn a_store_that_others_can_read_is_found() {
    let provider = genesys();
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let path = folder.file("store", "{}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let run = doctor_of(&provider).env("EVERGRANT_STORE", format!("file+plain:{path}"));
    let remedy = format!("run `chmod 600 {path}`");
    let expected = Expected {
        check: "store",
        cause: "",
        evidence: "is open to other users (mode 0644, expected 0600)",
        remedy: &remedy,
    };
    expected.is_the_fault_of(run);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}", "looking changes nothing");
}

#[test]
fn a_store_that_cannot_be_written_is_found() {
    let provider = genesys();
    let folder = Folder::new();
    let file = folder.file("no-folder", "");
    let run = doctor_of(&provider).env("EVERGRANT_STORE", format!("file+plain:{file}/store"));
    let expected =
        Expected { check: "store", cause: "", evidence: "cannot", remedy: "a folder that this user can write" };
    expected.is_the_fault_of(run);
}

#[cfg(unix)]
#[test]
fn a_store_that_somebody_holds_is_found() {
    let provider = genesys();
    use std::os::unix::fs::OpenOptionsExt as _;
    let folder = Folder::new();
    let path = folder.path().join("store");
    let lock = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path.with_extension("lock"));
    let mut lock = lock.unwrap();
    lock.write_all(b"the test").unwrap();
    lock.lock().unwrap();
    let run = doctor_of(&provider).env("EVERGRANT_STORE", format!("file+plain:{}", path.display()));
    let expected = Expected {
        check: "store",
        cause: "",
        evidence: "the store is busy: the test has held store.lock",
        remedy: "wait for the other process",
    };
    expected.is_a_warning_of(run);
}

#[cfg(unix)]
#[test]
fn a_damaged_store_is_found_and_left_where_it_is() {
    let provider = genesys();
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let path = folder.file("store", "{\"evergrant-store\":");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let run = doctor_of(&provider).env("EVERGRANT_STORE", format!("file+plain:{path}"));
    let expected = Expected { check: "store", cause: "", evidence: "left untouched", remedy: "another path" };
    expected.is_the_fault_of(run);
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["store"]);
}
