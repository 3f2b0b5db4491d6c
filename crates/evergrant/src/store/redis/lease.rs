//! A lease in Redis: acquired, kept alive, given back.

use std::sync::Arc;
use std::time::Duration;

use evergrant_core::keeper::{Claim as Waiting, Heart, Pause, takeover};
use evergrant_core::time::{Boot, Span};
use redis::Script;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::{Known, Shared, channel, lease_key, record_key, scripts, waiting_key};
use crate::clock;
use crate::store::record::{Owner, random_id};
use crate::store::tombstone::Damage;
use crate::store::{CredentialKey, Record, RedisFault, StoreError};

/// The right to refresh one credential of the fleet, until it is given back or lost.
pub(in crate::store) struct RedisLease {
    claim: Claim,
    fence: u64,
    record: Option<Record>,
    /// The generation that was read or written last.
    base: u64,
    /// The record that was written last, and how it was sealed: sent twice it must be the same.
    sealed: Option<(Record, String)>,
    is_lost: watch::Receiver<bool>,
    heart: AbortHandle,
}

/// An owner's name at one lease. Dropped, it gives the lease back, also if nobody knows whether it was acquired.
struct Claim {
    shared: Arc<Shared>,
    key: CredentialKey,
    owner: String,
    damage: Damage,
    is_over: bool,
}

impl RedisLease {
    pub(super) async fn acquire(
        shared: &Arc<Shared>,
        key: &CredentialKey,
        deadline: Boot,
        held: Option<&Record>,
        damage: Damage,
    ) -> Result<Self, StoreError> {
        let owner = format!("{} {}", random_id(), Owner::this_process());
        let mut claim = Claim { shared: Arc::clone(shared), key: key.clone(), owner, damage, is_over: false };
        let mut news = Shared::listen(shared, key).await;
        let mut waiting = Waiting::new(deadline, clock::boot());
        loop {
            // The last try begins before the deadline and has a moment of its own.
            let rest = |waiting: &Waiting| waiting.rest(clock::boot()).to_duration();
            let tried = tokio::time::timeout(rest(&waiting) + shared.link.patience() / 4, claim.try_once(held)).await;
            // It may have been acquired for all that is known: the claim gives it back.
            let tried = tried.map_err(|_| shared.link.error(RedisFault::TimedOut))??;
            let (holder, pause) = match tried {
                Tried::Acquired { fence, record } => return Ok(Self::new(claim, fence, record.map(|record| *record))),
                Tried::Busy { holder, left, turn } => (holder, waiting.handle_busy(left, turn, clock::boot())),
                Tried::StoreIsBehind => {
                    ("a process that repairs the store".to_owned(), waiting.handle_behind(clock::boot()))
                }
            };
            match pause {
                Pause::GiveUp { waited } => {
                    claim.is_over = true;
                    let what = format!("the lease in Redis at {}", shared.link.place());
                    return Err(StoreError::Busy { what, holder, waited });
                }
                Pause::Wait { look, turn, ends } => {
                    if tokio::time::timeout(look.to_duration(), news.changed()).await.is_ok() || ends {
                        tokio::time::sleep(turn.to_duration().min(rest(&waiting))).await;
                    }
                }
            }
        }
    }

    fn new(claim: Claim, fence: u64, record: Option<Record>) -> Self {
        let (lost, is_lost) = watch::channel(false);
        let heart = tokio::spawn(beat(Arc::clone(&claim.shared), claim.key.clone(), claim.owner.clone(), fence, lost));
        let base = record.as_ref().map_or(0, |record| record.generation);
        Self { claim, fence, record, base, sealed: None, is_lost, heart: heart.abort_handle() }
    }

    pub(in crate::store) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// The longest that one token request may take, so that it has ended before anybody else may begin.
    pub(in crate::store) fn request_time(&self) -> Duration {
        self.claim.shared.ttl.scaled(1, 2).to_duration()
    }

    /// Ends when the lease can no longer be relied on.
    pub(in crate::store) async fn lost(&self) {
        let mut is_lost = self.is_lost.clone();
        // The heart that ended without a word is as good as a loss.
        let _ = is_lost.wait_for(|is| *is).await;
    }

    /// Writes the record; the last write gives the lease back in the same step.
    pub(in crate::store) async fn write(&mut self, record: &Record, is_last: bool) -> Result<(), StoreError> {
        let Claim { shared, key, owner, .. } = &self.claim;
        let entry = match self.sealed.take() {
            Some((sealed, entry)) if sealed == *record => entry,
            Some(_) | None => shared.close(key, self.fence, record),
        };
        self.sealed = Some((record.clone(), entry.clone()));
        let script = Script::new(scripts::WRITE);
        let mut call = script.key(lease_key(key));
        call.key(record_key(key)).arg(owner).arg(shared.ttl.as_millis()).arg(self.fence).arg(self.base);
        call.arg(record.generation).arg(entry).arg(channel(key)).arg(u8::from(is_last));
        let (written, stored): (i64, u64) = shared.link.run(key, &call).await?;
        shared.note(key, Known { fence: self.fence, generation: stored });
        match written {
            1 => {}
            0 => return Err(StoreError::Superseded { stored, offered: record.generation }),
            _ => return Err(StoreError::LeaseTaken { place: shared.link.place() }),
        }
        self.base = record.generation;
        self.record = Some(record.clone());
        if is_last {
            self.heart.abort();
            self.claim.is_over = true;
        }
        Ok(())
    }

