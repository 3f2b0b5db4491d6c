//! The gateway as a process beside nginx: CPU per request, latency, memory, time to the first answer, wake-ups.
//!
//! One nginx plays the upstream and the token endpoint; a second one is the peer: a proxy that sets a fixed header. All
//! answer the same small page to the same load generator (`wrk`), one after the other, on the same machine. CPU per
//! request is the fair number on a busy machine: it is what the process itself used, whoever else was running.
//!
//! Linux only: the numbers come from `/proc`.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Row;
use crate::setup;
use crate::shell::{self, Failure, capture, command};

const LOAD_SECS: u32 = 8;
const IDLE_SECS: u64 = 10;
const IDLE_CONNECTIONS: usize = 1000;
const TOKEN: &str = "bench-token";

/// Builds the program for release and measures it.
pub(super) fn run() -> Result<Vec<Row>, Failure> {
    setup::packages(&setup::FOR_BENCH)?;
    capture(&mut command("cargo", ["build", "--locked", "--release", "-p", "evergrant-cli"]))?;
    let home = shell::target().join("bench");
    let upstream = Nginx::start(&home, "upstream", upstream_config)?;
    let peer = Nginx::start(&home, "peer", |port| peer_config(port, upstream.port))?;

    let gateway = Gateway::start(upstream.port)?;
    let mut rows = vec![row("start to first answer, token request included", millis(gateway.first_answer), "30 ms")];
    rows.extend(idle(&gateway)?);

    let direct = load(upstream.port)?;
    let through_peer = measured(&peer.process, peer.port)?;
    let through_us = measured(&gateway.process, gateway.port)?;
    let ratio = through_us.cpu_us / through_peer.cpu_us;
    rows.push(row("CPU per small request, nginx with a fixed header", format!("{:.1} us", through_peer.cpu_us), ""));
    rows.push(row("CPU per small request, gateway", format!("{:.1} us", through_us.cpu_us), ""));
    rows.push(row("CPU per small request, gateway / nginx", format!("{ratio:.2}"), "within 1.6"));
    rows.push(row("p99 under full load, direct", millis(direct.p99), ""));
    rows.push(row("p99 under full load, through nginx", millis(through_peer.load.p99), ""));
    rows.push(row("p99 under full load, through the gateway", millis(through_us.load.p99), "within 10 ms of direct"));
    rows.push(row("requests a second through the gateway", format!("{:.0}", through_us.load.per_second), ""));
    Ok(rows)
}

fn row(what: &str, measured: String, goal: &str) -> Row {
    Row { what: what.to_owned(), measured, goal: goal.to_owned() }
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

/// Memory and wake-ups while nothing happens, first alone and then with many idle connections.
fn idle(gateway: &Gateway) -> Result<Vec<Row>, Failure> {
    let alone = resident_mib(gateway.process.id())?;
    let before = wakeups(gateway.process.id())?;
    std::thread::sleep(Duration::from_secs(IDLE_SECS));
    let woke = wakeups(gateway.process.id())?.saturating_sub(before);
    let mut connections = Vec::with_capacity(IDLE_CONNECTIONS);
    for _ in 0..IDLE_CONNECTIONS {
        let mut connection = TcpStream::connect(("127.0.0.1", gateway.port)).map_err(|error| io("connect", &error))?;
        request(&mut connection, gateway.port).map_err(|error| io("a request", &error))?;
        connections.push(connection);
    }
    let crowded = resident_mib(gateway.process.id())?;
    Ok(vec![
        row("memory, idle", format!("{alone:.1} MiB"), "under 15 MiB"),
        row("memory, 1,000 idle connections", format!("{crowded:.1} MiB"), "under 40 MiB"),
        row("wake-ups in 10 s, idle", woke.to_string(), "at most 12"),
    ])
}

/// A child process that ends with its value.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Result<Self, Failure> {
        command.spawn().map(Self).map_err(|error| io(&command.get_program().to_string_lossy(), &error))
    }

    fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; both calls then have nothing to do.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

struct Nginx {
    process: Process,
    port: u16,
}

impl Nginx {
    fn start(home: &Path, name: &str, config: impl Fn(u16) -> String) -> Result<Self, Failure> {
        let prefix = home.join(name);
        let port = free_port()?;
        let file = prefix.join("nginx.conf");
        fs::create_dir_all(&prefix).map_err(|error| io("the bench folder", &error))?;
        fs::write(&file, config(port)).map_err(|error| io("nginx.conf", &error))?;
        let args = ["-p".into(), prefix.clone(), "-e".into(), "stderr".into(), "-c".into(), file];
        let process = Process::start(Command::new("nginx").args::<[PathBuf; 6], _>(args).stdin(Stdio::null()))?;
        answered(port)?;
        Ok(Self { process, port })
    }
}

const COMMON: &str = "daemon off; master_process off; pid nginx.pid; events { worker_connections 4096; }\n";
const TEMP: &str = "access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; \
                    uwsgi_temp_path uwsgi; scgi_temp_path scgi; keepalive_requests 1000000000;";

