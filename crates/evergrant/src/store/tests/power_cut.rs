//! The power is cut after each operation of real writes, and what a disk may hold then is read.
//!
//! What a disk may hold: everything that was synced; of a file that was not, nothing, any first part, or any first part
//! and zeros; of names that were not, any of the changes without the others. That is more than any one file system does.
//! A write that has returned must be there; one that has not may be there or not, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::super::operations::record::{self, Operation};
use super::*;

type Disk = BTreeMap<PathBuf, Vec<u8>>;

/// A file system between what it was told and what it has made durable.
#[derive(Clone, Default)]
struct Model {
    /// Every file's content as written, and whether it was synced.
    files: Vec<(Vec<u8>, bool)>,
    /// The names that are durable, and all changes since.
    durable: BTreeMap<PathBuf, usize>,
    pending: Vec<Change>,
    /// The names as a running program sees them.
    seen: BTreeMap<PathBuf, usize>,
}

#[derive(Clone)]
enum Change {
    Name(PathBuf, usize),
    Unname(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Name(path, file) => _ = names.insert(path.clone(), *file),
            Self::Unname(path) => _ = names.remove(path),
            Self::Rename(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
        }
    }
}

impl Model {
    fn with(disk: &Disk) -> Self {
        let mut model = Self::default();
        for (path, bytes) in disk {
            model.durable.insert(path.clone(), model.files.len());
            model.files.push((bytes.clone(), true));
        }
        model.seen = model.durable.clone();
        model
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Create(path) => {
                self.files.push((Vec::new(), true));
                self.change(Change::Name(path.clone(), self.files.len() - 1));
            }
            Operation::Write(path, bytes) => {
                let file = &mut self.files[self.seen[path]];
                file.0.extend_from_slice(bytes);
                file.1 = false;
            }
            Operation::Sync(path) => self.files[self.seen[path]].1 = true,
            Operation::Rename(from, to) => self.change(Change::Rename(from.clone(), to.clone(), self.seen[from])),
            Operation::Link(from, to) => self.change(Change::Name(to.clone(), self.seen[from])),
            Operation::Remove(path) => self.change(Change::Unname(path.clone())),
            Operation::SyncFolder(_) => {
                self.durable = self.seen.clone();
                self.pending.clear();
            }
            Operation::Returned(_) => {}
        }
    }

    /// Everything that the disk may hold if the power is cut now.
    fn after_a_cut(&self) -> BTreeSet<Disk> {
        let mut disks = BTreeSet::new();
        for kept in 0..1_u32 << self.pending.len() {
            let mut names = self.durable.clone();
            for (index, change) in self.pending.iter().enumerate() {
                if kept >> index & 1 == 1 {
                    change.apply(&mut names);
                }
            }
            let unsynced: Vec<usize> = (0..self.files.len())
                .filter(|file| !self.files[*file].1 && names.values().any(|named| named == file))
                .collect();
            assert!(unsynced.len() <= 1, "one file is written at a time");
            let whole = |torn: Option<(usize, &[u8])>| -> Disk {
                let content = |file: usize| match torn {
                    Some((other, bytes)) if other == file => bytes.to_vec(),
                    _ => self.files[file].0.clone(),
                };
                names.iter().map(|(path, file)| (path.clone(), content(*file))).collect()
            };
            disks.insert(whole(None));
            for file in unsynced {
                let bytes = &self.files[file].0;
                for cut in 0..bytes.len() {
                    let zeros = [&bytes[..cut], &vec![0; bytes.len() - cut]].concat();
                    disks.insert(whole(Some((file, &bytes[..cut]))));
                    disks.insert(whole(Some((file, &zeros))));
                }
            }
        }
        disks
    }
}

/// What the store says about a disk.
#[derive(Clone, PartialEq, Debug)]
enum Said {
    Record(Option<Box<Record>>),
    Damaged,
}

async fn reads(disk: &Disk, from: &Path) -> (Said, Folder) {
    let folder = Folder::new();
    for (path, bytes) in disk {
        write_owner_only(&folder.0.path().join(path.strip_prefix(from).unwrap()), bytes);
    }
    let said = match folder.plain().load(&key("a")).await {
        Ok(record) => Said::Record(record.map(Box::new)),
        Err(StoreError::Damaged { .. }) => Said::Damaged,
        Err(other) => panic!("{other}"),
    };
    (said, folder)
}

