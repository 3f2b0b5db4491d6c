//! The processes that take part: nginx as upstream and as peer, the gateway, and the load generator.
//!
//! One nginx plays the upstream and the token endpoint, with a page of 100 bytes and one of 64 KiB for a token of its own
//! and 401 for any other. A second one is the peer: a proxy that sets a fixed header. Each is one process with kept
//! connections, its logs off, as one would tune it; everything else is nginx's default, buffering included.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::Failure;
use crate::process::Process;

/// The token of the API; the short-lived ones begin with it.
pub(crate) const TOKEN: &str =
    "bench-token-that-is-as-long-as-an-opaque-token-is-with-86-characters-in-it-0123456789ab";
const COMMON: &str = "daemon off; master_process off; pid nginx.pid; events { worker_connections 4096; }\n";
const TEMP: &str = "access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; \
                    uwsgi_temp_path uwsgi; scgi_temp_path scgi; keepalive_requests 1000000000;";

/// An nginx of this bench.
pub(crate) struct Nginx {
    pub(crate) process: Process,
    pub(crate) port: u16,
    /// Its folder goes when it goes.
    home: PathBuf,
}

impl Nginx {
    /// The API and the token endpoint. Its second token endpoint gives tokens that live some seconds only, a new one
    /// each time, and notes when.
    pub(crate) fn upstream() -> Result<Self, Failure> {
        let page = "x".repeat(100);
        let json = |token: &str, secs: u64| {
            format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{secs}}}"#)
        };
        let (lasting, short) = (json(TOKEN, 86400), json(&format!("{TOKEN}-$request_id"), SHORT_LIFE.as_secs()));
        let started = Self::start("upstream", |port| {
            format!(
                "{COMMON}http {{ {TEMP} log_format at '$msec'; server {{ listen 127.0.0.1:{port};
  default_type application/json; if ($http_authorization !~ \"^(Bearer {TOKEN}|Basic )\") {{ return 401; }}
  location = /token {{ return 200 '{lasting}'; }}
  location = /short-token {{ access_log {MINTS} at; return 200 '{short}'; }}
  location = {LARGE} {{ root html; }}
  location / {{ return 200 '{page}'; }} }} }}"
            )
        })?;
        let page = started.home.join("html").join(LARGE.trim_start_matches('/'));
        page.parent().map(fs::create_dir_all).transpose()?;
        fs::write(page, vec![b'x'; 64 << 10])?;
        Ok(started)
    }

    /// When short-lived tokens were given out.
    pub(crate) fn mints(&self) -> Result<Vec<SystemTime>, Failure> {
        let log = fs::read_to_string(self.home.join(MINTS))?;
        let at = |line: &str| Some(SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(line.parse().ok()?).ok()?);
        Ok(log.lines().filter_map(at).collect())
    }

    /// The proxy with a fixed header.
    pub(crate) fn peer(upstream: u16) -> Result<Self, Failure> {
        Self::start("peer", |port| {
            format!(
                "{COMMON}http {{ {TEMP}
  upstream api {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://api; proxy_http_version 1.1;
    proxy_set_header Connection \"\"; proxy_set_header Authorization \"Bearer {TOKEN}\"; }} }} }}"
            )
        })
    }

    fn start(name: &str, config: impl Fn(u16) -> String) -> Result<Self, Failure> {
        let home = std::env::temp_dir().join(format!("evergrant-bench-{}-{name}", std::process::id()));
        let port = free_port()?;
        let file = home.join("nginx.conf");
        fs::create_dir_all(&home)?;
        fs::write(&file, config(port))?;
        let args = ["-p".into(), home.clone(), "-e".into(), "stderr".into(), "-c".into(), file];
        let process = Process::start(Command::new("nginx").args::<[PathBuf; 6], _>(args).stdin(Stdio::null()))?;
        answered(port)?;
        Ok(Self { process, port, home })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Only a folder with temporary files is left if this fails.
        fs::remove_dir_all(&self.home).ok();
    }
}

/// A gateway that has answered once.
pub(crate) struct Gateway {
    pub(crate) process: Process,
    pub(crate) port: u16,
    /// From the start of the process to the first answer, token request included.
    pub(crate) first_answer: Duration,
}

