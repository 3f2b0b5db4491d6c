//! The store that a fleet shares: Redis or Valkey.
//!
//! A record lies in a hash, sealed before it leaves the process, and a lease beside it: the owner's name with a time to
//! live, renewed every third of it by a task of its own. An owner that could not renew for two thirds of it takes its
//! lease for lost, so that its request has ended before another one may begin. A process that was stopped and wakes up
//! late finds its fence overtaken and changes nothing (see `scripts`).
//!
//! What is committed is published, so that the others adopt it at once; whoever misses the message sees it at the next
//! poll. Every member holds a copy of the record that it used last and writes it back where Redis lost it.
//!
//! Times are told by Redis' own clock, the only one that all members see. Whether it is right does not matter, as long
//! as it does not jump; a jump is reported.
//!
//! Limits: a credential is on one server, that is written to (`link` says how it is found). As durable as that server's
//! persistence and replication: an acknowledged write that is lost with it, and with every member that knew it, is lost.

mod lease;
mod line;
mod link;
mod scripts;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evergrant_core::time::{Boot, OffsetInterval, Server, Span};
use redis::Script;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use super::format::{self, Entry, Sealing};
use super::redis_fault::RedisFault;
use super::redis_safety::RedisSafety;
use super::tombstone::Damage;
use super::{Contents, CredentialKey, Listed, Record, RedisUrl, SealKey, StoreError, StoreOptions};
use crate::clock;
use crate::tls::Tls;
pub(super) use lease::RedisLease;
use link::Link;

/// Records in Redis, shared by every process that names the same server and key.
#[derive(Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
}

struct Shared {
    link: Link,
    sealing: Sealing,
    key_id: String,
    ttl: Span,
    known: Mutex<BTreeMap<CredentialKey, Known>>,
    clock: Mutex<Option<OffsetInterval>>,
}

/// The furthest that this process has seen of one credential.
#[derive(Clone, Copy, Default)]
struct Known {
    fence: u64,
    generation: u64,
}

/// A record as Redis holds it.
#[derive(Serialize, Deserialize)]
struct Wrapped {
    evergrant_store: u64,
    key_id: String,
    entry: Entry,
}

impl RedisStore {
    /// The store at `url` with records sealed with `key`. Connects at the first use.
    #[must_use]
    pub fn new(url: &RedisUrl, key: SealKey, options: &StoreOptions) -> Self {
        let ttl = options.lease_ttl.clamp(SHORTEST_TTL, LONGEST_TTL);
        let patience = ttl.scaled(1, 3).to_duration().min(LONGEST_ANSWER);
        let link =
            Link::new(url.clone(), Arc::new(Tls::new(options.ca_file.clone())), patience, options.allow_insecure);
        let key_id = key.id().to_owned();
        let sealing = Sealing::Sealed(key);
        let (known, clock) = (Mutex::default(), Mutex::default());
        Self { shared: Arc::new(Shared { link, sealing, key_id, ttl, known, clock }) }
    }

    pub(super) async fn load(&self, key: &CredentialKey) -> Result<Option<Record>, StoreError> {
        let sent = clock::boot();
        let script = Script::new(scripts::READ);
        let (secs, micros, generation, entry): (i64, i64, u64, String) =
            self.shared.link.run(key, &script.key(record_key(key))).await?;
        self.shared.note_time(secs, micros, sent);
        self.shared.note(key, Known { generation, fence: 0 });
        self.shared.open(key, &entry)
    }

