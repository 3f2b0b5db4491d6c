//! Handles: what callers hold instead of tokens.
//!
//! A handle is random text that means something to this gateway alone. The table keeps only the SHA-256 of each, so
//! neither a copy of this process's memory nor of its file gives anybody a handle that works; looking one up by its
//! hash also takes a time that tells nothing about the handles that exist.
//!
//! A handle has no end of its own: it ends by a logout, or when the table is full and it was the one unused for longest.
//! The one of a [`Welcome`](super::Welcome) does neither: nobody could be given another. What a handle stands for is a
//! [`Subject`]: the gateway's own credential, or a grant of one caller. Tokens come and go behind it. A table belongs to one [`scope`](HandleTable::new), the credential and the listener it was made for; with
//! another one its handles are unknown.
//!
//! Times are boot times of the last use, for eviction only. They are not kept over a restart; then the order in which
//! the handles were issued stands in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
pub(crate) use evergrant::settings::HANDLE_PREFIX as PREFIX;
use evergrant::settings::LOCAL_SECRET_PREFIX;
use evergrant_core::Secret;
use evergrant_core::time::Boot;
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a handle.
pub(crate) type Hash = [u8; 32];

/// Names a handle in logs and to whoever shares something out between callers; it opens nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct HandleId(pub(crate) u64);

impl fmt::Display for HandleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "h{}", self.0)
    }
}

/// What a handle stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Subject {
    /// The access token of the gateway's own credential.
    Own,
    /// The same, for whom the gateway was started for; it ends with this process and not before.
    Welcome,
    /// The access token of a caller's grant, by the grant's name.
    Access(Arc<str>),
    /// The refresh token of a caller's grant, by the grant's name.
    Refresh(Arc<str>),
}

impl Subject {
    /// The grant that it belongs to, unless it is the gateway's own credential.
    pub(crate) fn grant(&self) -> Option<&Arc<str>> {
        match self {
            Self::Own | Self::Welcome => None,
            Self::Access(grant) | Self::Refresh(grant) => Some(grant),
        }
    }
}

/// A handle that exists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Handle {
    pub(crate) id: HandleId,
    pub(crate) subject: Subject,
}

/// A handle as the table and its file know it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    pub(crate) hash: Hash,
    pub(crate) handle: Handle,
}

/// The handles of one gateway.
#[derive(Debug)]
pub(crate) struct HandleTable {
    entries: RwLock<Entries>,
    bound: usize,
}

#[derive(Debug, Default)]
struct Entries {
    by_hash: HashMap<Hash, Entry>,
    last_id: u64,
}

#[derive(Debug)]
struct Entry {
    handle: Handle,
    used: AtomicI64,
}

/// What issuing a handle brought about.
pub(crate) struct Issued {
    /// The handle, for its caller and nobody else.
    pub(crate) text: Secret,
    pub(crate) known: Known,
    /// The handle that had to make room.
    pub(crate) evicted: Option<Known>,
}

impl HandleTable {
    /// A table for at most `bound` handles, with those that are known from before.
    pub(crate) fn new(bound: usize, known: impl IntoIterator<Item = Known>) -> Self {
        let table = Self { entries: RwLock::default(), bound: bound.max(1) };
        for known in known {
            let mut entries = table.entries.write().unwrap_or_else(PoisonError::into_inner);
            entries.last_id = entries.last_id.max(known.handle.id.0);
            let used = AtomicI64::new(i64::MIN);
            entries.by_hash.insert(known.hash, Entry { handle: known.handle, used });
        }
        table
    }

    /// Makes a handle. Its text leaves this function and is kept nowhere.
    pub(crate) fn issue(&self, subject: Subject, now: Boot) -> Issued {
        let text = random_handle();
        let hash = hash_of(text.expose());
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let evicted = if entries.by_hash.len() >= self.bound { entries.evict() } else { None };
        entries.last_id += 1;
        let handle = Handle { id: HandleId(entries.last_id), subject };
        let used = AtomicI64::new(now.as_nanos());
        entries.by_hash.insert(hash, Entry { handle: handle.clone(), used });
        Issued { text, known: Known { hash, handle }, evicted }
    }

