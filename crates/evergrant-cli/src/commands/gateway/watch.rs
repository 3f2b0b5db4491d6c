//! Waits until the content of a file has changed, whatever somebody did to change it.
//!
//! An editor writes beside the file and renames; Kubernetes swaps a symbolic link two levels up; a deployment writes in
//! place, in pieces. So the folders are watched and not the files, that of each link on the way included; what they
//! report is only a reason to look; and looking waits until nothing has been reported for a moment. What counts is the
//! content: a file that was touched, or replaced by its like, has not changed.
//!
//! Some file systems report nothing, and a folder that is not there cannot be watched. So there is a look every 30
//! seconds in any case.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

/// What is in a file, for comparing: its hash, or nothing if it cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Content(Option<u64>);

impl Content {
    /// What a file with this text holds.
    pub(crate) fn of(text: impl AsRef<[u8]>) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(text.as_ref());
        Self(Some(hasher.finish()))
    }
}

/// What is in a file now. A pipe has given what it has, and opening it again would wait for somebody to write into it.
pub(crate) fn content(path: &Path) -> Content {
    if !std::fs::metadata(path).is_ok_and(|found| found.is_file()) {
        return Content(None);
    }
    std::fs::read(path).map_or(Content(None), Content::of)
}

/// Watches files.
pub(crate) struct Watch {
    files: BTreeMap<PathBuf, Content>,
    /// Absent where the system reports nothing.
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    /// Is there something that was not watched when it was read?
    is_due: bool,
    reports: mpsc::Receiver<()>,
    _reporter: mpsc::Sender<()>,
}

impl Watch {
    /// Watches these files, whose content is known.
    pub(crate) fn start(files: Vec<(PathBuf, Content)>) -> Self {
        let (reporter, reports) = mpsc::channel(1);
        let sender = reporter.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| may_change(event.kind)) {
                // A report that is not taken yet says the same.
                _ = sender.try_send(());
            }
        });
        let watcher = watcher
            .map_err(|error| tracing::warn!(%error, "cannot watch the settings; looking every 30 s instead"))
            .ok();
        let files = files.into_iter().collect();
        let folders = BTreeSet::new();
        let mut watch = Self { files, watcher, folders, is_due: true, reports, _reporter: reporter };
        watch.look_around();
        watch
    }

    /// Ends when the content of a file has changed since it was last looked at, and whoever changed it seems to be done.
    pub(crate) async fn changed(&mut self) {
        loop {
            if !std::mem::take(&mut self.is_due) {
                // A look without a report finds what was not reported.
                _ = timeout(LOOK_EVERY, self.reports.recv()).await;
            }
            self.look_around();
            let before = self.files.clone();
            if self.look() {
                self.settle().await;
                self.look();
                if self.files != before {
                    return;
                }
            }
        }
    }

    /// Looks at the files now, for somebody who is about to read them.
    pub(crate) fn look(&mut self) -> bool {
        let mut has_changed = false;
        for (path, seen) in &mut self.files {
            let found = content(path);
            has_changed |= found != *seen;
            *seen = found;
        }
        has_changed
    }

    /// Watches these files from now on. What was seen of one before counts, for it may have changed since it was read.
    pub(crate) fn follow(&mut self, files: Vec<(PathBuf, Content)>) {
        let seen = |path: PathBuf, found| {
            let content = self.files.get(&path).copied().unwrap_or(found);
            (path, content)
        };
        self.files = files.into_iter().map(|(path, found)| seen(path, found)).collect();
        self.is_due = true;
        self.look_around();
    }

    /// Waits until nothing has been reported for a moment.
    async fn settle(&mut self) {
        let latest = Instant::now() + LONGEST_SETTLING;
        while Instant::now() < latest && timeout(QUIET, self.reports.recv()).await.is_ok() {
            // Reports are one at a time in the channel; without a pause a busy folder would be a busy loop.
            sleep(PAUSE).await;
        }
    }

    /// Watches the folders that matter now. One that was watched is watched anew: another may have taken its place.
    fn look_around(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let wanted: BTreeSet<PathBuf> = self.files.keys().flat_map(|path| folders(path)).collect();
        for gone in self.folders.difference(&wanted) {
            // It may not be there any more.
            _ = watcher.unwatch(gone);
        }
        self.folders = wanted;
        for folder in &self.folders {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::debug!(%error, folder = %folder.display(), "cannot watch a folder");
            }
        }
    }
}

