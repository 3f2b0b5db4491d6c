//! The way to the server that holds a credential's keys: found when it is needed, found again when it moved.
//!
//! There is one connection to a server, for the commands and the messages of all credentials, so a replica costs the
//! server one connection and, while nothing happens, nothing else. Every command here may be sent twice: a connection
//! that was closed meanwhile fails the command that finds it, and the command is sent once more over a new one. One
//! connection is made at a time and within a bound, and whoever waited for it gets it, or why there is none.
//!
//! Where the server is depends on the URL. One server is where the URL says. Behind Sentinels it is asked for whenever a
//! connection is made, so a failover is followed by the next command. In a cluster any node tells who has the keys
//! (`MOVED`), and what it told is remembered for each credential; its keys share a hash tag and lie on one node. A slot
//! that is on its way from one node to another is waited for, a moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, RedisError, RedisResult, ScriptInvocation, Value};
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout, timeout_at};

use super::line::{Dial, Line};
use crate::store::redis_fault::RedisFault;
use crate::store::redis_url::{RedisAddress, RedisKind};
use crate::store::{CredentialKey, RedisUrl, StoreError};
use crate::tls::Tls;

/// The way to the servers of one URL.
pub(super) struct Link {
    dial: Arc<Dial>,
    /// Held while a connection is made.
    connecting: tokio::sync::Mutex<Option<Failed>>,
    state: Mutex<State>,
}

/// Why there is no connection to where the keys of a tag are, and when that was found out.
struct Failed {
    tag: String,
    at: Instant,
    fault: RedisFault,
}

#[derive(Default)]
struct State {
    lines: BTreeMap<RedisAddress, Line>,
    /// Where the keys of a tag were last.
    homes: BTreeMap<String, RedisAddress>,
    /// The channels that are listened to: the tag of each, and by how many.
    channels: BTreeMap<String, (String, u32)>,
}

#[derive(Clone, Copy)]
enum Request<'a> {
    Script(&'a ScriptInvocation<'a>),
    Command(&'a Cmd),
}

impl Request<'_> {
    async fn send<T: FromRedisValue>(self, connection: &mut MultiplexedConnection) -> RedisResult<T> {
        match self {
            Self::Script(script) => script.invoke_async(connection).await,
            Self::Command(command) => command.query_async(connection).await,
        }
    }
}

impl Link {
    /// Connects to nothing yet. Every step may take as long as `patience`.
    pub(super) fn new(url: RedisUrl, tls: Arc<Tls>, patience: Duration, allow_insecure: bool) -> Self {
        let news = broadcast::Sender::new(NEWS_KEPT);
        let dial = Arc::new(Dial { url, tls, patience, allow_insecure, news });
        Self { dial, connecting: tokio::sync::Mutex::default(), state: Mutex::default() }
    }

    pub(super) fn place(&self) -> String {
        self.dial.url.place()
    }

    /// How long every step may take.
    pub(super) fn patience(&self) -> Duration {
        self.dial.patience
    }

    pub(super) fn error(&self, fault: RedisFault) -> StoreError {
        StoreError::Redis { place: self.place(), fault }
    }

