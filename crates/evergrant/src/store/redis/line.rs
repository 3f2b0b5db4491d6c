//! One connection to one server, and how it is made.
//!
//! Commands of all credentials and the messages of their channels share it (RESP3). TLS is the library's own, so the same
//! certificates are trusted as for the token endpoint, and its client certificate is not shown.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, Value};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::broadcast;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsConnector;

use crate::store::RedisUrl;
use crate::store::redis_fault::RedisFault;
use crate::store::redis_url::{RedisAddress, RedisKind};
use crate::tls::Tls;

/// A connection and the task that serves it, which ends with this value.
pub(super) struct Line {
    pub(super) connection: MultiplexedConnection,
    driver: AbortHandle,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// How connections are made.
pub(super) struct Dial {
    pub(super) url: RedisUrl,
    pub(super) tls: Arc<Tls>,
    /// Every step may take this long.
    pub(super) patience: Duration,
    /// May a server that others name be reached over a network without TLS?
    pub(super) allow_insecure: bool,
    /// Takes the channels of messages, and an empty one whenever messages may have been missed.
    pub(super) news: broadcast::Sender<Arc<str>>,
}

/// As whom a connection logs in.
#[derive(Clone, Copy)]
enum Login {
    /// As the URL says, with its database.
    Server,
    /// At a Sentinel that wants the same user and password.
    Sentinel,
    /// At a Sentinel that wants none.
    Nobody,
}

impl Dial {
    /// A connection to a server, listening to these channels.
    async fn line(&self, address: &RedisAddress, channels: Vec<String>) -> Result<Line, RedisFault> {
        let mut line = self.in_time(self.connect(address, Login::Server)).await?;
        let fault = |error| RedisFault::of(&error);
        if matches!(self.url.kind(), RedisKind::Sentinel(_)) {
            // A primary that was replaced comes back as a replica, and a Sentinel may not know yet.
            let role: Vec<Value> = self
                .in_time(async { redis::cmd("ROLE").query_async(&mut line.connection).await.map_err(fault) })
                .await?;
            if !matches!(role.first(), Some(Value::BulkString(role)) if role == b"master") {
                return Err(RedisFault::ReadOnlyReplica);
            }
        }
        if !channels.is_empty() {
            self.in_time(async { line.connection.subscribe(channels).await.map_err(fault) }).await?;
        }
        Ok(line)
    }

    /// Where the primary is, as the first Sentinel says that knows and answers.
    pub(super) async fn ask_sentinels(self: &Arc<Self>, name: &str) -> Result<RedisAddress, RedisFault> {
        let asks = self.url.addresses().iter().map(|sentinel| {
            let (dial, sentinel, name) = (Arc::clone(self), sentinel.clone(), name.to_owned());
            async move {
                let fault = match dial.in_time(dial.ask_sentinel(&sentinel, &name)).await {
                    Ok(Some(primary)) => return Ok(primary),
                    Ok(None) => RedisFault::NotReady(format!("the Sentinel {sentinel} knows no primary `{name}`")),
                    Err(RedisFault::Unreachable(why)) => {
                        RedisFault::Unreachable(format!("the Sentinel {sentinel}: {why}"))
                    }
                    Err(fault) => fault,
                };
                Err(fault)
            }
        });
        self.first_of(asks).await
    }

    /// A connection to the first of these that can be reached.
    pub(super) async fn first_line(
        self: &Arc<Self>,
        candidates: impl ExactSizeIterator<Item = (RedisAddress, Vec<String>)>,
    ) -> Result<(RedisAddress, Line), RedisFault> {
        let dials = candidates.map(|(address, channels)| {
            let dial = Arc::clone(self);
            async move { dial.line(&address, channels).await.map(|line| (address, line)) }
        });
        self.first_of(dials).await
    }

    /// What the first of these gets that gets something. The next one begins when the last has failed or lets wait for a
    /// moment, so that several that are gone cost little more time than one.
    async fn first_of<T: Send + 'static>(
        &self,
        mut tries: impl ExactSizeIterator<Item = impl Future<Output = Result<T, RedisFault>> + Send + 'static>,
    ) -> Result<T, RedisFault> {
        let mut running = JoinSet::new();
        let mut fault = RedisFault::Unreachable("no server is named".to_owned());
        loop {
            if let Some(next) = tries.next() {
                running.spawn(next);
            }
            let moment = if tries.len() == 0 { Duration::MAX } else { self.patience / 8 };
            match tokio::time::timeout(moment, running.join_next()).await {
                Ok(Some(Ok(Ok(found)))) => return Ok(found),
                Ok(Some(Ok(Err(found)))) => fault = found,
                Ok(None) => return Err(fault),
                // Only a runtime that ends cancels one; after a moment the next one begins.
                Ok(Some(Err(_))) | Err(_) => {}
            }
        }
    }