    /// Every record there. A server with many other keys takes its time, a few at once, and answers others meanwhile.
    pub(super) async fn contents(&self) -> Result<Contents, StoreError> {
        let mut keys = BTreeSet::new();
        for server in self.shared.link.servers().await? {
            let mut cursor = 0_u64;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg("evergrant:{*}:record").arg("COUNT").arg(1_000);
                let (next, names): (u64, Vec<String>) = self.shared.link.ask_at(&server, &scan).await?;
                keys.extend(names.iter().filter_map(|name| key_of_record(name)));
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        let mut credentials = Vec::new();
        for key in keys {
            match self.load(&key).await {
                // Leased and not written yet: there is only its fence.
                Ok(None) => {}
                Ok(Some(record)) => credentials.push(Listed { key, record: Ok(record) }),
                Err(StoreError::Redis { fault: fault @ (RedisFault::Damaged(_) | RedisFault::WrongKey), .. }) => {
                    credentials.push(Listed { key, record: Err(fault.to_string()) });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Contents { exists: !credentials.is_empty(), credentials, beside: Vec::new() })
    }

    /// What the server keeps and what it throws away, as far as this user may ask.
    pub(super) async fn safety(&self) -> Result<RedisSafety, StoreError> {
        let info: String = self.shared.link.ask_any(&redis::cmd("INFO")).await?;
        let mut setting = redis::cmd("CONFIG");
        // Managed services forbid it; then the answer is that nobody knows.
        let told: Option<BTreeMap<String, String>> =
            self.shared.link.ask_any(setting.arg("GET").arg("save")).await.ok();
        Ok(RedisSafety::read(&info, told.as_ref().and_then(|told| told.get("save")).map(String::as_str)))
    }

    pub(super) async fn lease(
        &self,
        key: &CredentialKey,
        deadline: Boot,
        held: Option<&Record>,
        damage: Damage,
    ) -> Result<RedisLease, StoreError> {
        RedisLease::acquire(&self.shared, key, deadline, held, damage).await
    }

    /// The generation of the record there; one command.
    pub(super) async fn generation(&self, key: &CredentialKey) -> Result<u64, StoreError> {
        self.shared.generation(key).await
    }

    /// Restores what Redis has lost: a record that this process holds and that is newer than the one there.
    pub(super) async fn write_back(&self, key: &CredentialKey, record: &Record) -> Result<(), StoreError> {
        self.shared.write_back(key, record).await
    }

    /// How Redis' clock stood to the boot clock when it was read last.
    pub(super) fn time_offset(&self) -> Option<OffsetInterval> {
        *self.shared.clock()
    }

    /// Tells when something was published about this credential.
    pub(super) async fn listen(&self, key: &CredentialKey) -> News {
        Shared::listen(&self.shared, key).await
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisStore({})", self.shared.link.place())
    }
}

/// Messages about one credential.
pub(super) struct News {
    shared: Arc<Shared>,
    channel: String,
    messages: broadcast::Receiver<Arc<str>>,
}

impl News {
    /// Waits until the record may have changed.
    pub(super) async fn changed(&mut self) {
        loop {
            match self.messages.recv().await {
                Ok(channel) if !channel.is_empty() && *channel != *self.channel => {}
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
                Err(broadcast::error::RecvError::Closed) => std::future::pending::<()>().await,
            }
        }
    }
}

impl Drop for News {
    fn drop(&mut self) {
        self.shared.link.forget(&self.channel);
    }
}

impl Shared {
    async fn listen(shared: &Arc<Self>, key: &CredentialKey) -> News {
        let channel = channel(key);
        let messages = shared.link.listen(key, &channel).await;
        News { shared: Arc::clone(shared), channel, messages }
    }

    async fn generation(&self, key: &CredentialKey) -> Result<u64, StoreError> {
        let mut command = redis::cmd("HGET");
        let generation: Option<u64> = self.link.ask(key, command.arg(record_key(key)).arg("generation")).await?;
        Ok(generation.unwrap_or(0))
    }

    /// An older copy than the newest known would bring back a refresh token that is spent, so that is left out.
    async fn write_back(&self, key: &CredentialKey, record: &Record) -> Result<(), StoreError> {
        let Known { fence, generation } = self.known(key);
        if record.generation < generation {
            return Ok(());
        }
        let script = Script::new(scripts::WRITE_BACK);
        let mut call = script.key(lease_key(key));
        call.key(record_key(key)).arg(self.ttl.as_millis()).arg(fence).arg(record.generation);
        let was_lost: bool = self.link.run(key, call.arg(self.close(key, fence, record)).arg(channel(key))).await?;
        if was_lost {
            tracing::warn!(
                redis = self.link.place(),
                generation = record.generation,
                hint = "set maxmemory-policy noeviction, and appendonly yes or a replica that is promoted",
                "Redis had lost a record (evicted, emptied, restarted without its data, or an older replica took over); it was written back"
            );
        }
        Ok(())
    }

    fn close(&self, key: &CredentialKey, revision: u64, record: &Record) -> String {
        let entry = Entry::close(&self.sealing, key, revision, record);
        let wrapped = Wrapped { evergrant_store: format::VERSION, key_id: self.key_id.clone(), entry };
        serde_json::to_string(&wrapped).expect("an entry of strings and numbers always serialises")
    }

    fn open(&self, key: &CredentialKey, text: &str) -> Result<Option<Record>, StoreError> {
        if text.is_empty() {
            return Ok(None);
        }
        let damaged = |cause: String| self.link.error(RedisFault::Damaged(cause));
        let wrapped: Wrapped =
            serde_json::from_str(text).map_err(|_| damaged("it is not a record of this version".to_owned()))?;
        if wrapped.evergrant_store != format::VERSION {
            return Err(damaged(format!("its format version is {}", wrapped.evergrant_store)));
        }
        if wrapped.key_id != self.key_id {
            return Err(self.link.error(RedisFault::WrongKey));
        }
        wrapped.entry.open(&self.sealing, key).map(Some).map_err(damaged)
    }

    fn known(&self, key: &CredentialKey) -> Known {
        self.all_known().get(key).copied().unwrap_or_default()
    }

    fn note(&self, key: &CredentialKey, seen: Known) {
        let mut all = self.all_known();
        let known = all.entry(key.clone()).or_default();
        known.fence = known.fence.max(seen.fence);
        known.generation = known.generation.max(seen.generation);
    }

    fn all_known(&self) -> MutexGuard<'_, BTreeMap<CredentialKey, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clock(&self) -> MutexGuard<'_, Option<OffsetInterval>> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in Redis' time from an answer that was asked for at `sent` and is here now.
    fn note_time(&self, secs: i64, micros: i64, sent: Boot) {
        let now = clock::now();
        let time = Server::from_nanos(secs.saturating_mul(1_000_000_000).saturating_add(micros.saturating_mul(1_000)));
        let Some(offset) = OffsetInterval::new(time - now.boot, time + RESOLUTION - sent) else { return };
        let before = self.clock().replace(offset);
        let wall = Server::from_nanos(now.wall.as_nanos());
        let ahead = time - wall;
        let place = self.link.place();
        let hint = "set the clock of the Redis host and keep it right with NTP: a jump ahead ends leases early";
        match before {
            Some(before) if offset.lo - before.hi > STEP || before.lo - offset.hi > STEP => {
                let jump_s = (offset.lo - before.lo).as_secs_f64();
                tracing::warn!(
                    redis = place,
                    jump_s,
                    hint,
                    "the clock of Redis has jumped: stored times are not exact"
                );
            }
            None if ahead.abs() > WRONG => {
                tracing::warn!(
                    redis = place,
                    ahead_s = ahead.as_secs_f64(),
                    hint,
                    "the clock of Redis and this machine's disagree; times in the store are compared with Redis' own"
                );
            }
            Some(_) | None => {}
        }
    }
}

fn record_key(key: &CredentialKey) -> String {
    format!("evergrant:{{{}}}:record", key.as_str())
}

fn key_of_record(name: &str) -> Option<CredentialKey> {
    CredentialKey::parse(name.strip_prefix("evergrant:{")?.strip_suffix("}:record")?)
}

fn lease_key(key: &CredentialKey) -> String {
    format!("evergrant:{{{}}}:lease", key.as_str())
}

fn waiting_key(key: &CredentialKey) -> String {
    format!("evergrant:{{{}}}:waiting", key.as_str())
}

fn channel(key: &CredentialKey) -> String {
    format!("evergrant:{{{}}}:news", key.as_str())
}

/// Redis tells its time in microseconds.
const RESOLUTION: Span = Span::from_micros(1);
const STEP: Span = Span::from_secs(1);
const WRONG: Span = Span::from_secs(60);
/// A heartbeat every third of it must be possible over a network.
const SHORTEST_TTL: Span = Span::from_millis(600);
const LONGEST_TTL: Span = Span::from_secs(300);
const LONGEST_ANSWER: Duration = Duration::from_secs(2);
