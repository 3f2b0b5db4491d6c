//! The one connection to Redis: made when it is needed, made again when it broke.
//!
//! Commands of all credentials and the messages of their channels share it (RESP3), so a replica costs the server one
//! connection and, while nothing happens, nothing else. Every command here may be sent twice: a connection that was
//! closed meanwhile fails the command that finds it, and the command is sent once more over a new one.
//!
//! TLS is the library's own, so the same certificates are trusted as for the token endpoint.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisResult,
    ScriptInvocation, Value,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::broadcast;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use crate::store::redis_fault::RedisFault;
use crate::store::{RedisUrl, StoreError};
use crate::tls::Tls;

/// The way to one server.
pub(super) struct Link {
    url: RedisUrl,
    tls: Arc<Tls>,
    patience: Duration,
    connecting: tokio::sync::Mutex<()>,
    line: Mutex<Option<Line>>,
    /// The channels that are listened to, and by how many.
    channels: Mutex<BTreeMap<String, u32>>,
    news: broadcast::Sender<Arc<str>>,
}

/// A connection and the task that serves it, which ends with this value.
struct Line {
    connection: MultiplexedConnection,
    driver: AbortHandle,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
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
    pub(super) fn new(url: RedisUrl, tls: Arc<Tls>, patience: Duration) -> Self {
        let news = broadcast::Sender::new(NEWS_KEPT);
        Self {
            url,
            tls,
            patience,
            connecting: tokio::sync::Mutex::default(),
            line: Mutex::default(),
            channels: Mutex::default(),
            news,
        }
    }

    pub(super) fn place(&self) -> String {
        self.url.place()
    }

    pub(super) fn error(&self, fault: RedisFault) -> StoreError {
        StoreError::Redis { place: self.url.place(), fault }
    }

    /// Runs a script that may run twice.
    pub(super) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, StoreError> {
        self.twice(Request::Script(script)).await
    }

    /// Sends a command that may be sent twice.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        self.twice(Request::Command(command)).await
    }

    /// The messages of this channel, and an empty one whenever messages may have been missed.
    pub(super) async fn listen(&self, channel: &str) -> broadcast::Receiver<Arc<str>> {
        let news = self.news.subscribe();
        let is_new = {
            let mut channels = locked(&self.channels);
            let listeners = channels.entry(channel.to_owned()).or_default();
            *listeners += 1;
            *listeners == 1
        };
        let connection = locked(&self.line).as_ref().map(|line| line.connection.clone());
        if is_new && let Some(mut connection) = connection {
            // If it fails the connection is broken, and the next one subscribes to everything.
            let _ = tokio::time::timeout(self.patience, connection.subscribe(channel)).await;
        }
        news
    }

    /// One listener of this channel is gone. The next connection subscribes only to what somebody listens to.
    pub(super) fn forget(&self, channel: &str) {
        let mut channels = locked(&self.channels);
        if let Some(listeners) = channels.get_mut(channel) {
            *listeners -= 1;
            if *listeners == 0 {
                channels.remove(channel);
            }
        }
    }

    async fn twice<T: FromRedisValue>(&self, request: Request<'_>) -> Result<T, StoreError> {
        let mut has_failed = false;
        loop {
            let mut connection = self.connection().await?;
            let fault = match tokio::time::timeout(self.patience, request.send(&mut connection)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => RedisFault::of(&error),
                Err(_) => RedisFault::TimedOut,
            };
            if fault.is_of_connection() {
                *locked(&self.line) = None;
            }
            if has_failed || !matches!(fault, RedisFault::Unreachable(_)) {
                return Err(self.error(fault));
            }
            has_failed = true;
        }
    }

    async fn connection(&self) -> Result<MultiplexedConnection, StoreError> {
        let existing = || locked(&self.line).as_ref().map(|line| line.connection.clone());
        if let Some(connection) = existing() {
            return Ok(connection);
        }
        let _alone = self.connecting.lock().await;
        if let Some(connection) = existing() {
            return Ok(connection);
        }
        let connecting = tokio::time::timeout(self.patience, self.connect());
        let line = connecting.await.unwrap_or(Err(RedisFault::TimedOut)).map_err(|fault| self.error(fault))?;
        let connection = line.connection.clone();
        *locked(&self.line) = Some(line);
        Ok(connection)
    }

    async fn connect(&self) -> Result<Line, RedisFault> {
        let broken = |error: std::io::Error| RedisFault::Unreachable(error.to_string());
        let tcp = TcpStream::connect((self.url.host(), self.url.port())).await.map_err(broken)?;
        // A command waits for its answer; without this a small one may wait for another one first.
        tcp.set_nodelay(true).map_err(broken)?;
        if !self.url.is_tls() {
            return self.log_in(tcp).await;
        }
        let unusable = |error: &dyn std::fmt::Display| RedisFault::Unreachable(error.to_string());
        let config = self.tls.client_config().map_err(|error| unusable(&error))?;
        let name = ServerName::try_from(self.url.host()).map_err(|error| unusable(&error))?;
        self.log_in(TlsConnector::from(config).connect(name, tcp).await.map_err(broken)?).await
    }

    async fn log_in(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Line, RedisFault> {
        let mut login = RedisConnectionInfo::default()
            .set_db(i64::from(self.url.database()))
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name();
        if let Some(name) = self.url.username() {
            login = login.set_username(name);
        }
        if let Some(password) = self.url.password() {
            login = login.set_password(password.expose());
        }
        let news = self.news.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(Some(self.patience))
            .set_push_sender(move |push: PushInfo| {
                // Nobody may be listening; that is no reason to end the connection.
                if let Some(channel) = channel_of(&push) {
                    let _ = news.send(channel);
                }
                Ok::<(), ()>(())
            });
        let fault = |error| RedisFault::of(&error);
        let (mut connection, driver) =
            MultiplexedConnection::new_with_config(&login, stream, config).await.map_err(fault)?;
        let line = Line { connection: connection.clone(), driver: tokio::spawn(driver).abort_handle() };
        let channels: Vec<_> = locked(&self.channels).keys().cloned().collect();
        if !channels.is_empty() {
            connection.subscribe(channels).await.map_err(fault)?;
        }
        Ok(line)
    }
}

/// The channel that a message came over, an empty name if the connection ended, and nothing for anything else.
fn channel_of(push: &PushInfo) -> Option<Arc<str>> {
    match (&push.kind, push.data.first()) {
        (PushKind::Disconnection, _) => Some("".into()),
        (PushKind::Message, Some(Value::BulkString(name))) => Some(String::from_utf8_lossy(name).into()),
        _ => None,
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const NEWS_KEPT: usize = 64;