fn disk_of(folder: &Folder) -> Disk {
    let names = folder.names().into_iter().filter(|name| !name.ends_with(".lock"));
    names.map(|name| folder.0.path().join(name)).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Writes these records one after the other, and gives what was done to the disk.
async fn recorded(folder: &Folder, records: &[Record]) -> Vec<Operation> {
    let before = record::of(folder.0.path()).len();
    let mut lease = folder.plain().lease(&key("a"), soon()).await.unwrap();
    for one in records {
        lease.write(one).await.unwrap();
        record::note(Operation::Returned(folder.0.path().to_owned()));
    }
    record::of(folder.0.path()).split_off(before)
}

/// Cuts the power after each operation; gives how many disks were read, or what one of them said that it must not.
async fn cut_everywhere(start: &Disk, done: &[Operation], states: &[Said], from: &Path) -> Result<usize, String> {
    let mut model = Model::with(start);
    let mut seen = BTreeSet::new();
    for cut in 0..=done.len() {
        let returned = done[..cut].iter().filter(|one| matches!(one, Operation::Returned(_))).count();
        let allowed = &states[returned..states.len().min(returned + 2)];
        for disk in model.after_a_cut() {
            if !seen.insert((returned, disk.clone())) {
                continue;
            }
            let (said, folder) = reads(&disk, from).await;
            if !allowed.contains(&said) {
                return Err(format!("after {:?}: {said:?}", done[..cut].last()));
            }
            if said == Said::Damaged {
                let kept = fs::read(disk::with_suffix(&folder.path(), ".damaged-1")).unwrap();
                assert!(disk.values().any(|bytes| *bytes == kept));
            }
        }
        if let Some(next) = done.get(cut) {
            model.apply(next);
        }
    }
    Ok(seen.len())
}

fn said(record: Option<Record>) -> Said {
    Said::Record(record.map(Box::new))
}

/// A rotation: intent, then the answer.
fn rotation() -> [Record; 2] {
    let mut intended = record(1, "old");
    intended.intent = Some(Intent::new(intended.refresh_token.as_ref(), Stamp::of(clock::now(), None)));
    [intended, record(2, "new")]
}

#[tokio::test]
async fn a_power_cut_at_any_moment_leaves_the_old_or_the_new_state() {
    let folder = Folder::new();
    let from = folder.0.path().to_owned();
    let [intended, new] = rotation();
    let first = recorded(&folder, &[record(1, "old")]).await;
    let start = disk_of(&folder);
    let second = recorded(&folder, &[intended.clone(), new.clone()]).await;

    let states = [said(None), said(Some(record(1, "old")))];
    let read = cut_everywhere(&Disk::new(), &first, &states, &from).await.unwrap();
    assert!(read > 500, "only {read} disks were read");
    let states = [said(Some(record(1, "old"))), said(Some(intended)), said(Some(new))];
    let read = cut_everywhere(&start, &second, &states, &from).await.unwrap();
    assert!(read > 1_000, "only {read} disks were read");
}

#[tokio::test]
async fn the_next_writer_goes_on_from_any_power_cut() {
    let folder = Folder::new();
    let from = folder.0.path().to_owned();
    let done = recorded(&folder, &[record(1, "old"), record(2, "new")]).await;
    let mut model = Model::default();
    for operation in &done {
        model.apply(operation);
        for disk in model.after_a_cut().into_iter().step_by(7) {
            let (_, folder) = reads(&disk, &from).await;
            put(&folder.plain(), &key("a"), &record(3, "after")).await;
            assert_eq!(folder.plain().load(&key("a")).await.unwrap(), Some(record(3, "after")));
            assert!(folder.names().iter().all(|name| !name.ends_with(".new")), "{:?}", folder.names());
        }
    }
}

#[tokio::test]
async fn damage_that_was_found_is_kept_through_any_power_cut() {
    let folder = Folder::new();
    let from = folder.0.path().to_owned();
    let store = folder.plain();
    let mut lease = store.lease(&key("a"), soon()).await.unwrap();
    lease.write(&record(1, "old")).await.unwrap();
    let torn = b"{\"evergrant_store\":1,\"seal".to_vec();
    write_owner_only(&folder.path(), &torn);
    let start = disk_of(&folder);
    let before = record::of(&from).len();
    lease.write(&record(2, "new")).await.unwrap();
    record::note(Operation::Returned(from.clone()));
    let done = record::of(&from).split_off(before);
    let states = [Said::Damaged, said(None), said(Some(record(2, "new")))];
    let mut model = Model::with(&start);
    for operation in &done {
        model.apply(operation);
        for disk in model.after_a_cut() {
            assert!(disk.values().any(|bytes| *bytes == torn), "the damaged file is gone after {operation:?}");
            let (said, _) = reads(&disk, &from).await;
            assert!(states.contains(&said), "after {operation:?}: {said:?}");
        }
    }
    assert_eq!(reads(&disk_of(&folder), &from).await.0, states[2]);
}

#[test]
fn a_return_is_of_the_folder_that_was_written_into() {
    let (here, elsewhere) = (Folder::new(), Folder::new());
    record::note(Operation::Returned(elsewhere.0.path().to_owned()));
    assert_eq!(record::of(here.0.path()), [], "a test that runs beside this one is none of its business");
    assert_eq!(record::of(elsewhere.0.path()).len(), 1);
}

/// The simulation itself must find what it is there for.
#[tokio::test]
async fn without_one_of_its_syncs_a_write_would_be_found_out() {
    let folder = Folder::new();
    let from = folder.0.path().to_owned();
    recorded(&folder, &[record(1, "old")]).await;
    let start = disk_of(&folder);
    let done = recorded(&folder, &[record(2, "new")]).await;
    let states = [said(Some(record(1, "old"))), said(Some(record(2, "new")))];
    cut_everywhere(&start, &done, &states, &from).await.unwrap();
    let without = |unwanted: fn(&Operation) -> bool| -> Vec<Operation> {
        done.iter().filter(|operation| !unwanted(operation)).cloned().collect()
    };
    let torn = without(|operation| matches!(operation, Operation::Sync(_)));
    let said = cut_everywhere(&start, &torn, &states, &from).await.unwrap_err();
    assert!(said.contains("Damaged"), "{said}");
    let lost = without(|operation| matches!(operation, Operation::SyncFolder(_)));
    let said = cut_everywhere(&start, &lost, &states, &from).await.unwrap_err();
    assert!(said.contains("Returned") && said.contains("generation: 1"), "{said}");
}