    /// Runs a script on a credential's keys, which may run twice.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        key: &CredentialKey,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        self.twice(self.tag(key), Request::Script(script)).await
    }

    /// Sends a command about a credential's keys, which may be sent twice.
    pub(super) async fn ask<T: FromRedisValue>(&self, key: &CredentialKey, command: &Cmd) -> Result<T, StoreError> {
        self.twice(self.tag(key), Request::Command(command)).await
    }

    /// Sends a command that is about no key to the server, or to any node.
    pub(super) async fn ask_any<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        self.twice("", Request::Command(command)).await
    }

    /// Sends a command to this server.
    pub(super) async fn ask_at<T: FromRedisValue>(&self, at: &RedisAddress, command: &Cmd) -> Result<T, StoreError> {
        let mut connection = self.connect(std::slice::from_ref(at)).await.map_err(|fault| self.error(fault))?.1;
        let sent = timeout(self.dial.patience, command.query_async(&mut connection)).await;
        sent.map_err(|_| self.error(RedisFault::TimedOut))?.map_err(|error| self.error(RedisFault::of(&error)))
    }

    /// Every server that may hold records.
    pub(super) async fn servers(&self) -> Result<Vec<RedisAddress>, StoreError> {
        let (home, _) = self.connection("").await?;
        if *self.dial.url.kind() != RedisKind::Cluster {
            return Ok(vec![home]);
        }
        let mut command = redis::cmd("CLUSTER");
        let ranges: Vec<Vec<Value>> = self.ask_any(command.arg("SLOTS")).await?;
        let named = ranges.iter().map(|range| primary_of(range, &home));
        let mut servers: Vec<_> = named.collect::<Option<_>>().ok_or_else(|| self.error(unreadable()))?;
        servers.sort();
        servers.dedup();
        Ok(servers)
    }

    /// The messages of this channel, and an empty one whenever messages may have been missed.
    pub(super) async fn listen(&self, key: &CredentialKey, channel: &str) -> broadcast::Receiver<Arc<str>> {
        let news = self.dial.news.subscribe();
        let tag = self.tag(key);
        let connection = {
            let mut state = self.state();
            let (_, listeners) = state.channels.entry(channel.to_owned()).or_insert_with(|| (tag.to_owned(), 0));
            *listeners += 1;
            if *listeners == 1 { state.connection_of(tag).map(|(_, connection)| connection) } else { None }
        };
        self.subscribe(connection, vec![channel.to_owned()]).await;
        news
    }

    /// One listener of this channel is gone. The next connection subscribes only to what somebody listens to.
    pub(super) fn forget(&self, channel: &str) {
        let mut state = self.state();
        if let Some((_, listeners)) = state.channels.get_mut(channel) {
            *listeners -= 1;
            if *listeners == 0 {
                state.channels.remove(channel);
            }
        }
    }

    /// If it fails the connection is broken, and the next one subscribes to everything.
    async fn subscribe(&self, connection: Option<MultiplexedConnection>, channels: Vec<String>) {
        if let Some(mut connection) = connection.filter(|_| !channels.is_empty()) {
            let _ = timeout(self.dial.patience, connection.subscribe(channels)).await;
        }
    }

    /// What keys of one server have in common. Only in a cluster there are several.
    fn tag<'a>(&self, key: &'a CredentialKey) -> &'a str {
        if *self.dial.url.kind() == RedisKind::Cluster { key.as_str() } else { "" }
    }

    async fn twice<T: FromRedisValue>(&self, tag: &str, request: Request<'_>) -> Result<T, StoreError> {
        let (mut has_failed, mut moves) = (false, 0);
        loop {
            let (home, mut connection) = self.connection(tag).await?;
            let fault = match timeout(self.dial.patience, request.send(&mut connection)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if moves < MOST_MOVES && self.follow(tag, &home, &error).await => {
                    moves += 1;
                    continue;
                }
                Ok(Err(error)) => self.fault_of(&error),
                Err(_) => RedisFault::TimedOut,
            };
            if fault.is_of_connection() {
                self.leave(tag, &home, &fault);
            }
            if has_failed || !matches!(fault, RedisFault::Unreachable(_)) {
                return Err(self.error(fault));
            }
            has_failed = true;
        }
    }

    /// In a cluster: is it worth asking once more, and perhaps elsewhere?
    async fn follow(&self, tag: &str, home: &RedisAddress, error: &RedisError) -> bool {
        if *self.dial.url.kind() != RedisKind::Cluster {
            return false;
        }
        match error.code() {
            Some("MOVED") => {
                let Some(to) = error.redirect_node().and_then(|(to, _)| address(to, home)) else { return false };
                let (connection, channels) = self.state().move_home(tag, to);
                self.subscribe(connection, channels).await;
                true
            }
            // The slot is on its way: soon its new node has all of it.
            Some("ASK" | "TRYAGAIN") => {
                tokio::time::sleep(SLOT_PAUSE).await;
                true
            }
            _ => false,
        }
    }

    fn fault_of(&self, error: &RedisError) -> RedisFault {
        let fault = RedisFault::of(error);
        if fault == RedisFault::IsCluster && *self.dial.url.kind() == RedisKind::Cluster {
            return RedisFault::NotReady(format!("the cluster says {}", error.code().unwrap_or_default()));
        }
        fault
    }

    /// The server is of no use to anybody. Its messages end without a word, so whoever listens is told to look.
    fn leave(&self, tag: &str, home: &RedisAddress, fault: &RedisFault) {
        let was_there = self.state().leave(tag, home);
        // Looking at a replica that is taken for its primary would find it again and again.
        if was_there && *fault != RedisFault::ReadOnlyReplica {
            // Nobody may be listening.
            let _ = self.dial.news.send("".into());
        }
    }

    /// The way to the keys of a tag, within twice the patience.
    async fn connection(&self, tag: &str) -> Result<(RedisAddress, MultiplexedConnection), StoreError> {
        if let Some(known) = self.state().connection_of(tag) {
            return Ok(known);
        }
        let asked = Instant::now();
        let until = asked + self.dial.patience * 2;
        let alone = timeout_at(until, self.connecting.lock()).await;
        let mut failed = alone.map_err(|_| self.error(RedisFault::TimedOut))?;
        if let Some(known) = self.state().connection_of(tag) {
            return Ok(known);
        }
        // What was waited for is not done again.
        if let Some(failed) = failed.as_ref().filter(|failed| failed.tag == tag && failed.at >= asked) {
            return Err(self.error(failed.fault.clone()));
        }
        let found = timeout_at(until, self.find(tag)).await.unwrap_or(Err(RedisFault::TimedOut));
        let note = |fault: &RedisFault| Failed { tag: tag.to_owned(), at: Instant::now(), fault: fault.clone() };
        *failed = found.as_ref().err().map(note);
        found.map_err(|fault| self.error(fault))
    }

    async fn find(&self, tag: &str) -> Result<(RedisAddress, MultiplexedConnection), RedisFault> {
        let home = self.state().homes.get(tag).cloned();
        let named = self.dial.url.addresses();
        let (home, connection) = match (self.dial.url.kind(), home) {
            (RedisKind::Sentinel(name), _) => self.connect(&[self.dial.ask_sentinels(name).await?]).await?,
            (RedisKind::Cluster, Some(home)) => match timeout(self.dial.patience, self.connect(&[home])).await {
                Ok(Ok(found)) => found,
                Ok(Err(_)) | Err(_) => self.connect(named).await?,
            },
            (RedisKind::Server | RedisKind::Cluster, _) => self.connect(named).await?,
        };
        let (_, channels) = self.state().move_home(tag, home.clone());
        self.subscribe(Some(connection.clone()), channels).await;
        Ok((home, connection))
    }

    /// One of these that is connected already, or else the first that can be reached.
    async fn connect(&self, candidates: &[RedisAddress]) -> Result<(RedisAddress, MultiplexedConnection), RedisFault> {
        if let Some(known) = candidates.iter().find_map(|address| self.state().line_at(address)) {
            return Ok(known);
        }
        let candidates = candidates.iter().map(|address| (address.clone(), self.state().channels_at(address)));
        let (address, line) = self.dial.first_line(candidates).await?;
        let connection = line.connection.clone();
        self.state().lines.insert(address.clone(), line);
        Ok((address, connection))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn connection_of(&self, tag: &str) -> Option<(RedisAddress, MultiplexedConnection)> {
        self.line_at(self.homes.get(tag)?)
    }

    fn line_at(&self, address: &RedisAddress) -> Option<(RedisAddress, MultiplexedConnection)> {
        Some((address.clone(), self.lines.get(address)?.connection.clone()))
    }

    fn channels_at(&self, address: &RedisAddress) -> Vec<String> {
        let is_here = |tag: &String| self.homes.get(tag) == Some(address);
        self.channels.iter().filter(|(_, (tag, _))| is_here(tag)).map(|(channel, _)| channel.clone()).collect()
    }

    /// The keys of a tag are there now; with the connection, if there is one, and the channels to listen to.
    fn move_home(&mut self, tag: &str, to: RedisAddress) -> (Option<MultiplexedConnection>, Vec<String>) {
        let has_moved = self.homes.insert(tag.to_owned(), to.clone()).as_ref() != Some(&to);
        let connection = self.lines.get(&to).map(|line| line.connection.clone());
        let of_tag = |(channel, (of, _)): (&String, &(String, u32))| (of == tag).then(|| channel.clone());
        let channels = if has_moved { self.channels.iter().filter_map(of_tag).collect() } else { Vec::new() };
        (connection, channels)
    }

    /// Forgets a server; `true` if there was a connection.
    fn leave(&mut self, tag: &str, address: &RedisAddress) -> bool {
        self.homes.remove(tag);
        self.lines.remove(address).is_some()
    }
}

/// A node as another one names it; without a host it is the same as that one's.
fn address(named: &str, by: &RedisAddress) -> Option<RedisAddress> {
    let (host, port) = named.rsplit_once(':')?;
    let host = match host {
        "" => by.host(),
        host => host.to_owned(),
    };
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    RedisAddress::parse(&host, port.parse().ok()?).ok()
}

/// The primary of a range of slots, as `CLUSTER SLOTS` names it: first, last, primary, replicas.
fn primary_of(range: &[Value], by: &RedisAddress) -> Option<RedisAddress> {
    let Some(Value::Array(node)) = range.get(2) else { return None };
    let [host, Value::Int(port), ..] = &node[..] else { return None };
    // A host that is not told is that of the node that says so.
    let host = if let Value::BulkString(host) = host { String::from_utf8_lossy(host) } else { "".into() };
    address(&format!("{host}:{port}"), by)
}

fn unreadable() -> RedisFault {
    RedisFault::Said("a node of the cluster names others whose address cannot be read".to_owned())
}

const NEWS_KEPT: usize = 64;
/// From any node to the right one it is one; a slot on its way takes a few pauses.
const MOST_MOVES: u32 = 5;
const SLOT_PAUSE: Duration = Duration::from_millis(25);
