//! A gateway between a caller that sends any bytes and an upstream that answers any bytes, and what must hold then.
//!
//! The gateway is the real one, with its real sockets, in this process; [`strict`] reads what comes out
//! of it. Every run has a gateway and a runtime of its own, so that a finding needs nothing but its own bytes. Time is
//! virtual: a caller that stalls is cut off at once.
//!
//! The fuzz targets and the property tests share this file. It says what is broken and never panics by itself.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use evergrant::core::policy::Policy;
use evergrant::core::profile::{Profile, Region};
use evergrant::tls::Tls;
use evergrant::{Credential, TokenSource};
use evergrant_gateway::{Address, BrokerConfig, Gateway, GatewayConfig, Upstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::timeout;

use crate::strict::{self, Message, Read};

/// What must hold and does not.
pub(crate) type Broken = String;

/// In a caller's bytes: a pause, so that what follows arrives by itself.
pub(crate) const PAUSE: u8 = 0x1f;
/// In a caller's bytes: a handle of this gateway.
pub(crate) const HANDLE: &[u8] = b"HANDLE";

/// Sends these bytes on one connection to the gateway.
///
/// Whatever they are: no task panics, the upstream reads whole requests that everybody reads alike, no more of them than
/// the gateway has read, each with one token and no handle, and another caller is served as before.
pub(crate) fn check_caller(bytes: &[u8]) -> Result<(), Broken> {
    run(Says::Ok, async |world: &World| {
        let mut bytes = bytes.to_vec();
        if bytes.windows(HANDLE.len()).any(|window| window == HANDLE) {
            let handle = world.log_in().await?;
            bytes = replace(&bytes, HANDLE, handle.as_bytes());
        }
        let said = world.say(&bytes).await;
        let starts_well = said.is_empty() || said.starts_with(b"HTTP/1.") || said.starts_with(&[0, 0]);
        if !starts_well {
            return Err(format!("the caller got {:?}", shown(&said)));
        }
        world.check_after(&said, false).await
    })
}

/// Answers a request with these bytes, on every connection on which it comes.
///
/// Whatever they are: no task panics, the caller gets one answer that everybody reads alike, or none, nothing of the
/// upstream's origin or of its connection in it, and the next request gets its own answer.
pub(crate) fn check_upstream(method: &'static str, bytes: &[u8]) -> Result<(), Broken> {
    run(Says::Any(bytes.to_vec()), async |world: &World| {
        let request =
            format!("{method} /api/v2/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        let said = world.say(request.as_bytes()).await;
        let mut rest = &said[..];
        let mut is_answered = false;
        while !rest.is_empty() {
            let (message, length) = match strict::answer(rest, method) {
                Read::Whole(message, length) => (message, length),
                Read::Bad(why) => return Err(format!("the caller got {why}")),
                // Broken off, which shows.
                Read::Part(_) => break,
            };
            if is_answered {
                return Err(format!("the caller got two answers: {:?}", shown(&said)));
            }
            is_answered = !message.second_word().starts_with('1') || message.second_word() == "101";
            check_answer(&message)?;
            rest = &rest[length..];
        }
        // The upstream may have ended the token or asked for a pause.
        world.check_after(&said, true).await
    })
}

fn check_answer(message: &Message) -> Result<(), Broken> {
    let gone = ["keep-alive", "proxy-connection", "upgrade", "alt-svc", "strict-transport-security", "clear-site-data"];
    if let Some(name) = gone.iter().find(|name| !message.values(name).is_empty()) {
        return Err(format!("`{name}` crossed: {message:?}"));
    }
    if let [_, _, ..] = message.values("evergrant-verdict")[..] {
        return Err(format!("two verdicts: {message:?}"));
    }
    Ok(())
}

/// A gateway with everything around it.
struct World {
    gateway: PathBuf,
    admin: PathBuf,
    seen: Arc<Seen>,
}

/// What came to the upstream.
#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    broken: Mutex<Option<Broken>>,
}

fn run(says: Says, act: impl AsyncFnOnce(&World) -> Result<(), Broken>) -> Result<(), Broken> {
    let panics = panics();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let folder = Folder::new().map_err(|error| error.to_string())?;
    let result = runtime.block_on(async {
        let world = World::start(folder.0.as_path(), says).await.map_err(|error| error.to_string())?;
        act(&world).await
    });
    drop(runtime);
    if PANICS.load(Ordering::SeqCst) == panics { result } else { Err("a task panicked".to_owned()) }
}

impl World {
    async fn start(folder: &Path, says: Says) -> Result<Self, Box<dyn std::error::Error>> {
        let seen = Arc::<Seen>::default();
        let provider = TcpListener::bind("127.0.0.1:0").await?;
        let mut profile = Profile::genesys(Region::UsEast1);
        profile.token_url = Some(format!("http://{}/oauth/token", provider.local_addr()?));
        // Probes go nowhere.
        profile.api_url = None;
        tokio::spawn(serve(provider, Arc::default(), Says::Token));
        let upstream = TcpListener::bind("127.0.0.1:0").await?;
        let mut config = GatewayConfig::new(Upstream::parse(&format!("http://{}", upstream.local_addr()?))?);
        tokio::spawn(serve(upstream, Arc::clone(&seen), says));

        let policy = Policy { mint_budget: Some(10_000), ..Policy::default() };
        let credential = Credential::client_credentials("id", "secret".into());
        let source = TokenSource::builder(profile, credential).policy(policy).build()?;
        let (gateway, admin) = (folder.join("gateway"), folder.join("admin"));
        config.listen = vec![Address::Unix(gateway.clone())];
        config.admin_listen = vec![Address::Unix(admin.clone())];
        config.broker = Some(BrokerConfig::default());
        // On a clock that is not virtual.
        config.timeouts.token_wait = Duration::from_millis(20);
        source.token().await?;
        let running = Gateway::bind(config, source, Arc::new(Tls::new(None))).await?;
        tokio::spawn(running.run(std::future::pending()));
        Ok(Self { gateway, admin, seen })
    }

    async fn log_in(&self) -> Result<String, Broken> {
        let form = "grant_type=client_credentials&client_id=id&client_secret=secret";
        let head = "POST /oauth/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded";
        let said = self.say(format!("{head}\r\nContent-Length: {}\r\n\r\n{form}", form.len()).as_bytes()).await;
        let said = shown(&said);
        let handle = said.split('"').find(|part| part.starts_with("eg1_"));
        handle.map(str::to_owned).ok_or_else(|| format!("no login: {said}"))
    }

    /// Everything that comes back on a connection that sends these bytes.
    async fn say(&self, bytes: &[u8]) -> Vec<u8> {
        exchange(&self.gateway, bytes).await
    }

    /// What must hold after a run.
    async fn check_after(&self, said: &[u8], may_be_refused: bool) -> Result<(), Broken> {
        if said.windows(SECRET.len()).any(|window| window == SECRET) {
            return Err("the caller saw the token".to_owned());
        }
        let before = self.seen.requests.load(Ordering::SeqCst);
        let status =
            shown(&exchange(&self.admin, b"GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await);
        let count = |name: &str| status.split(name).nth(1)?.split([',', '}']).next()?.trim().parse::<u64>().ok();
        let (Some(requests), Some(replays), Some(reconnects)) =
            (count("\"requests\":"), count("\"replays\":"), count("\"reconnects\":"))
        else {
            return Err(format!("no counts: {status}"));
        };
        if before > requests + replays + reconnects {
            return Err(format!("{requests} requests with {replays} replays became {before}"));
        }
        let after = self.say(format!("GET {AFTER} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await;
        let is_answered = after.ends_with(b"\r\n\r\nok") || (may_be_refused && is_refused(&after));
        if !is_answered {
            return Err(format!("the next request got {:?}", shown(&after)));
        }
        let broken = self.seen.broken.lock().map_err(|error| error.to_string())?.take();
        broken.map_or(Ok(()), Err)
    }
}

/// A caller that has to wait because the upstream said so, or because it ended our token.
fn is_refused(answer: &[u8]) -> bool {
    [b"HTTP/1.1 429 ", b"HTTP/1.1 503 "].iter().any(|line| answer.starts_with(*line))
}

async fn exchange(to: &Path, bytes: &[u8]) -> Vec<u8> {
    let Ok(stream) = UnixStream::connect(to).await else { return Vec::new() };
    let (mut reader, mut writer) = stream.into_split();
    let pieces: Vec<Vec<u8>> = bytes.split(|byte| *byte == PAUSE).map(<[u8]>::to_vec).collect();
    // It keeps the connection open until the other side closes it.
    let writing = tokio::spawn(async move {
        for piece in pieces {
            if writer.write_all(&piece).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        std::future::pending::<()>().await;
    });
    let mut said = Vec::new();
    // A reset ends a connection as well.
    _ = timeout(Duration::from_secs(3_600), reader.read_to_end(&mut said)).await;
    writing.abort();
    said
}

/// What a server answers.
#[derive(Clone)]
enum Says {
    /// A token.
    Token,
    /// 200.
    Ok,
    /// These bytes, and then the end of the connection; 200 to the request after a run.
    Any(Vec<u8>),
}

impl Says {
    /// What to say, and whether the connection ends with it.
    fn to(&self, request: &Message) -> (&[u8], bool) {
        match self {
            Self::Token => (TOKEN, true),
            Self::Any(bytes) if request.second_word() != AFTER => (bytes, true),
            Self::Ok | Self::Any(_) if request.line.starts_with("HEAD ") => (&OK[..OK.len() - 2], false),
            Self::Ok | Self::Any(_) => (OK, false),
        }
    }
}

async fn serve(listener: TcpListener, seen: Arc<Seen>, says: Says) {
    while let Ok((stream, _)) = listener.accept().await {
        let (seen, says) = (Arc::clone(&seen), says.clone());
        tokio::spawn(async move {
            if let Err(broken) = serve_one(stream, &seen, &says).await
                && let Ok(mut slot) = seen.broken.lock()
            {
                slot.get_or_insert(broken);
            }
        });
    }
}

/// Reads requests strictly and answers each.
async fn serve_one(mut stream: TcpStream, seen: &Seen, says: &Says) -> Result<(), Broken> {
    let own = stream.local_addr().map_err(|error| error.to_string())?.to_string();
    let (mut bytes, mut has_continued) = (Vec::new(), false);
    loop {
        match strict::request(&bytes) {
            Read::Whole(request, length) => {
                bytes.drain(..length);
                has_continued = false;
                seen.requests.fetch_add(1, Ordering::SeqCst);
                if !matches!(says, Says::Token) {
                    breach(&request, &own).map_or(Ok(()), Err)?;
                }
                let (said, is_last) = says.to(&request);
                if stream.write_all(said).await.is_err() || is_last {
                    return Ok(());
                }
            }
            Read::Bad(why) => return Err(format!("the upstream got {why}")),
            Read::Part(head) => {
                if !has_continued && head.is_some_and(|head| !head.values("expect").is_empty()) {
                    has_continued = true;
                    _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
                }
                if stream.read_buf(&mut bytes).await.is_ok_and(|length| length > 0) {
                    continue;
                }
                // Broken off, so nobody executes it.
                return Ok(());
            }
        }
    }
}

/// What is wrong with a request that the gateway sent.
fn breach(request: &Message, own: &str) -> Option<Broken> {
    let authorizations = request.values("authorization");
    let [authorization] = authorizations[..] else {
        return Some(format!("{} Authorizations: {request:?}", authorizations.len()));
    };
    if authorization.windows(4).any(|window| window == b"eg1_") {
        return Some(format!("a handle was sent on: {request:?}"));
    }
    if request.values("host") != [own.as_bytes()] {
        return Some(format!("another host: {request:?}"));
    }
    let gone = ["keep-alive", "proxy-authorization", "proxy-connection", "http2-settings", "evergrant-caller"];
    let crossed = gone.iter().find(|name| !request.values(name).is_empty());
    let is_upgrade = request.values("connection").iter().all(|value| value.eq_ignore_ascii_case(b"upgrade"));
    match crossed {
        Some(name) => Some(format!("`{name}` crossed: {request:?}")),
        None if !is_upgrade => Some(format!("`connection` crossed: {request:?}")),
        None => None,
    }
}

/// A folder of one run.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("evergrant-witness-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is in the folder for such things.
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How many panics there were so far, in tasks too, where nobody else would hear of them.
fn panics() -> u64 {
    static HEARD: Once = Once::new();
    HEARD.call_once(|| {
        let known = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            known(panic);
        }));
    });
    PANICS.load(Ordering::SeqCst)
}

fn replace(bytes: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    let (mut replaced, mut rest) = (Vec::new(), bytes);
    while let Some(at) = rest.windows(what.len()).position(|window| window == what) {
        replaced.extend([&rest[..at], by].concat());
        rest = &rest[at + what.len()..];
    }
    replaced.extend(rest);
    replaced
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

static PANICS: AtomicU64 = AtomicU64::new(0);
/// The request after a run.
const AFTER: &str = "/api/v2/after";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nX-Own: 1\r\nContent-Length: 2\r\n\r\nok";
const SECRET: &[u8] = b"token-of-the-witness";
const TOKEN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n\
    {\"access_token\":\"token-of-the-witness\",\"token_type\":\"Bearer\",\"expires_in\":3600}";