    /// The handle with this text, which is thereby used.
    pub(crate) fn look_up(&self, text: &str, now: Boot) -> Option<Handle> {
        let hash = hash_of(text);
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.by_hash.get(&hash)?;
        entry.used.fetch_max(now.as_nanos(), Ordering::Relaxed);
        Some(entry.handle.clone())
    }

    /// Ends a handle; gives what it was.
    pub(crate) fn end(&self, text: &str) -> Option<Known> {
        let hash = hash_of(text);
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.by_hash.remove(&hash).map(|entry| Known { hash, handle: entry.handle })
    }

    /// Ends all handles of a grant.
    pub(crate) fn end_grant(&self, grant: &str) -> Vec<Known> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let ended =
            entries.by_hash.extract_if(|_, entry| entry.handle.subject.grant().is_some_and(|name| **name == *grant));
        ended.map(|(hash, entry)| Known { hash, handle: entry.handle }).collect()
    }

    /// The access handles of a grant beyond the `kept` last used ones; they end.
    pub(crate) fn trim_grant(&self, grant: &str, kept: usize) -> Vec<Known> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let is_access = |entry: &Entry| matches!(&entry.handle.subject, Subject::Access(name) if **name == *grant);
        let mut of_grant: Vec<_> = entries
            .by_hash
            .iter()
            .filter(|(_, entry)| is_access(entry))
            .map(|(hash, entry)| (entry.age(), *hash))
            .collect();
        of_grant.sort_unstable();
        let excess = of_grant.len().saturating_sub(kept);
        let ended = of_grant.into_iter().take(excess);
        ended
            .filter_map(|(_, hash)| entries.by_hash.remove(&hash).map(|entry| Known { hash, handle: entry.handle }))
            .collect()
    }

    /// The grants that handles stand for.
    pub(crate) fn grants(&self) -> BTreeSet<Arc<str>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.by_hash.values().filter_map(|entry| entry.handle.subject.grant().cloned()).collect()
    }

    /// The grant none of whose handles was used for longest.
    pub(crate) fn idlest_grant(&self) -> Option<Arc<str>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let mut used: BTreeMap<&Arc<str>, (i64, HandleId)> = BTreeMap::new();
        for entry in entries.by_hash.values() {
            if let Some(grant) = entry.handle.subject.grant() {
                let last = used.entry(grant).or_insert((i64::MIN, HandleId(0)));
                *last = entry.age().max(*last);
            }
        }
        used.into_iter().min_by_key(|(_, last)| *last).map(|(grant, _)| Arc::clone(grant))
    }
}

impl Entries {
    /// Takes out the handle that was unused for longest, of those that can end.
    fn evict(&mut self) -> Option<Known> {
        let can_end = |(_, entry): &(&Hash, &Entry)| entry.handle.subject != Subject::Welcome;
        let (hash, _) = self.by_hash.iter().filter(can_end).min_by_key(|(_, entry)| entry.age())?;
        let hash = *hash;
        self.by_hash.remove(&hash).map(|entry| Known { hash, handle: entry.handle })
    }
}

impl Entry {
    /// Orders entries, the longest unused first.
    fn age(&self) -> (i64, HandleId) {
        (self.used.load(Ordering::Relaxed), self.handle.id)
    }
}

/// Is this the form of a handle of ours, known or not?
pub(crate) fn is_handle(text: &str) -> bool {
    text.starts_with(PREFIX)
}

pub(crate) fn hash_of(text: &str) -> Hash {
    Sha256::digest(text).into()
}

fn random_handle() -> Secret {
    random_behind(PREFIX)
}

/// What a caller can show at a login in place of a client secret. It is no handle, and looks like none.
pub(crate) fn random_local_secret() -> Secret {
    random_behind(LOCAL_SECRET_PREFIX)
}

