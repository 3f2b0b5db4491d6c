//! Ten thousand callers that keep their connections and ask for nothing.
//!
//! Client libraries keep connections for minutes and use them for moments, so the gateway has to bear many that are
//! quiet. Each caller here has had one answer. Both ends need ten thousand open files, which most hard limits allow.

use std::net::SocketAddr;
use std::path::PathBuf;

use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig};
use evergrant_sim::http::SimServer;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::gateway::Gateway;
use crate::parts::scratch;
use crate::until;

/// As many connections as a site may have unless its settings say otherwise.
const CROWD: usize = 10_000;
/// What the whole process may take.
const MOST_MIB: u64 = 150;
/// Files that both ends need beside the connections.
const OTHER_FILES: u64 = 500;
/// Connections that are opened at once.
const AT_ONCE: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_are_cheap_and_the_next_ones_are_told() {
    allow_files();
    let folder: PathBuf = scratch("crowd");
    let sim = SimServer::start(ProviderConfig::rfc()).unwrap();
    let (token_url, upstream) = (sim.token_url(), sim.url());
    let settings = [
        ("PROVIDER", "oauth2"),
        ("TOKEN_URL", token_url.as_str()),
        ("UPSTREAM", upstream.as_str()),
        ("CLIENT_ID", CLIENT_ID),
        ("CLIENT_SECRET", CLIENT_SECRET),
    ];
    let gateway = Gateway::start(&folder, None, &settings);
    let addr: SocketAddr = gateway.url().trim_start_matches("http://").parse().unwrap();
    let alone = gateway.resident_mib();

    let mut crowd = Vec::new();
    while crowd.len() < CROWD {
        let first = crowd.len();
        let mut coming: JoinSet<TcpStream> = JoinSet::new();
        for number in first..first + AT_ONCE {
            coming.spawn(async move {
                let mut stream = connect(addr, number).await;
                assert!(ask(&mut stream, addr).await.starts_with("HTTP/1.1 200"));
                stream
            });
        }
        crowd.extend(coming.join_all().await);
    }
    until("the crowd takes little memory", async || gateway.resident_mib() < MOST_MIB).await;
    println!("{alone} MiB alone, {} MiB with {CROWD} idle connections", gateway.resident_mib());

    for number in 0..3 {
        let mut late = connect(addr, number).await;
        let told = ask(&mut late, addr).await;
        assert!(told.starts_with("HTTP/1.1 503") && told.contains("\r\nretry-after: "), "{told}");
    }
    for stream in crowd.iter_mut().step_by(37) {
        assert!(ask(stream, addr).await.starts_with("HTTP/1.1 200"), "a connection of the crowd is of no use");
    }
    assert_eq!(connections(&gateway).await, CROWD);
    drop(crowd);
    until("all connections are gone", async || connections(&gateway).await == 0).await;
    let mut next = connect(addr, 0).await;
    assert!(ask(&mut next, addr).await.starts_with("HTTP/1.1 200"));
    assert!(gateway.resident_mib() < MOST_MIB);
}

/// Lets this process, and those that it starts, have as many open files as the connections need.
fn allow_files() {
    let needed = CROWD as u64 + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(
        most >= needed,
        "this test needs {needed} open files and may have {most}; raise the hard limit (ulimit -Hn)"
    );
    if limit.current.is_some_and(|now| now < needed) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum }).unwrap();
    }
}

/// Connects from one of several loopback addresses, because one alone may not have so many free ports.
async fn connect(to: SocketAddr, number: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let last = u8::try_from(1 + number % 4).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// One request, and its answer as text.
async fn ask(stream: &mut TcpStream, addr: SocketAddr) -> String {
    let request = format!("GET /api/v2/users HTTP/1.1\r\nHost: {addr}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let mut bytes = [0; 4096];
    loop {
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "closed after {text:?}");
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        if body.len() >= length.unwrap_or_else(|| panic!("no length in {head}")).parse().unwrap() {
            return text;
        }
    }
}

async fn connections(gateway: &Gateway) -> usize {
    let open = &gateway.status().await["listeners"][0]["gateway"]["connections"];
    usize::try_from(open.as_u64().unwrap()).unwrap()
}
