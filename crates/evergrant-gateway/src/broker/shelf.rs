//! Handles over a restart: a file beside the store.
//!
//! The file holds hashes, ids and what each handle stands for; nobody can make a handle of it. Changes are collected
//! and written together: a login waits until the file holds its handle, and logins that come meanwhile share the next
//! write. What other processes with the same store have written stays: each write reads the file, applies its own
//! changes, and replaces it, under a lock.
//!
//! If the file cannot be written, handles work until this process ends, and the log says so. If it cannot be read, or
//! says nothing that makes sense, there are no handles from before; callers log in again.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use evergrant::store::PrivateFile;
use serde::{Deserialize, Serialize};

use super::handles::{Handle, HandleId, Hash, Known, Subject};

/// The file, or nothing where handles need not outlive the process.
#[derive(Debug)]
pub(crate) struct Shelf {
    file: Option<PrivateFile>,
    scope: String,
    pending: Mutex<Vec<Change>>,
    /// Held while the file is written.
    writing: tokio::sync::Mutex<()>,
}

/// What has to be written.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// A handle was made.
    Made(Known),
    /// A handle ended.
    Ended(Hash),
}

impl Change {
    fn hash(&self) -> &Hash {
        match self {
            Self::Made(known) => &known.hash,
            Self::Ended(hash) => hash,
        }
    }
}

/// The file's content.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    handles: Vec<Line>,
}

/// One handle in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// The credential and listener that it belongs to.
    scope: String,
    id: u64,
    sha256: String,
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grant: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Own,
    Access,
    Refresh,
}

impl Shelf {
    /// A shelf in `file` for the handles of one scope.
    pub(crate) fn new(file: Option<PrivateFile>, scope: String) -> Self {
        Self { file, scope, pending: Mutex::default(), writing: tokio::sync::Mutex::default() }
    }

    /// The handles from before.
    pub(crate) fn known(&self) -> Vec<Known> {
        let Some(file) = &self.file else { return Vec::new() };
        match file.read() {
            Ok(None) => Vec::new(),
            Ok(Some(bytes)) => match Document::parse(&bytes) {
                Some(document) => {
                    document.handles.iter().filter(|line| line.scope == self.scope).filter_map(Line::known).collect()
                }
                None => {
                    tracing::error!("the file with the callers' handles is damaged; callers have to log in again");
                    Vec::new()
                }
            },
            Err(error) => {
                tracing::error!(%error, hint = error.hint(), "the callers' handles cannot be read; callers have to log in again");
                Vec::new()
            }
        }
    }

    /// Notes changes; [`Shelf::settle`] writes them.
    pub(crate) fn note(&self, changes: impl IntoIterator<Item = Change>) {
        if self.file.is_some() {
            self.pending.lock().unwrap_or_else(PoisonError::into_inner).extend(changes);
        }
    }

    /// Returns when everything noted so far is in the file, or the log says why not.
    pub(crate) async fn settle(&self) {
        let Some(file) = &self.file else { return };
        let _writing = self.writing.lock().await;
        let changes = std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        if changes.is_empty() {
            return;
        }
        let (scope, kept) = (self.scope.clone(), changes.clone());
        let written = file.update(move |before| Some(Document::changed(before.as_deref(), &scope, &changes))).await;
        if let Err(error) = written {
            tracing::error!(%error, hint = error.hint(), "the callers' handles cannot be stored; they end with this process");
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.splice(..0, kept);
            let excess = pending.len().saturating_sub(PENDING_KEPT);
            pending.drain(..excess);
        }
    }
}