/// Is it more than somebody reading?
fn may_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

/// The folders in which a change can give a path another content: its own, and that of every link on its way.
fn folders(path: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let mut todo: Vec<PathBuf> = std::path::absolute(path).into_iter().collect();
    let mut seen = BTreeSet::new();
    while let Some(path) = todo.pop() {
        if seen.len() == MOST_LINKS || !seen.insert(path.clone()) {
            continue;
        }
        folders.extend(path.parent().map(Path::to_owned));
        for link in path.ancestors() {
            let (Ok(target), Some(folder)) = (std::fs::read_link(link), link.parent()) else { continue };
            folders.insert(folder.to_owned());
            let rest = path.strip_prefix(link).unwrap_or_else(|_| Path::new(""));
            let target = folder.join(target);
            todo.push(if rest.as_os_str().is_empty() { target } else { target.join(rest) });
        }
    }
    folders
}

const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Longer than the pieces of one deployment are apart.
const QUIET: Duration = Duration::from_millis(200);
const LONGEST_SETTLING: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(10);
/// More links than any system follows.
const MOST_LINKS: usize = 64;

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, ModifyKind};

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("evergrant-watch-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder.canonicalize().unwrap()
    }

    #[test]
    fn every_link_on_the_way_to_a_file_is_watched() {
        let root = folder("links");
        std::fs::create_dir_all(root.join("releases/1")).unwrap();
        std::fs::write(root.join("releases/1/config.toml"), "").unwrap();
        std::os::unix::fs::symlink("releases/1", root.join("current")).unwrap();
        std::os::unix::fs::symlink("current/config.toml", root.join("config.toml")).unwrap();
        let watched = folders(&root.join("config.toml"));
        for folder in [root.clone(), root.join("current"), root.join("releases/1")] {
            assert!(watched.contains(&folder), "{} is not in {watched:?}", folder.display());
        }
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn links_in_a_circle_end() {
        let root = folder("circle");
        std::os::unix::fs::symlink("b", root.join("a")).unwrap();
        std::os::unix::fs::symlink("a", root.join("b")).unwrap();
        assert!(folders(&root.join("a/config.toml")).contains(&root));
        assert_eq!(content(&root.join("a")), Content(None));
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_pipe_is_not_waited_for_and_never_changes() {
        let root = folder("pipe");
        let pipe = root.join("secret");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let mut watch = Watch::start(vec![(pipe.clone(), content(&pipe))]);
        assert!(!watch.look());
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn reading_is_no_change() {
        assert!(!may_change(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!may_change(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        for kind in [
            EventKind::Access(AccessKind::Close(AccessMode::Write)),
            EventKind::Create(CreateKind::Any),
            EventKind::Modify(ModifyKind::Any),
        ] {
            assert!(may_change(kind), "{kind:?}");
        }
    }

    #[test]
    fn what_was_seen_before_counts_for_a_file_that_is_followed_on() {
        let root = folder("follow");
        let (one, two) = (root.join("one"), root.join("two"));
        std::fs::write(&one, "before").unwrap();
        let mut watch = Watch::start(vec![(one.clone(), content(&one))]);
        assert!(!watch.look());
        std::fs::write(&one, "after").unwrap();
        watch.follow(vec![(one.clone(), content(&one)), (two.clone(), content(&two))]);
        assert!(watch.look(), "it changed before it was read again");
        std::fs::write(&two, "new").unwrap();
        assert!(watch.look() && !watch.look());
        std::fs::remove_dir_all(root).unwrap();
    }
}
