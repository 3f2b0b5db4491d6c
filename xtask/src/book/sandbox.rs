//! Where the commands of a page run: a folder of its own, a simulated provider, and an environment that holds nothing
//! else.
//!
//! What a page needs beside the provider are its [`neighbours`](super::neighbours), and commands that would take long run in
//! a [`short`] form. Pages show names as a reader has them: `https://api.example.com`, port 7070, `/run/secrets/client`. Each of them stands
//! for something real here, and [`Sandbox::real`] and [`Sandbox::shown`] translate. What a command exports, where it goes
//! and what it starts is still there for the page's next command, as in one terminal. Everything ends with the sandbox.
//!
//! `<!-- environment: none -->` in a page leaves the settings to what the page itself sets; otherwise they are those of
//! the provider's client.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::neighbours::Neighbours;
use super::page::Page;
use super::short;
use crate::shell::{self, Failure};

const CLIENT_ID: &str = "sim-client";
const CLIENT_SECRET: &str = "sim-secret-6b1d0c57e2";
const REFRESH_TOKEN: &str = "sim-refresh-0-93fa41c8de";
/// 32 bytes in base64.
pub(super) const STORE_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// Hosts of the API, as pages name them.
const APIS: [&str; 4] = ["api.mypurecloud.de", "api.mypurecloud.ie", "api.mypurecloud.com", "api.example.com"];
/// Hosts of the token endpoint.
const LOGINS: [&str; 5] =
    ["login.mypurecloud.de", "login.mypurecloud.ie", "login.mypurecloud.com", "login.example.com", "id.example.com"];
/// Folders of a system that a page may name; here they are folders of the sandbox.
const FOLDERS: [&str; 5] = ["/run/secrets/", "/run/user/1000/", "/var/lib/evergrant/", "/etc/evergrant/", "/run/sso/"];

/// Somebody's own program, as pages name it; here it looks whether it was given what it needs.
const THEIRS: &str = "report.sh";
/// Routes of Genesys Cloud that the simulated provider has at another place.
const ROUTES: [(&str, &str); 3] = [
    ("/api/v2/users?pageSize=100", "/api/v2/paged/number?pageSize=100&total=250"),
    ("/api/v2/users --paginate", "/api/v2/paged/number?total=250 --paginate"),
    ("/api/v2/analytics/conversations/details/", "/api/v2/analytics/paged/details/"),
];

/// A place to run a page's commands in.
pub(super) struct Sandbox {
    folder: PathBuf,
    provider: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    _neighbours: Neighbours,
    /// What pages show, and what it is here.
    names: Vec<(String, String)>,
    /// Process groups in which something was left running.
    groups: Vec<u32>,
}

/// How a command ended.
pub(super) struct Ran {
    /// Its exit code; -1 if it was ended by a signal.
    pub(super) code: i32,
    /// What it printed, in the page's names.
    pub(super) printed: String,
}