impl Document {
    fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|document: &Self| document.version == VERSION)
    }

    /// The file's bytes after some changes in one scope.
    fn changed(before: Option<&[u8]>, scope: &str, changes: &[Change]) -> Vec<u8> {
        let mut document = before.and_then(Self::parse).unwrap_or(Self { version: VERSION, handles: Vec::new() });
        let touched: BTreeSet<String> = changes.iter().map(|change| hex(change.hash())).collect();
        document.handles.retain(|line| !touched.contains(&line.sha256));
        let ended: BTreeSet<&Hash> =
            changes.iter().filter(|change| matches!(change, Change::Ended(_))).map(Change::hash).collect();
        document.handles.extend(changes.iter().filter_map(|change| match change {
            Change::Made(known) if !ended.contains(&known.hash) => Line::of(scope, known),
            Change::Made(_) | Change::Ended(_) => None,
        }));
        let of_scope = document.handles.iter().filter(|line| line.scope == scope).count();
        let mut excess = of_scope.saturating_sub(LINES_PER_SCOPE);
        // Oldest first: lines are only ever added at the end.
        document.handles.retain(|line| {
            let goes = excess > 0 && line.scope == scope;
            excess -= usize::from(goes);
            !goes
        });
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

impl Line {
    /// The line of a handle, unless it ends with its process.
    fn of(scope: &str, known: &Known) -> Option<Self> {
        let (kind, grant) = match &known.handle.subject {
            Subject::Welcome => return None,
            Subject::Own => (Kind::Own, None),
            Subject::Access(grant) => (Kind::Access, Some(grant.to_string())),
            Subject::Refresh(grant) => (Kind::Refresh, Some(grant.to_string())),
        };
        Some(Self { scope: scope.to_owned(), id: known.handle.id.0, sha256: hex(&known.hash), kind, grant })
    }

    fn known(&self) -> Option<Known> {
        let subject = match (self.kind, &self.grant) {
            (Kind::Own, None) => Subject::Own,
            (Kind::Access, Some(grant)) => Subject::Access(grant.as_str().into()),
            (Kind::Refresh, Some(grant)) => Subject::Refresh(grant.as_str().into()),
            (Kind::Own, Some(_)) | (Kind::Access | Kind::Refresh, None) => return None,
        };
        Some(Known { hash: unhex(&self.sha256)?, handle: Handle { id: HandleId(self.id), subject } })
    }
}

fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if text.len() != 2 * hash.len() || !text.is_ascii() {
        return None;
    }
    for (byte, at) in hash.iter_mut().zip((0..text.len()).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(hash)
}

const VERSION: u32 = 1;
/// Changes kept for the next write while the file cannot be written.
const PENDING_KEPT: usize = 2 * super::MOST_HANDLES;
/// Several processes may add to one file; each of them bounds only its own table.
const LINES_PER_SCOPE: usize = 2 * super::MOST_HANDLES;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use evergrant_core::time::Boot;

    use super::super::handles::HandleTable;
    use super::*;

    fn known(text: &str, subject: Subject) -> Known {
        Known { hash: super::super::handles::hash_of(text), handle: Handle { id: HandleId(7), subject } }
    }

    #[test]
    fn what_is_written_reads_back() {
        let grant: Arc<str> = "g".into();
        let all = [
            known("a", Subject::Own),
            known("b", Subject::Access(Arc::clone(&grant))),
            known("c", Subject::Refresh(grant)),
        ];
        let bytes = Document::changed(None, "s", &all.clone().map(Change::Made));
        let document = Document::parse(&bytes).unwrap();
        assert_eq!(document.handles.iter().filter_map(Line::known).collect::<Vec<_>>(), all);
        let fewer = Document::changed(Some(&bytes), "s", &[Change::Ended(all[1].hash)]);
        assert_eq!(Document::parse(&fewer).unwrap().handles.len(), 2);
    }

    #[test]
    fn damage_is_no_handles_and_is_replaced_by_the_next_login() {
        for damage in ["", "{", "[]", r#"{"version":2,"handles":[]}"#, "null"] {
            assert!(Document::parse(damage.as_bytes()).is_none(), "{damage}");
            let mended = Document::changed(Some(damage.as_bytes()), "s", &[Change::Made(known("a", Subject::Own))]);
            assert_eq!(Document::parse(&mended).unwrap().handles.len(), 1);
        }
        let line = r#"{"version":1,"handles":[{"scope":"s","id":1,"sha256":"é","kind":"own"}]}"#;
        assert_eq!(Document::parse(line.as_bytes()).unwrap().handles[0].known(), None);
    }

    #[test]
    fn the_file_is_bounded_for_each_scope() {
        let made = |n: usize| Change::Made(known(&n.to_string(), Subject::Own));
        let other = Document::changed(None, "other", &[made(usize::MAX)]);
        let many: Vec<_> = (0..LINES_PER_SCOPE + 5).map(made).collect();
        let document = Document::parse(&Document::changed(Some(&other), "s", &many)).unwrap();
        assert_eq!(document.handles.len(), LINES_PER_SCOPE + 1);
        assert_eq!(document.handles[1].sha256, hex(&super::super::handles::hash_of("5")));
    }

    #[tokio::test]
    async fn handles_outlive_a_process_but_not_their_scope() {
        let folder = std::env::temp_dir().join(format!("evergrant-shelf-{}", std::process::id()));
        let file = || Some(PrivateFile::new(folder.join("handles")));
        let shelf = Shelf::new(file(), "s".to_owned());
        let table = HandleTable::new(9, shelf.known());
        let issued = table.issue(Subject::Own, Boot::from_secs(1));
        shelf.note([Change::Made(issued.known.clone())]);
        shelf.settle().await;

        let text = std::fs::read_to_string(folder.join("handles")).unwrap();
        assert!(!text.contains(issued.text.expose()) && !text.contains("eg1_"), "{text}");
        let later = HandleTable::new(9, Shelf::new(file(), "s".to_owned()).known());
        assert_eq!(later.look_up(issued.text.expose(), Boot::from_secs(2)), Some(issued.known.handle.clone()));
        assert!(Shelf::new(file(), "another".to_owned()).known().is_empty());

        shelf.note([Change::Ended(issued.known.hash)]);
        shelf.settle().await;
        assert!(Shelf::new(file(), "s".to_owned()).known().is_empty());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