fn upstream_config(port: u16) -> String {
    let page = "x".repeat(100);
    format!(
        "{COMMON}http {{ {TEMP} server {{ listen 127.0.0.1:{port}; default_type application/json;
  location /token {{ return 200 '{{\"access_token\":\"{TOKEN}\",\"token_type\":\"Bearer\",\"expires_in\":86400}}'; }}
  location / {{ if ($http_authorization != \"Bearer {TOKEN}\") {{ return 401; }} return 200 '{page}'; }} }} }}"
    )
}

fn peer_config(port: u16, upstream: u16) -> String {
    format!(
        "{COMMON}http {{ {TEMP} upstream api {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://api; proxy_http_version 1.1;
    proxy_set_header Connection \"\"; proxy_set_header Authorization \"Bearer {TOKEN}\"; }} }} }}"
    )
}

struct Gateway {
    process: Process,
    port: u16,
    first_answer: Duration,
}

impl Gateway {
    fn start(upstream: u16) -> Result<Self, Failure> {
        let url = format!("http://127.0.0.1:{upstream}");
        let mut command = Command::new(shell::target().join("release/evergrant"));
        command.args(["gateway", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command.env_clear().env("EVERGRANT_PROVIDER", "oauth2").env("EVERGRANT_UPSTREAM", &url);
        command.env("EVERGRANT_TOKEN_URL", format!("{url}/token")).env("EVERGRANT_LOG", "info");
        command.env("EVERGRANT_CLIENT_ID", "bench").env("EVERGRANT_CLIENT_SECRET", "bench-secret");
        let started = Instant::now();
        let mut process = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()))?;
        let Some(log) = process.0.stderr.take() else { return Err(Failure::new("the gateway has no log", "")) };
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let Some(port) = lines.find_map(|line| listening(&line)) else {
            return Err(Failure::new("the gateway never said where it listens", ""));
        };
        // A log that nobody reads would fill its pipe and stop the gateway.
        std::thread::spawn(move || lines.for_each(drop));
        answered(port)?;
        Ok(Self { process, port, first_answer: started.elapsed() })
    }
}

fn listening(line: &str) -> Option<u16> {
    let is_it = line.contains("listening") && line.contains("listener=\"gateway\"");
    let (_, address) = line.split_once("addr=").filter(|_| is_it)?;
    address.split_whitespace().next()?.rsplit_once(':')?.1.parse().ok()
}

fn free_port() -> Result<u16, Failure> {
    let bound = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|error| io("a free port", &error))
}

/// Waits for the first whole answer.
fn answered(port: u16) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let asked = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| request(&mut stream, port));
        match asked {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(io("the first answer", &error)),
            Err(_) => std::thread::yield_now(),
        }
    }
}

/// One request whose answer's head is read; the connection stays open.
fn request(stream: &mut TcpStream, port: u16) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET /api/small HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)
}

struct Load {
    requests: f64,
    per_second: f64,
    p99: Duration,
}

struct Measured {
    load: Load,
    cpu_us: f64,
}

fn measured(process: &Process, port: u16) -> Result<Measured, Failure> {
    load(port)?;
    let before = cpu(process.id())?;
    let load = load(port)?;
    let used = cpu(process.id())?.saturating_sub(before);
    Ok(Measured { cpu_us: used.as_secs_f64() * 1e6 / load.requests, load })
}

fn load(port: u16) -> Result<Load, Failure> {
    let (secs, url) = (format!("{LOAD_SECS}s"), format!("http://127.0.0.1:{port}/api/small"));
    let said = capture(&mut command("wrk", ["-t1", "-c16", "--latency", "-d", &secs, &url]))?;
    if said.contains("Non-2xx") || said.contains("Socket errors") {
        return Err(Failure::new("not every request was answered well", said));
    }
    parse(&said).ok_or_else(|| Failure::new("wrk's report is not understood", said))
}

fn parse(said: &str) -> Option<Load> {
    let word = |line: &str, at: usize| line.split_whitespace().nth(at).map(str::to_owned);
    let requests =
        said.lines().find(|line| line.contains("requests in")).and_then(|line| word(line, 0))?.parse().ok()?;
    let per_second = said.lines().find(|line| line.starts_with("Requests/sec:")).and_then(|line| word(line, 1))?;
    let p99 = said.lines().find(|line| line.trim_start().starts_with("99%")).and_then(|line| word(line, 1))?;
    let unit = p99.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    let p99 = p99.trim_end_matches(unit).parse::<f64>().ok()? * scale;
    Some(Load { requests, per_second: per_second.parse().ok()?, p99: Duration::from_secs_f64(p99) })
}

/// The CPU time that a process has used: fields 14 and 15 of its `stat`, in hundredths of a second.
fn cpu(pid: u32) -> Result<Duration, Failure> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    // The program's name may hold spaces; fields are counted after its closing parenthesis.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

fn resident_mib(pid: u32) -> Result<f64, Failure> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0).ok_or_else(|| Failure::new("the process has no memory", status))
}

/// How often the threads of a process went to sleep, which is how often they were woken.
fn wakeups(pid: u32) -> Result<u64, Failure> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| io("the threads", &error))?;
    let mut sum = 0;
    for thread in threads.flatten() {
        let status = read(&thread.path().join("status").display().to_string())?;
        let slept =
            status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok());
        sum += slept.unwrap_or(0);
    }
    Ok(sum)
}

fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| io(path, &error))
}

fn io(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(format!("{what}: {error}"), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_generators_report_is_read() {
        let said = "Running 8s test\n  Latency Distribution\n     50%  369.00us\n     99%    1.50ms\n  \
                    188720 requests in 8.00s, 47.4MB read\nRequests/sec:  23582.11\n";
        let load = parse(said).unwrap();
        assert_eq!((load.requests, load.per_second, load.p99), (188_720.0, 23_582.11, Duration::from_micros(1500)));
    }

    #[test]
    fn the_gateways_own_port_is_read_from_its_log() {
        assert_eq!(listening("INFO listening listener=\"gateway\" addr=127.0.0.1:4711"), Some(4711));
        assert_eq!(listening("INFO listening listener=\"admin\" addr=127.0.0.1:4712"), None);
    }

    #[test]
    fn our_own_process_has_used_some_memory_and_threads() {
        assert!(resident_mib(std::process::id()).unwrap() > 0.1);
        assert!(wakeups(std::process::id()).is_ok());
        assert!(cpu(std::process::id()).is_ok());
    }
}