    async fn ask_sentinel(&self, sentinel: &RedisAddress, name: &str) -> Result<Option<RedisAddress>, RedisFault> {
        let mut command = redis::cmd("SENTINEL");
        command.arg("get-master-addr-by-name").arg(name);
        let mut login = Login::Nobody;
        loop {
            let told = match self.connect(sentinel, login).await {
                Ok(mut line) => {
                    let told: redis::RedisResult<Option<(String, u16)>> =
                        command.query_async(&mut line.connection).await;
                    told.map_err(|error| RedisFault::of(&error))
                }
                Err(fault) => Err(fault),
            };
            match (told, login) {
                (Err(RedisFault::WrongPassword), Login::Nobody) if self.url.password().is_some() => {
                    login = Login::Sentinel;
                }
                (Ok(Some((host, port))), _) => {
                    let host = if host.contains(':') { format!("[{host}]") } else { host };
                    return RedisAddress::parse(&host, port)
                        .map(Some)
                        .map_err(|_| RedisFault::Said(UNREADABLE.to_owned()));
                }
                (Ok(None), _) => return Ok(None),
                (Err(fault), _) => return Err(fault),
            }
        }
    }

    async fn connect(&self, address: &RedisAddress, login: Login) -> Result<Line, RedisFault> {
        if !(self.url.is_tls() || self.allow_insecure || address.is_loopback()) {
            return Err(RedisFault::Unreachable(format!(
                "{address} is not this machine, and without TLS it is not used"
            )));
        }
        let several = !matches!(self.url.kind(), RedisKind::Server);
        let unusable = |error: &dyn std::fmt::Display| {
            RedisFault::Unreachable(if several { format!("{address}: {error}") } else { error.to_string() })
        };
        let tcp = TcpStream::connect((address.host(), address.port())).await.map_err(|error| unusable(&error))?;
        // A command waits for its answer; without this a small one may wait for another one first.
        tcp.set_nodelay(true).map_err(|error| unusable(&error))?;
        if !self.url.is_tls() {
            return self.log_in(tcp, login).await;
        }
        let config = self.tls.client_config().map_err(|error| unusable(&error))?;
        let name = ServerName::try_from(address.host()).map_err(|error| unusable(&error))?;
        let stream = TlsConnector::from(config).connect(name, tcp).await.map_err(|error| unusable(&error))?;
        self.log_in(stream, login).await
    }

    async fn log_in(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        login: Login,
    ) -> Result<Line, RedisFault> {
        let (database, protocol) = match login {
            Login::Server => (i64::from(self.url.database()), ProtocolVersion::RESP3),
            Login::Sentinel | Login::Nobody => (0, ProtocolVersion::RESP2),
        };
        let mut info = RedisConnectionInfo::default().set_db(database).set_protocol(protocol).set_skip_set_lib_name();
        if !matches!(login, Login::Nobody) {
            if let Some(name) = self.url.username() {
                info = info.set_username(name);
            }
            if let Some(password) = self.url.password() {
                info = info.set_password(password.expose());
            }
        }
        let mut config =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(Some(self.patience));
        if matches!(login, Login::Server) {
            let news = self.news.clone();
            config = config.set_push_sender(move |push: PushInfo| {
                // Nobody may be listening; that is no reason to end the connection.
                if let Some(channel) = channel_of(&push) {
                    let _ = news.send(channel);
                }
                Ok::<(), ()>(())
            });
        }
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(|error| RedisFault::of(&error))?;
        Ok(Line { connection, driver: tokio::spawn(driver).abort_handle() })
    }

    async fn in_time<T>(&self, step: impl Future<Output = Result<T, RedisFault>>) -> Result<T, RedisFault> {
        tokio::time::timeout(self.patience, step).await.unwrap_or(Err(RedisFault::TimedOut))
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

const UNREADABLE: &str = "a Sentinel names a primary whose address cannot be read";
