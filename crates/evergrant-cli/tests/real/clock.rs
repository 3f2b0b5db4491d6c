//! `evergrant clock` against clocks that nobody here wrote, five processes for each, and beside them the simulator on a
//! socket.
//!
//! Each of five processes must hold the true offset in its interval or call its result disturbed. The processes of a
//! test run side by side: they wait for turns of a second most of the time. What is true is known because all clocks
//! are made from this machine's: by libfaketime, by the simulator, or by what chronyd was told.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use evergrant::clock;
use evergrant_core::time::{Server, Span};
use evergrant_sim::config::{NodeConfig, ProviderConfig};
use evergrant_sim::http::SimServer;
use evergrant_sim::{At, Event};
use serde_json::Value;

use crate::oidc::Idp;
use crate::parts::{scratch, tool};
use crate::process::Process;
use crate::until;

const PROCESSES: usize = 5;

/// One run of the program, with nothing of our environment.
fn start(arguments: &[&str]) -> std::process::Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evergrant"));
    command.args(["clock", "--json"]).args(arguments).env_clear().env("HOME", "/nonexistent");
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(child: std::process::Child) -> Value {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{status}: {said}{complained}");
    serde_json::from_str(&said).unwrap()
}

fn five(arguments: &[&str]) -> Vec<Value> {
    let running: Vec<_> = (0..PROCESSES).map(|_| start(arguments)).collect();
    running.into_iter().map(end).collect()
}

/// Does this source hold the truth, known to within `error` seconds, or say that it is disturbed?
fn is_honest(object: &Value, source: &str, truth: f64, error: f64) -> bool {
    let sources = object["sources"].as_array().unwrap();
    let found = sources.iter().find(|found| found["source"] == source).unwrap_or_else(|| panic!("{object:#}"));
    let end = |name: &str| found["local_minus_server_s"][name].as_f64();
    let holds = matches!((end("lo"), end("hi")), (Some(lo), Some(hi)) if lo - error <= truth && truth <= hi + error);
    holds || found["state"] == "disturbed"
}

fn is_settled(object: &Value) -> bool {
    object["state"] == "settled"
}

/// This machine's clock minus the simulated provider's.
fn truth(provider: &SimServer) -> f64 {
    let now = clock::now();
    let (server, boot) = provider.handle().issuer_clock();
    let shown: Server = server + (now.boot - boot);
    (now.wall.as_nanos() - shown.as_nanos()) as f64 / 1e9
}

#[test]
fn simulated_providers_that_are_wrong_drift_step_and_disagree() {
    let of = |change: fn(&mut ProviderConfig)| {
        let mut config = ProviderConfig::rfc();
        change(&mut config);
        config
    };
    let worlds: [(&str, ProviderConfig, Option<Span>); 6] = [
        ("+7.3 s", of(|config| config.clock.offset = Span::from_millis(7_300)), None),
        ("-600 s", of(|config| config.clock.offset = Span::from_secs(-600)), None),
        ("drifting", of(|config| config.clock.drift_ppm = -5_000), None),
        ("stepping forward", of(|_| {}), Some(Span::from_secs(30))),
        ("stepping back", of(|_| {}), Some(Span::from_secs(-30))),
        (
            "spread",
            of(|config| {
                let node = |millis| NodeConfig { clock_offset: Span::from_millis(millis), ..NodeConfig::default() };
                config.nodes = vec![node(0), node(400), node(-300)];
            }),
            None,
        ),
    ];
    // Each process has a provider of its own, so that the nodes answer it in turn.
    let mut running = Vec::new();
    for (name, config, step) in worlds {
        for _ in 0..PROCESSES {
            let provider = SimServer::start(config.clone()).unwrap();
            provider.handle().play(step.map(|by| At { after: Span::from_millis(1_700), event: Event::StepServer(by) }));
            let child = start(&["--upstream", &provider.url()]);
            running.push((name, provider, child));
        }
    }
    for (name, provider, child) in running {
        let object = end(child);
        let truth = truth(&provider);
        // The drifting clock goes on drifting until the result is looked at.
        let error = if name == "drifting" { 0.1 } else { 0.005 };
        assert!(is_honest(&object, "api_date", truth, error), "{name}: {truth} {object:#}");
        assert!(is_settled(&object) || !matches!(name, "+7.3 s" | "-600 s"), "{name}: {object:#}");
    }
}

#[test]
fn a_certified_server_whose_clock_is_wrong() {
    for ahead in [7, -600] {
        let folder = scratch(&format!("clock-idp{ahead}"));
        let idp = Idp::start(&folder, ahead);
        let objects = five(&["--token-url", idp.text("token_url"), "--upstream", idp.text("api")]);
        for object in objects {
            for source in ["api_date", "auth_date"] {
                assert!(is_honest(&object, source, -ahead as f64, 0.002), "{ahead}: {object:#}");
            }
            assert!(object["words"].as_str().unwrap().contains(if ahead > 0 { "SLOW" } else { "FAST" }), "{object:#}");
        }
    }
}

