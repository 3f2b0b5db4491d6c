//! Which stored revisions a lease may write over.
//!
//! A revision that the lease has neither read nor written is another process's. After a write that failed nobody knows
//! whether it was done, so what was tried counts as its own beside what it saw last, however often it fails.

/// The revisions of one lease.
#[derive(Debug)]
pub(super) struct Revisions {
    /// The one that was read or written last.
    seen: Option<u64>,
    /// The one that was tried last.
    tried: Option<u64>,
}

impl Revisions {
    /// Those of a lease that has read this one.
    pub(super) const fn read(seen: Option<u64>) -> Self {
        Self { seen, tried: None }
    }

    /// Did this lease read, write or try to write that revision?
    pub(super) fn are_ours(&self, revision: u64) -> bool {
        [self.seen, self.tried].contains(&Some(revision))
    }

    /// The revision to try now, above the one that is stored.
    pub(super) fn next(&mut self, stored: Option<u64>) -> u64 {
        let revision = stored.max(self.seen).unwrap_or(0).saturating_add(1);
        self.tried = Some(revision);
        revision
    }

    /// The store has acknowledged it.
    pub(super) const fn note_written(&mut self, revision: u64) {
        self.seen = Some(revision);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_that_fail_take_nothing_from_the_lease() {
        for start in [None, Some(7)] {
            let mut lease = Revisions::read(start);
            for _ in 0..5 {
                // Nothing was written.
                assert!(start.is_none_or(|start| lease.are_ours(start)), "{lease:?}");
                lease.next(start);
            }
            // The last one was written although it failed.
            let tried = lease.next(start);
            assert!(lease.are_ours(tried) && !lease.are_ours(tried + 1), "{lease:?}");
            let next = lease.next(Some(tried));
            lease.note_written(next);
            assert!(next > tried && lease.are_ours(next) && !lease.are_ours(tried), "{lease:?}");
        }
    }
}