/// 256 random bits behind a prefix.
fn random_behind(prefix: &str) -> Secret {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).expect("the operating system provides random bytes");
    let text = Secret::new(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)));
    bytes.fill(0);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Boot {
        Boot::from_secs(secs)
    }

    fn own(table: &HandleTable, secs: i64) -> Issued {
        table.issue(Subject::Own, at(secs))
    }

    #[test]
    fn a_handle_is_known_until_it_ends() {
        let table = HandleTable::new(9, []);
        let issued = own(&table, 1);
        let text = issued.text.expose();
        assert!(is_handle(text) && text.len() == PREFIX.len() + 43, "{}", text.len());
        assert_eq!(table.look_up(text, at(2)), Some(issued.known.handle.clone()));
        assert_eq!(table.look_up(&format!("{text}x"), at(2)), None);
        assert_eq!(table.look_up(PREFIX, at(2)), None);
        assert_eq!(table.end(text).map(|known| known.handle.id), Some(HandleId(1)));
        assert_eq!((table.look_up(text, at(3)), table.end(text)), (None, None));
    }

    #[test]
    fn two_handles_differ_and_the_table_holds_neither() {
        let table = HandleTable::new(9, []);
        let (one, other) = (own(&table, 1), own(&table, 1));
        assert_ne!(one.text, other.text);
        assert_ne!(one.known.handle.id, other.known.handle.id);
        let printed = format!("{table:?} {:?}", one.known);
        assert!(!printed.contains(PREFIX), "{printed}");
    }

    #[test]
    fn a_full_table_gives_up_the_handle_unused_for_longest() {
        let table = HandleTable::new(3, []);
        let handles: Vec<_> = (1..=3).map(|secs| own(&table, secs)).collect();
        assert!(table.look_up(handles[0].text.expose(), at(10)).is_some());
        let next = own(&table, 11);
        assert_eq!(next.evicted.map(|known| known.handle.id), Some(HandleId(2)));
        assert!(table.look_up(handles[1].text.expose(), at(12)).is_none());
        assert!(table.look_up(handles[0].text.expose(), at(12)).is_some());
        let kept = table.issue(Subject::Welcome, at(0));
        assert!(table.look_up(kept.text.expose(), at(13)).is_some());
        let evicted: Vec<_> = (14..20).filter_map(|secs| own(&table, secs).evicted).collect();
        assert!(evicted.len() == 6 && !evicted.contains(&kept.known), "it makes no room, whenever it was used");
    }

    #[test]
    fn handles_from_before_are_the_first_to_go_and_new_ones_have_new_ids() {
        let known = |id: u64| Known {
            hash: hash_of(&id.to_string()),
            handle: Handle { id: HandleId(id), subject: Subject::Own },
        };
        let table = HandleTable::new(3, [known(7), known(5)]);
        assert_eq!(own(&table, 1).known.handle.id, HandleId(8));
        assert_eq!(own(&table, 2).evicted.map(|known| known.handle.id), Some(HandleId(5)));
    }

    #[test]
    fn a_grant_ends_with_all_its_handles_and_keeps_its_newest_access_handles() {
        let table = HandleTable::new(9, []);
        let grant: Arc<str> = "g".into();
        let access: Vec<_> = (1..=3).map(|secs| table.issue(Subject::Access(Arc::clone(&grant)), at(secs))).collect();
        let refresh = table.issue(Subject::Refresh(Arc::clone(&grant)), at(0));
        let other = own(&table, 0);
        let trimmed = table.trim_grant("g", 2);
        assert_eq!(trimmed.iter().map(|known| known.handle.id).collect::<Vec<_>>(), [access[0].known.handle.id]);
        assert_eq!(table.grants().into_iter().collect::<Vec<_>>(), [Arc::clone(&grant)]);
        let later: Arc<str> = "later".into();
        table.issue(Subject::Refresh(Arc::clone(&later)), at(9));
        assert_eq!(table.idlest_grant(), Some(grant));
        assert_eq!(table.end_grant("g").len(), 3);
        assert!(table.look_up(refresh.text.expose(), at(4)).is_none());
        assert!(table.look_up(other.text.expose(), at(4)).is_some());
        assert_eq!(table.idlest_grant(), Some(later));
    }
}