    pub(in crate::store) async fn release(mut self) {
        self.heart.abort();
        if !std::mem::replace(&mut self.claim.is_over, true) {
            self.claim.release().await;
        }
    }
}

impl Drop for RedisLease {
    fn drop(&mut self) {
        self.heart.abort();
    }
}

impl std::fmt::Debug for RedisLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisLease").field("key", &self.claim.key).field("fence", &self.fence).finish_non_exhaustive()
    }
}

enum Tried {
    Acquired {
        fence: u64,
        record: Option<Box<Record>>,
    },
    /// The lease is somebody's for this long, and then first that of those whose turn comes earlier.
    Busy {
        holder: String,
        left: Span,
        turn: Span,
    },
    StoreIsBehind,
}

/// What `ACQUIRE` answers.
type Answer = (i64, i64, i64, String, String, i64, String);

impl Claim {
    /// The name among those who wait.
    fn member(&self) -> &str {
        self.owner.split(' ').next().unwrap_or_default()
    }

    /// Tries to acquire. A store that has lost what this process holds is repaired.
    async fn try_once(&self, held: Option<&Record>) -> Result<Tried, StoreError> {
        let known = self.shared.known(&self.key).generation;
        let tried = self.try_acquire(known.max(held.map_or(0, |held| held.generation))).await?;
        if let (Tried::StoreIsBehind, Some(held)) = (&tried, held) {
            self.shared.write_back(&self.key, held).await?;
        }
        Ok(tried)
    }

    async fn try_acquire(&self, generation: u64) -> Result<Tried, StoreError> {
        let Self { shared, key, owner, .. } = self;
        let sent = clock::boot();
        let script = Script::new(scripts::ACQUIRE);
        let mut call = script.key(lease_key(key));
        call.key(record_key(key)).key(waiting_key(key)).arg(owner).arg(shared.ttl.as_millis());
        call.arg(shared.known(key).fence).arg(generation).arg(self.member());
        let (acquired, secs, micros, fence_or_holder, entry_or_fence, left_ms, waiting): Answer =
            shared.link.run(key, &call).await?;
        shared.note_time(secs, micros, sent);
        match acquired {
            1 => {
                let fence = fence_or_holder.parse().unwrap_or(0);
                let record = self.open(&entry_or_fence).await?.map(Box::new);
                let generation = record.as_ref().map_or(0, |record| record.generation);
                shared.note(key, Known { fence, generation });
                Ok(Tried::Acquired { fence, record })
            }
            0 => {
                // Its first word tells apart the leases of one process; nobody's name is a repair of the store.
                let holder =
                    fence_or_holder.split_once(' ').map_or("whoever refreshed before the loss", |(_, who)| who);
                let holder = holder.to_owned();
                let rank = takeover::rank(waiting.split(' '), self.member(), entry_or_fence.parse().unwrap_or(0));
                let turn = takeover::turn(rank, shared.ttl);
                Ok(Tried::Busy { holder, left: Span::from_millis(left_ms.max(0)), turn })
            }
            _ => Ok(Tried::StoreIsBehind),
        }
    }

    async fn open(&self, entry: &str) -> Result<Option<Record>, StoreError> {
        match self.shared.open(&self.key, entry) {
            Err(StoreError::Redis { fault: RedisFault::Damaged(_), .. }) if self.damage == Damage::IsOverlooked => {
                let generation = self.shared.generation(&self.key).await?;
                Ok(Some(Record { generation, ..Record::default() }))
            }
            opened => opened,
        }
    }

    async fn release(&self) {
        let script = Script::new(scripts::RELEASE);
        let mut call = script.key(lease_key(&self.key));
        call.key(record_key(&self.key)).key(waiting_key(&self.key));
        call.arg(&self.owner).arg(channel(&self.key)).arg(self.member());
        if let Err(error) = self.shared.link.run::<i64>(&self.key, &call).await {
            tracing::debug!(%error, "the lease was not given back; it ends with its time to live");
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let (shared, key, owner) = (Arc::clone(&self.shared), self.key.clone(), self.owner.clone());
        let copy = Self { shared, key, owner, damage: self.damage, is_over: true };
        // Without a runtime the process is ending, and the lease with its time to live.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(async move { copy.release().await }));
        }
    }
}

/// Renews the lease until it is given back, and tells when it is lost.
async fn beat(shared: Arc<Shared>, key: CredentialKey, owner: String, fence: u64, lost: watch::Sender<bool>) {
    let mut heart = Heart::new(shared.ttl, clock::boot());
    loop {
        tokio::time::sleep((heart.next_beat() - clock::boot()).to_duration()).await;
        let sent = clock::boot();
        if heart.is_lost(sent) {
            tracing::warn!(redis = shared.link.place(), "the lease could not be renewed and is given up");
            break;
        }
        let script = Script::new(scripts::HEARTBEAT);
        let mut call = script.key(lease_key(&key));
        call.key(record_key(&key)).arg(&owner).arg(shared.ttl.as_millis()).arg(fence);
        match tokio::time::timeout((heart.ends() - sent).to_duration(), shared.link.run::<i64>(&key, &call)).await {
            Ok(Ok(1)) => heart.handle_confirmed(sent),
            Ok(Ok(_)) => {
                tracing::warn!(redis = shared.link.place(), "the lease was taken over by another process");
                break;
            }
            Ok(Err(_)) | Err(_) => heart.handle_missed(clock::boot()),
        }
    }
    // Nobody may be listening any more.
    let _ = lost.send(true);
}
