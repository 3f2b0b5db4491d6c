//! The static program in an empty root: a file system that holds nothing but the program itself.
//!
//! Nothing may be taken for granted there: no C library, no loader, no certificates, no `/etc/resolv.conf`, no `/proc`,
//! `/dev` or `/tmp`, no users. What a slim container has is at least this. The network is the machine's, so that the
//! simulated provider on loopback can be reached by its address.
//!
//! `cargo xtask test --only static` builds the program for the static target and names it in `EVERGRANT_STATIC`;
//! `cargo xtask dist` does the same with the one that it packs. The root is entered by `chroot`, and by somebody who is
//! not root in a user namespace.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET};
use evergrant_sim::{ProviderConfig, SimServer};
use rustix::process::{Pid, Signal, geteuid, kill_process};

/// A folder that holds the program alone.
struct EmptyRoot(tempfile::TempDir);

impl EmptyRoot {
    fn new() -> Self {
        let program = std::env::var_os("EVERGRANT_STATIC").expect("EVERGRANT_STATIC names the static program");
        let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let inside = root.path().join("evergrant");
        // A link is quicker than a copy, but cannot lead to another file system.
        std::fs::hard_link(&program, &inside).or_else(|_| std::fs::copy(&program, &inside).map(|_| ())).unwrap();
        Self(root)
    }

    /// The program with these arguments and no environment.
    fn evergrant(&self, args: &[&str]) -> Command {
        let mut command = if geteuid().is_root() {
            Command::new("chroot")
        } else {
            let mut unshare = Command::new("unshare");
            unshare.args(["--user", "--map-root-user", "chroot"]);
            unshare
        };
        command.arg(self.0.path()).arg("/evergrant").args(args).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command
    }

    /// The same with the settings of the provider's client.
    fn client_of(&self, provider: &SimServer, args: &[&str]) -> Command {
        let mut command = self.evergrant(args);
        command.env("EVERGRANT_TOKEN_URL", provider.token_url()).env("EVERGRANT_UPSTREAM", provider.url());
        command.env("EVERGRANT_CLIENT_ID", CLIENT_ID).env("EVERGRANT_CLIENT_SECRET", CLIENT_SECRET);
        command
    }

    /// What the program said of a token endpoint that cannot be used.
    fn complaint_about(&self, token_url: &str) -> String {
        let mut command = self.evergrant(&["token", "--token-timeout", "4s"]);
        command.env("EVERGRANT_TOKEN_URL", token_url);
        command.env("EVERGRANT_CLIENT_ID", CLIENT_ID).env("EVERGRANT_CLIENT_SECRET", CLIENT_SECRET);
        let output = command.output().unwrap();
        assert_eq!(text(&output.stdout), "");
        assert!(!output.status.success());
        text(&output.stderr)
    }

    fn files(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

/// A child that is ended with its value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs the static program: cargo xtask test --only static"]
fn it_starts_and_leaves_nothing_behind() {
    let root = EmptyRoot::new();
    let said = good(root.evergrant(&["--version"]).output().unwrap());
    assert!(said.starts_with(&format!("evergrant {}", env!("CARGO_PKG_VERSION"))), "{said}");
    assert!(good(root.evergrant(&["help"]).output().unwrap()).contains("Usage: evergrant"));
    assert_eq!(root.files(), [root.0.path().join("evergrant")]);
}

#[test]
#[ignore = "needs the static program: cargo xtask test --only static"]
fn it_prints_a_token_that_the_api_takes() {
    let (root, provider) = (EmptyRoot::new(), provider());
    let token = good(root.client_of(&provider, &["token"]).output().unwrap());
    let answer = get(&provider.addr().to_string(), &format!("authorization: Bearer {}\r\n", token.trim()));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
#[ignore = "needs the static program: cargo xtask test --only static"]
fn its_gateway_serves_knows_its_user_and_ends_when_asked() {
    let (root, provider) = (EmptyRoot::new(), provider());
    let args = ["gateway", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--json"];
    let mut command = root.client_of(&provider, &args);
    let mut gateway = Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(gateway.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addresses: serde_json::Value = serde_json::from_str(&line).unwrap();
    // Only callers of the same user are let in, and who calls is asked of the kernel, without `/proc`.
    let answer = get(addresses["gateway"].as_str().unwrap(), "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(get(addresses["admin"].as_str().unwrap(), "").starts_with("HTTP/1.1 "));
    kill_process(Pid::from_child(&gateway.0), Signal::TERM).unwrap();
    assert_eq!(gateway.0.wait().unwrap().code(), Some(0));
}

#[test]
#[ignore = "needs the static program: cargo xtask test --only static"]
fn without_certificates_of_the_machine_tls_has_the_bundled_roots() {
    let root = EmptyRoot::new();
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (server, port) = foreign_server(scratch.path());
    let said = root.complaint_about(&format!("https://127.0.0.1:{port}/token"));
    // An answer about this certificate, and not about roots that are missing.
    assert!(said.contains(&format!("TLS with 127.0.0.1:{port} failed")), "{said}");
    assert!(said.contains("if its authority is private, name its certificate as the CA file"), "{said}");
    drop(server);
}

#[test]
#[ignore = "needs the static program: cargo xtask test --only static"]
fn a_name_that_nobody_can_resolve_is_called_that() {
    let said = EmptyRoot::new().complaint_about("https://login.evergrant.invalid/token");
    let why = "login.evergrant.invalid:443 is unreachable: no connection in time, \
               and there is no /etc/resolv.conf to resolve its name with";
    assert!(said.contains(why), "{said}");
}

#[test]
#[ignore = "needs the static program: cargo xtask test --only static"]
fn a_keyring_is_missed_in_one_sentence() {
    let (root, provider) = (EmptyRoot::new(), provider());
    let output = root.client_of(&provider, &["token", "--store", "keyring"]).output().unwrap();
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("keyring") && !said.contains("panicked"), "{said}");
}

fn provider() -> SimServer {
    SimServer::start(ProviderConfig::rfc()).unwrap()
}

/// A TLS server whose certificate comes from an authority that nobody knows.
fn foreign_server(folder: &Path) -> (Running, u16) {
    let openssl = |args: &str| {
        let mut openssl = Command::new("openssl");
        openssl.args(args.split(' ')).current_dir(folder).stdin(Stdio::null());
        openssl
    };
    std::fs::write(folder.join("names"), "subjectAltName = IP:127.0.0.1\n").unwrap();
    for args in [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -subj /CN=nobody",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out request.pem -subj /CN=127.0.0.1",
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names -out cert.pem",
    ] {
        let output = openssl(args).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let mut server = openssl("s_server -accept 127.0.0.1:0 -cert cert.pem -key key.pem -www");
    let mut server = Running(server.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let log = BufReader::new(server.0.stdout.take().unwrap());
    let mut lines = log.lines().map(Result::unwrap);
    let line = lines.find(|line| line.starts_with("ACCEPT")).unwrap();
    let port = line.rsplit(':').next().unwrap().parse().unwrap();
    // It writes as long as it runs; whoever reads must not end before.
    std::thread::spawn(move || lines.count());
    (server, port)
}

/// The whole answer to a GET.
fn get(address: &str, field: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /api/v2/users HTTP/1.1\r\nhost: {address}\r\n{field}connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The standard output of a run that went well.
fn good(output: Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