impl Sandbox {
    /// A sandbox for a page.
    pub(super) fn open(page: &Page) -> Result<Self, Failure> {
        let folder = shell::target().join("book/run").join(page.path.replace(['/', '.'], "-"));
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|error| at(&folder, &error))?;
        }
        for name in ["home", "work", "state", "bin"] {
            make(&folder.join(name))?;
        }
        let mut provider = Command::new(shell::target().join("debug/examples/serve"));
        provider.stdin(Stdio::piped()).stdout(Stdio::piped()).env_clear();
        let mut provider = provider.spawn().map_err(|error| at(&folder, &error))?;
        let broken = || Failure::new("the simulated provider has no pipes", "");
        let orders = provider.stdin.take().ok_or_else(broken)?;
        let answers = BufReader::new(provider.stdout.take().ok_or_else(broken)?);
        let mut neighbours = Neighbours::of(page, &folder)?;
        let names = std::mem::take(&mut neighbours.names);
        let mut sandbox =
            Self { folder, provider, orders, answers, _neighbours: neighbours, names: Vec::new(), groups: Vec::new() };
        let urls = sandbox.order(&page.provider())?;
        let url = |name: &str| urls[name].as_str().unwrap_or_default().to_owned();
        sandbox.learn(page, &url("url"), &url("token_url"))?;
        sandbox.names.extend(names);
        sandbox.furnish(page)?;
        Ok(sandbox)
    }

    /// Lets happen to the provider what a page's comment says.
    pub(super) fn happen(&mut self, fault: &str) -> Result<(), Failure> {
        let always = |kind: &str, name: &str| json!({ kind: {"fault": name, "route": null, "chance": {"permille": 1000, "times": null}} });
        let event = match fault.split_once(' ') {
            Some(("api", "works")) => json!("clear_api_faults"),
            Some(("token", "works")) => json!("clear_token_faults"),
            Some(("api", name)) => always("api_fault", name),
            Some(("token", name)) => {
                let mut event = always("token_fault", name);
                event["token_fault"].as_object_mut().map(|rule| rule.remove("route"));
                event
            }
            _ => serde_json::from_str(fault).map_err(|error| Failure::new(format!("`{fault}`: {error}"), ""))?,
        };
        self.order(&event.to_string()).map(|_| ())
    }

    /// Tells the provider of an event, as JSON.
    fn order(&mut self, json: &str) -> Result<Value, Failure> {
        let mut answer = String::new();
        let asked = writeln!(self.orders, "{json}").and_then(|()| self.orders.flush());
        asked.and_then(|()| self.answers.read_line(&mut answer)).map_err(|error| at(&self.folder, &error))?;
        serde_json::from_str(&answer)
            .map_err(|error| Failure::new(format!("the provider does not take {json}: {error}"), ""))
    }

    /// What each name that a page may use stands for.
    fn learn(&mut self, page: &Page, url: &str, token_url: &str) -> Result<(), Failure> {
        let host = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let mut names = Vec::new();
        // What a page itself names comes first: it is what its outputs are translated back into.
        let first = |known: &[&str]| {
            let mut known: Vec<String> = known.iter().map(|name| (*name).to_owned()).collect();
            known.sort_by_key(|name| !page.text.contains(name.as_str()));
            known
        };
        for login in first(&LOGINS) {
            names.push((format!("https://{login}/oauth/token"), token_url.to_owned()));
        }
        for api in first(&APIS) {
            names.push((format!("https://{api}"), url.trim_end_matches('/').to_owned()));
        }
        for api in first(&APIS) {
            names.push((format!("{api}:443"), host.clone()));
        }
        names.push(("https://www.example.org".to_owned(), url.trim_end_matches('/').to_owned()));
        for port in ["7070", "7071", "7080", "8080", "3000"] {
            names.push((format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", free_port()?)));
        }
        for folder in FOLDERS {
            let real = self.folder.join(folder.trim_matches('/').replace('/', "-"));
            make(&real)?;
            names.push((folder.to_owned(), format!("{}/", real.display())));
        }
        names.push(("CLIENT_ID=...".into(), format!("CLIENT_ID={CLIENT_ID}")));
        names.push(("CLIENT_SECRET=...".into(), format!("CLIENT_SECRET={CLIENT_SECRET}")));
        names.push(("REFRESH_TOKEN=...".into(), format!("REFRESH_TOKEN={REFRESH_TOKEN}")));
        names.push(("client_id = \"...\"".into(), format!("client_id = \"{CLIENT_ID}\"")));
        names.push(("cargo run --release --".into(), "evergrant".into()));
        names.extend(ROUTES.map(|(shown, real)| (shown.to_owned(), real.to_owned())));
        self.names = names;
        Ok(())
    }

    /// The environment, the files that the page names, and the program.
    fn furnish(&mut self, page: &Page) -> Result<(), Failure> {
        let state = self.folder.join("state");
        short::furnish(&self.folder.join("bin"), &state)?;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut variables = vec![
            ("PATH", format!("{}:{path}", self.folder.join("bin").display())),
            ("HOME", self.folder.join("home").display().to_string()),
            ("LANG", "C.UTF-8".to_owned()),
            ("TERM", "dumb".to_owned()),
        ];
        if !page.text.lines().any(|line| line == "<!-- environment: none -->") {
            let of = |shown: &str| self.real(shown);
            variables.extend([
                ("EVERGRANT_TOKEN_URL", of("https://login.example.com/oauth/token")),
                ("EVERGRANT_UPSTREAM", of("https://api.example.com")),
                ("EVERGRANT_CLIENT_ID", CLIENT_ID.to_owned()),
                ("EVERGRANT_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
                ("EVERGRANT_PROVIDER", "genesys".to_owned()),
            ]);
            let ports = [("LISTEN", of("127.0.0.1:7070")), ("ADMIN_LISTEN", of("127.0.0.1:7071"))];
            let ports =
                ports.map(|(name, addr)| format!("export EVERGRANT_{name}=\"${{EVERGRANT_{name}:-{addr}}}\"\n"));
            write(&state.join("ports"), &ports.concat())?;
        }
        if page.text.contains(THEIRS) {
            let path = self.folder.join("work").join(THEIRS);
            program(&path, r#"test -n "${EVERGRANT_ACCESS_TOKEN-}${EVERGRANT_GATEWAY_URL-}""#)?;
        }
        let export = |(name, value): &(&str, String)| format!("export {name}={}\n", short::quoted(value));
        let exports: String = variables.iter().map(export).collect();
        write(&state.join("env"), &exports)?;
        write(&state.join("cwd"), &self.folder.join("work").display().to_string())?;
        for folder in FOLDERS {
            for (at, _) in page.text.match_indices(folder) {
                let rest = &page.text[at..];
                let end = rest.find(|c: char| !(c.is_alphanumeric() || "/._-".contains(c))).unwrap_or(rest.len());
                let name = &rest[..end];
                let is_file = name.len() > folder.len() && folder == "/run/secrets/";
                if is_file {
                    let secret = if name.contains("store") { STORE_KEY } else { CLIENT_SECRET };
                    write(Path::new(&self.real(name)), secret)?;
                }
            }
        }
        Ok(())
    }

    /// The text with every name as it is here.
    pub(super) fn real(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (shown, real)| text.replace(shown, real))
    }

    /// The text with every name as pages show it.
    fn shown(&self, text: &str) -> String {
        let home = self.folder.join("work").display().to_string();
        let text = text.replace(&format!("{home}/"), "");
        self.names.iter().fold(text, |text, (shown, real)| {
            let is_name =
                !real.is_empty() && real != "evergrant" && !shown.ends_with("=...") && !shown.starts_with("client_id");
            if is_name { text.replace(real, shown) } else { text }
        })
    }

    /// A file that no page sees.
    pub(super) fn state(&self, name: &str) -> PathBuf {
        self.folder.join("state").join(name)
    }

    /// Writes a file that a page shows; `~/` is the home of the sandbox.
    pub(super) fn keep(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = match name.strip_prefix("~/") {
            Some(name) => self.folder.join("home").join(name),
            None if name.starts_with('/') => PathBuf::from(self.real(name)),
            None => self.folder.join("work").join(name),
        };
        make(path.parent().unwrap_or(&path))?;
        write(&path, text)
    }

    /// Runs a command or a script; with `only_stdout` its error output is left out.
    pub(super) fn run(&mut self, script: &str, only_stdout: bool) -> Result<Ran, Failure> {
        let state = self.folder.join("state");
        let places = format!("state={}\n", short::quoted(&state.display()));
        let text = places + &FRAME.replace("SCRIPT", &self.real(script));
        let (file, log) = (state.join("script"), state.join("printed"));
        write(&file, &text)?;
        let out = File::create(&log).map_err(|error| at(&log, &error))?;
        let err = if only_stdout { File::create(state.join("error")) } else { out.try_clone() };
        let err = err.map_err(|error| at(&log, &error))?;
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", short::patience(script), "bash"])
            .arg(&file)
            .env_clear()
            .current_dir(&self.folder);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let mut child = command.spawn().map_err(|error| at(&file, &error))?;
        // `timeout` makes a process group of its own, in which everything stays that the command starts. Its number is not
        // given to anybody else while one of them lives.
        let group = child.id();
        let status = child.wait().map_err(|error| at(&file, &error))?;
        if signal("-0", group) {
            self.groups.push(group);
        }
        let printed = fs::read(&log).map_err(|error| at(&log, &error))?;
        let printed = self.shown(&String::from_utf8_lossy(&printed));
        Ok(Ran { code: status.code().unwrap_or(-1), printed })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Most end at once; what a group still has after three seconds is killed.
        for group in &self.groups {
            signal("-TERM", *group);
        }
        for group in &self.groups {
            let wait =
                format!("for i in $(seq 60); do kill -0 -{group} || exit 0; sleep 0.05; done; kill -KILL -{group}");
            shell::stdout(&mut shell::command("sh", ["-c", &wait])).ok();
        }
        self.provider.kill().ok();
        self.provider.wait().ok();
    }
}

/// Sends a signal to a process group; false if nobody is left in it.
fn signal(signal: &str, group: u32) -> bool {
    shell::stdout(&mut shell::command("sh", ["-c", &format!("kill {signal} -{group}")])).is_ok()
}

/// What stands around each script: the state of the one before, and what is kept for the next.
const FRAME: &str = r#"set -eu
. "$state/env"
cd "$(cat "$state/cwd")"
trap 'code=$?; export -p >"$state/env"; pwd >"$state/cwd"; exit $code' EXIT
SCRIPT
"#;

/// A port that nobody listens on. It is below those that the system gives to connections, any of which would take it
/// between this look and its use.
pub(super) fn free_port() -> Result<u16, Failure> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const RANGE: u32 = 10_000;
    for _ in 0..RANGE {
        let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(97)) % RANGE;
        let port = 20_000 + u16::try_from(number).unwrap_or_default();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Failure::new("no port is free", ""))
}

pub(super) fn make(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| at(folder, &error))
}

/// Writes a script that can be run.
pub(super) fn program(path: &Path, script: &str) -> Result<(), Failure> {
    write(path, &format!("#!/bin/sh\n{script}\n"))?;
    shell::stdout(&mut shell::command("chmod", ["700", &path.display().to_string()])).map(|_| ())
}

/// Writes a file for its owner alone, as files of secrets have to be.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::Permissions::from_mode(0o600);
    fs::write(path, text).and_then(|()| fs::set_permissions(path, mode)).map_err(|error| at(path, &error))
}

pub(super) fn at(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()), "")
}