#[test]
fn chronyd_that_was_told_another_time() {
    let folder = scratch("clock-ntp");
    // It refuses to make its socket where others may write.
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (socket, file) = (folder.join("chronyd.sock"), folder.join("chrony.conf"));
    let config = format!(
        "port {port}\nbindaddress 127.0.0.1\nallow 127.0.0.1\nlocal stratum 1\nmanual\ncmdport 0\n\
         bindcmdaddress {}\npidfile {}\nuser root\n",
        socket.display(),
        folder.join("chronyd.pid").display()
    );
    std::fs::write(&file, config).unwrap();
    // It must never touch this machine's clock: -x.
    let mut command = Command::new(tool("chrony/usr/sbin/chronyd"));
    let _chronyd = Process::start("chronyd", command.args(["-x", "-d", "-U", "-f"]).arg(&file));

    let truth = tell_time(&socket, 42);
    let address = format!("127.0.0.1:{port}");
    let sim = SimServer::start(ProviderConfig::rfc()).unwrap();
    for object in five(&["--upstream", &sim.url(), "--ntp", &address]) {
        let error = truth.1 + 0.002;
        assert!(is_honest(&object, "ntp", truth.0, error), "{truth:?}: {object:#}");
        assert!(is_honest(&object, "api_date", 0.0, 0.002), "an NTP server does not change the result: {object:#}");
        let ntp = object["sources"].as_array().unwrap().iter().find(|found| found["source"] == "ntp").unwrap();
        assert!(ntp["state"] == "settled" && ntp["width_s"].as_f64().unwrap() < 0.5, "{object:#}");
        assert!(ntp["note"].as_str().unwrap().contains("stratum 1"), "{object:#}");
    }
}

/// Tells chronyd a time so many seconds ahead; returns this machine minus it, and how exactly that is known.
fn tell_time(socket: &Path, ahead_secs: i64) -> (f64, f64) {
    let told = std::cell::Cell::new((0.0, 0.0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(until("chronyd takes a time", async || {
        let before = clock::now().wall;
        let target = before.as_nanos() / 1_000_000_000 + ahead_secs;
        let text = format!("@{target}");
        let date = Command::new("date").args(["-u", "-d", &text, "+%b %d, %Y %H:%M:%S"]).output().unwrap();
        let date = String::from_utf8(date.stdout).unwrap();
        let before = clock::now().wall;
        let mut command = Command::new(tool("chrony/usr/bin/chronyc"));
        command.arg("-h").arg(socket).args(["settime", date.trim()]).env("TZ", "UTC");
        let output = command.output().unwrap();
        let after = clock::now().wall;
        let ahead = |wall: evergrant_core::time::Wall| target as f64 - wall.as_nanos() as f64 / 1e9;
        told.set((-(ahead(before) + ahead(after)) / 2.0, (ahead(before) - ahead(after)) / 2.0));
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("seconds")
    }));
    told.get()
}

/// nginx in front of a provider that is 7.3 s fast, with a cache and with or without a Date of its own.
struct Nginx {
    _process: Process,
    /// Keeps the provider's Date, and caches by the whole URL.
    by_query: u16,
    /// Keeps the provider's Date, and caches by path.
    by_path: u16,
    /// Writes its own Date.
    rewriting: u16,
}

impl Nginx {
    fn start(folder: &Path, upstream: &str) -> Self {
        let ports: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<_> = ports.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        let server = |port: u16, key: &str, date: &str| {
            format!(
                "server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {upstream}; proxy_cache c; {date}\n\
                 proxy_cache_key \"{port}{key}\"; proxy_cache_valid any 60s; proxy_ignore_headers Cache-Control Expires;\n\
                 }} }}\n"
            )
        };
        let path = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            "daemon off; master_process off; pid {}; error_log stderr info; events {{ }}\n\
             http {{ access_log off; client_body_temp_path {}; proxy_temp_path {}; proxy_cache_path {} keys_zone=c:1m;\n\
             {}{}{} }}\n",
            path("pid"),
            path("body"),
            path("proxy"),
            path("cache"),
            server(ports[0], "$request_uri", "proxy_pass_header Date;"),
            server(ports[1], "$uri", "proxy_pass_header Date;"),
            server(ports[2], "$request_uri", ""),
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("nginx");
        let process =
            Process::start("nginx", command.arg("-p").arg(folder).arg("-e").arg("stderr").arg("-c").arg(&file));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(until("nginx listens", async || {
            ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
        }));
        Self { _process: process, by_query: ports[0], by_path: ports[1], rewriting: ports[2] }
    }
}

#[test]
fn nginx_that_caches_and_writes_dates() {
    let provider = SimServer::start(ProviderConfig::rfc().with_offset(Span::from_millis(7_300))).unwrap();
    let nginx = Nginx::start(&scratch("clock-nginx"), &provider.url());
    let running: Vec<_> = [nginx.by_query, nginx.by_path, nginx.rewriting]
        .into_iter()
        .flat_map(|port| {
            (0..PROCESSES).map(move |_| (port, start(&["--upstream", &format!("http://127.0.0.1:{port}")])))
        })
        .collect();
    for (port, child) in running {
        let object = end(child);
        let (truth, expected) = match port {
            port if port == nginx.by_query => (-7.3, "settled"),
            port if port == nginx.by_path => (-7.3, "disturbed"),
            _ => (0.0, "settled"),
        };
        assert!(is_honest(&object, "api_date", truth, 0.005), "{object:#}");
        assert_eq!(object["state"], expected, "{object:#}");
    }
}
