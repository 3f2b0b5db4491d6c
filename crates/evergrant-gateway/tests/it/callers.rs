//! Who may call: another user of this machine really calls, and so does a caller whose user nobody knows.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Output;

use evergrant_gateway::{Address, Callers};
use http::{Request, StatusCode};
use tokio::process::Command;

use crate::support::*;

const SECRET: &str = "s3cr3t-of-the-callers";
/// `nobody` on most systems; any user but our own will do.
const STRANGER: u32 = 65_534;

/// Only root may start a process of another user.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can start a process of another user, and this test runs as somebody else");
    }
    is_root
}

/// Runs a program to its end, as another user if asked for.
async fn run(program: &str, arguments: &[&str], uid: Option<u32>) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/");
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    soon("the end of the caller", command.output()).await.unwrap()
}

/// What curl says of a URL: the status.
async fn curl(url: &str, more: &[&str], uid: Option<u32>) -> String {
    let arguments = [&["-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "10", url], more].concat();
    String::from_utf8(run("curl", &arguments, uid).await.stdout).unwrap()
}

async fn counting(log: &Log) -> TestUpstream {
    let log = log.clone();
    TestUpstream::start(move |request| {
        let log = log.clone();
        async move {
            log.note(request).await;
            answer(200, "body")
        }
    })
    .await
}

#[tokio::test]
async fn another_user_of_this_machine_is_refused() {
    if !is_root() {
        return;
    }
    let log = Log::default();
    let upstream = counting(&log).await;
    let gateway =
        TestGateway::with(upstream.addr, |config| config.listen.push(Address::Tcp("[::1]:0".parse().unwrap()))).await;
    assert_eq!(curl(&gateway.url("/"), &[], Some(STRANGER)).await, "403");
    let h2 = curl(&gateway.url("/"), &["--http2-prior-knowledge"], Some(STRANGER)).await;
    assert_eq!(h2, "403");
    let admin = format!("http://{}", gateway.admin);
    assert_eq!(curl(&format!("{admin}/status"), &[], Some(STRANGER)).await, "403");
    assert_eq!(curl(&format!("{admin}/healthz"), &[], Some(STRANGER)).await, "200");
    assert_eq!(log.count(), 0, "nothing of it reached the upstream");
    assert_eq!(curl(&gateway.url("/"), &[], None).await, "200", "the same user is served");
}

#[tokio::test]
async fn a_caller_that_hangs_up_at_once_is_nobody() {
    if !is_root() {
        return;
    }
    let log = Log::default();
    let upstream = counting(&log).await;
    let gateway = TestGateway::start(upstream.addr).await;
    // A token and a connection are ready, so that a request needs no time in which it could be given up.
    assert_eq!(curl(&gateway.url("/before"), &[], None).await, "200");
    // The system lists a closed socket as one of root, and we are root here. The gateway shares this thread, so it can
    // accept nothing before the stranger has hung up for the last time.
    let shout = format!(
        "for i in $(seq 50); do exec 3<>/dev/tcp/127.0.0.1/{}; printf 'POST / HTTP/1.1\\r\\nHost: {}\\r\\nContent-Length: 0\\r\\n\\r\\n' >&3; exec 3>&-; done; echo done",
        gateway.addr.port(),
        gateway.addr
    );
    let mut stranger = std::process::Command::new("bash");
    let output = stranger.args(["-c", &shout]).current_dir("/").uid(STRANGER).gid(STRANGER).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "done\n", "{output:?}");
    // The gateway has seen them all once it has answered a later one.
    assert_eq!(curl(&gateway.url("/after"), &[], None).await, "200");
    let seen: Vec<String> = log.all().into_iter().map(|seen| seen.head).collect();
    assert_eq!(seen, ["GET /before", "GET /after"]);
}

#[tokio::test]
async fn another_user_is_refused_on_a_unix_socket_even_if_its_mode_lets_it_connect() {
    if !is_root() {
        return;
    }
    let log = Log::default();
    let upstream = counting(&log).await;
    let folder = std::env::temp_dir().join(format!("evergrant-callers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("gateway.sock");
    let gateway = TestGateway::with(upstream.addr, |config| config.listen.push(Address::Unix(path.clone()))).await;
    let socket = ["--unix-socket", path.to_str().unwrap()];
    assert_eq!(curl("http://any.name/", &socket, None).await, "200");
    assert_eq!(curl("http://any.name/", &socket, Some(STRANGER)).await, "000", "the mode keeps strangers out");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(curl("http://any.name/", &socket, Some(STRANGER)).await, "403");
    assert_eq!(log.count(), 1);
    drop(gateway);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn any_and_secret_let_others_in() {
    if !is_root() {
        return;
    }
    let log = Log::default();
    let upstream = counting(&log).await;
    let any = TestGateway::with(upstream.addr, |config| config.callers = Callers::Any).await;
    assert_eq!(curl(&any.url("/"), &[], Some(STRANGER)).await, "200");
    let secret = TestGateway::with(upstream.addr, |config| {
        config.callers = Callers::Secret;
        config.caller_secret = Some(SECRET.into());
    })
    .await;
    let shown = format!("evergrant-caller-secret: {SECRET}");
    assert_eq!(curl(&secret.url("/"), &["-H", &shown], Some(STRANGER)).await, "200");
    assert_eq!(curl(&secret.url("/"), &[], None).await, "403", "the same user needs it as well");
}

#[tokio::test]
async fn a_secret_goes_no_further_than_the_gateway() {
    let log = Log::default();
    let upstream = counting(&log).await;
    let gateway = TestGateway::with(upstream.addr, |config| {
        config.callers = Callers::Secret;
        config.caller_secret = Some(SECRET.into());
    })
    .await;
    for (name, value) in [("evergrant-caller-secret", SECRET), ("proxy-authorization", &format!("Bearer {SECRET}"))] {
        let request = Request::get(gateway.url("/")).header(name, value).body(full("")).unwrap();
        assert_eq!(fetch(&caller(), request).await.0.status(), StatusCode::OK, "{name}");
    }
    for seen in log.all() {
        assert!(!format!("{:?}", seen.headers).contains(SECRET));
        assert!(!seen.headers.contains_key("proxy-authorization"));
    }
    let (refused, body) = get(gateway.url("/")).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(String::from_utf8_lossy(&body).contains("caller secret"));
    assert_eq!(log.count(), 2);
}

#[tokio::test]
async fn guesses_are_answered_with_429_after_ten() {
    let log = Log::default();
    let upstream = counting(&log).await;
    let gateway = TestGateway::with(upstream.addr, |config| {
        config.callers = Callers::Secret;
        config.caller_secret = Some(SECRET.into());
    })
    .await;
    let caller = caller();
    let mut statuses = Vec::new();
    for guess in 0..12 {
        let request = Request::get(gateway.url("/")).header("evergrant-caller-secret", format!("guess-{guess}"));
        let (response, _) = fetch(&caller, request.body(full("")).unwrap()).await;
        statuses.push(response.status().as_u16());
        assert_eq!(response.headers().contains_key("retry-after"), response.status() == 429);
    }
    assert_eq!(statuses, [[403; 10].as_slice(), &[429; 2]].concat());
    assert_eq!(log.count(), 0);
}

#[tokio::test]
async fn a_caller_from_beyond_loopback_needs_the_secret() {
    // An address of this machine that is not loopback; without one there is nobody to call from.
    let Some(outside) = outside_address() else {
        eprintln!("skipped: this machine has no address but loopback");
        return;
    };
    let log = Log::default();
    let upstream = counting(&log).await;
    let gateway = TestGateway::with(upstream.addr, |config| {
        config.listen = vec![Address::Tcp(SocketAddr::new(outside.ip(), 0))];
    })
    .await;
    // Both ends are of this machine, so the system still knows the caller.
    assert_eq!(get(gateway.url("/")).await.0.status(), StatusCode::OK);
    if is_root() {
        assert_eq!(curl(&gateway.url("/"), &[], Some(STRANGER)).await, "403");
    }
}

fn outside_address() -> Option<SocketAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Sends nothing: it makes the system choose the address that it would send from.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().filter(|addr| !addr.ip().is_loopback())
}