impl Gateway {
    /// In front of `upstream`, with tokens from `token_url`.
    pub(crate) fn start(
        program: &Path,
        upstream: &str,
        token_url: &str,
        client: (&str, &str),
    ) -> Result<Self, Failure> {
        let mut command = Command::new(program);
        command.args(["gateway", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command.env_clear().env("EVERGRANT_PROVIDER", "oauth2").env("EVERGRANT_UPSTREAM", upstream);
        command.env("EVERGRANT_TOKEN_URL", token_url).env("EVERGRANT_LOG", "info");
        command.env("EVERGRANT_CLIENT_ID", client.0).env("EVERGRANT_CLIENT_SECRET", client.1);
        let started = Instant::now();
        let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()))?;
        let log = process.child().stderr.take().ok_or("the gateway has no log")?;
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let port = lines.find_map(|line| listening(&line)).ok_or("the gateway never said where it listens")?;
        // A log that nobody reads would fill its pipe and stop the gateway.
        std::thread::spawn(move || lines.for_each(drop));
        answered(port)?;
        Ok(Self { process, port, first_answer: started.elapsed() })
    }

    /// In front of the nginx that gives tokens too.
    pub(crate) fn before(program: &Path, upstream: &Nginx) -> Result<Self, Failure> {
        let url = format!("http://127.0.0.1:{}", upstream.port);
        Self::start(program, &url, &format!("{url}/token"), ("bench", "bench-secret"))
    }

    /// As [`Gateway::before`], with tokens that have to be renewed all the time.
    pub(crate) fn refreshing(program: &Path, upstream: &Nginx) -> Result<Self, Failure> {
        let url = format!("http://127.0.0.1:{}", upstream.port);
        Self::start(program, &url, &format!("{url}/short-token"), ("bench", "bench-secret"))
    }
}

fn listening(line: &str) -> Option<u16> {
    let is_it = line.contains("listening") && line.contains("listener=\"gateway\"");
    let (_, address) = line.split_once("addr=").filter(|_| is_it)?;
    address.split_whitespace().next()?.rsplit_once(':')?.1.parse().ok()
}

/// A port that nobody has now.
pub(crate) fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Waits for the first whole answer.
pub(crate) fn answered(port: u16) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match connect(port) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => std::thread::yield_now(),
        }
    }
}

/// A connection on which one request was answered.
pub(crate) fn connect(port: u16) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {SMALL} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(stream)
}

/// What the load generator sends.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A GET of 100 bytes.
    Small,
    /// A POST of 4 KiB that is answered with 100 bytes.
    Post,
    /// A GET of 64 KiB.
    Large,
}

/// What the load generator saw.
#[derive(Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) requests: f64,
    pub(crate) per_second: f64,
}

/// Loads a server with as much as it can do on some connections.
pub(crate) fn load(port: u16, kind: Kind, connections: u32, secs: u32) -> Result<Load, Failure> {
    let path = if matches!(kind, Kind::Large) { LARGE } else { SMALL };
    let url = format!("http://127.0.0.1:{port}{path}");
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c", &connections.to_string(), "-d", &format!("{secs}s"), &url]);
    let script = std::env::temp_dir().join(format!("evergrant-bench-{}-post.lua", std::process::id()));
    if matches!(kind, Kind::Post) {
        fs::write(&script, "wrk.method = 'POST'; wrk.body = string.rep('x', 4096)\n")?;
        command.arg("-s").arg(&script);
    }
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || said.contains("Non-2xx") || said.contains("Socket errors") {
        return Err(format!("not every request was answered well:\n{said}").into());
    }
    parse(&said).ok_or_else(|| format!("wrk's report is not understood:\n{said}").into())
}

fn parse(said: &str) -> Option<Load> {
    let word = |line: &str, at: usize| line.split_whitespace().nth(at).map(str::to_owned);
    let requests =
        said.lines().find(|line| line.contains("requests in")).and_then(|line| word(line, 0))?.parse().ok()?;
    let per_second = said.lines().find(|line| line.starts_with("Requests/sec:")).and_then(|line| word(line, 1))?;
    Some(Load { requests, per_second: per_second.parse().ok()? })
}

pub(crate) const SMALL: &str = "/api/small";
const LARGE: &str = "/api/large";
const MINTS: &str = "mints.log";
const SHORT_LIFE: Duration = Duration::from_secs(6);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_generators_report_is_read() {
        let said = "Running 8s test\n  188720 requests in 8.00s, 47.4MB read\nRequests/sec:  23582.11\n";
        let expected = Load { requests: 188_720.0, per_second: 23_582.11 };
        assert_eq!(parse(said), Some(expected));
    }

    #[test]
    fn the_gateways_own_port_is_read_from_its_log() {
        assert_eq!(listening("INFO listening listener=\"gateway\" addr=127.0.0.1:4711"), Some(4711));
        assert_eq!(listening("INFO listening listener=\"admin\" addr=127.0.0.1:4712"), None);
    }
}
