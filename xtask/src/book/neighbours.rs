//! What a page needs beside the simulated provider, because it names it: a Redis server, a time server, a provider at which
//! people log in, a release to check, a wheel to install.
//!
//! They are the real ones, on ports of their own, and end with the page. A page asks for each by showing the command or the
//! address that leads to it, so that it is written for its readers alone.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use super::page::Page;
use super::sandbox::{STORE_KEY, at, free_port, make, program, write};
use super::short::quoted;
use crate::shell::{self, Failure};
use crate::{dist, python};

/// The neighbours of one page.
#[derive(Default)]
pub(super) struct Neighbours {
    servers: Vec<Child>,
    /// Their outputs: a server may end that cannot say any more.
    outputs: Vec<BufReader<ChildStdout>>,
    /// Folders that end with the page.
    homes: Vec<PathBuf>,
    /// What pages show, and what it is here.
    pub(super) names: Vec<(String, String)>,
}

impl Neighbours {
    /// Starts and makes what the page names, in its folder.
    pub(super) fn of(page: &Page, folder: &Path) -> Result<Self, Failure> {
        let mut neighbours = Self::default();
        let shows = |what: &str| page.text.contains(what);
        if shows("redis") {
            neighbours.redis(folder)?;
        }
        if shows("ntp.example.org") {
            neighbours.chrony()?;
        }
        let blocks = page.blocks();
        let runs = |what: &str| {
            let is_run = |language: &str| matches!(language, "sh" | "bash" | "console");
            let lines = blocks.iter().filter(|block| is_run(&block.language)).flat_map(|block| block.text.lines());
            lines.into_iter().any(|line| line.trim_start_matches("$ ").starts_with(what))
        };
        if runs("evergrant login") {
            neighbours.login(folder)?;
        }
        if shows("SHA256SUMS") {
            dist::sample(&folder.join("work"))?;
        }
        if shows("pip install --target") {
            let (wheel, handler) = (python::for_tests()?, shell::root().join("examples/aws-lambda/handler.py"));
            for file in [wheel, handler] {
                let name = file.file_name().unwrap_or_default();
                fs::copy(&file, folder.join("work").join(name)).map_err(|error| at(&file, &error))?;
            }
        }
        Ok(neighbours)
    }

    /// A Redis server, and a `redis-cli` that talks to it.
    fn redis(&mut self, folder: &Path) -> Result<(), Failure> {
        let port = free_port()?;
        let mut server = Command::new("redis-server");
        server.args(["--port", &port.to_string(), "--save", "", "--bind", "127.0.0.1", "--dir"]).arg(folder);
        server.stdin(Stdio::null()).stdout(Stdio::null());
        self.start(&mut server)?;
        let wait = format!("for i in $(seq 200); do redis-cli -p {port} ping >&2 && exit 0; sleep 0.05; done; exit 1");
        shell::stdout(&mut shell::command("sh", ["-c", &wait]))?;
        for shown in ["rediss://app:PASSWORD@redis.internal:6379", "redis://127.0.0.1:6379"] {
            self.names.push((shown.to_owned(), format!("redis://127.0.0.1:{port}")));
        }
        program(&folder.join("bin/redis-cli"), &format!("PATH=${{PATH#*:}} exec redis-cli -p {port} \"$@\""))
    }

    /// A time server with this machine's time, which it must not touch.
    fn chrony(&mut self) -> Result<(), Failure> {
        // The name of a socket has room for some hundred characters, which a folder below the target folder may need itself. It
        // refuses to make its socket where others may write.
        let (port, home) = (free_port()?, std::env::temp_dir().join(format!("evergrant-book-{}", std::process::id())));
        make(&home)?;
        self.homes.push(home.clone());
        shell::stdout(&mut shell::command("chmod", ["700", &home.display().to_string()]))?;
        let file = home.join("chrony.conf");
        let (socket, process) = (home.join("chronyd.sock"), home.join("chronyd.pid"));
        let settings = format!(
            "port {port}\nbindaddress 127.0.0.1\nallow 127.0.0.1\nlocal stratum 1\ncmdport 0\nbindcmdaddress {}\n\
             pidfile {}\nuser root\n",
            socket.display(),
            process.display()
        );
        write(&file, &settings)?;
        let mut server = Command::new(shell::target().join("test-tools/chrony/usr/sbin/chronyd"));
        server.args(["-x", "-d", "-U", "-f"]).arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
        self.start(&mut server)?;
        let there = quoted(&socket.display());
        let wait = format!("for i in $(seq 200); do [ -S {there} ] && exit 0; sleep 0.05; done; exit 1");
        shell::stdout(&mut shell::command("sh", ["-c", &wait]))?;
        self.names.push(("ntp.example.org".to_owned(), format!("127.0.0.1:{port}")));
        Ok(())
    }

    /// A certified provider, the settings of its client, and a person who signs in wherever a browser is opened.
    fn login(&mut self, folder: &Path) -> Result<(), Failure> {
        let (node, parts) = (shell::target().join("test-tools/node"), shell::root().join("tests/parts"));
        let mut server = Command::new("node");
        server.arg(parts.join("idp.mjs")).env("NODE_PARTS", &node).env("TOKEN_SECS", "600");
        // It ends when its input does, which the child holds.
        server.stdin(Stdio::piped()).stdout(Stdio::piped());
        let said = self.start(&mut server)?.stdout.take();
        let mut line = String::new();
        let mut said = BufReader::new(said.ok_or_else(|| Failure::new("the provider has no output", ""))?);
        said.read_line(&mut line).map_err(|error| at(folder, &error))?;
        self.outputs.push(said);
        let about: Value = serde_json::from_str(&line)
            .map_err(|error| Failure::new(format!("the provider does not say where it is: {error}"), line.clone()))?;
        let of = |name: &str| about[name].as_str().unwrap_or_default();
        let store = format!("file:{}", folder.join("state/logins").display());
        let settings = [
            ("ISSUER", of("issuer")),
            ("UPSTREAM", of("api")),
            ("CLIENT_ID", "person"),
            ("CLIENT_SECRET", "person-secret"),
            ("SCOPE", "openid offline_access api:read"),
            ("STORE", &store),
            ("STORE_KEY", STORE_KEY),
        ];
        let exports = settings.map(|(name, value)| format!("export EVERGRANT_{name}={}\n", quoted(&value))).concat();
        write(&folder.join("state/login"), &format!("unset EVERGRANT_TOKEN_URL EVERGRANT_PROVIDER\n{exports}"))?;
        let (node, person) = (quoted(&node.display()), parts.join("person.mjs"));
        let person = quoted(&person.display());
        program(&folder.join("bin/xdg-open"), &format!("NODE_PARTS={node} exec node {person} /usr/bin/chromium \"$1\""))
    }

    fn start(&mut self, server: &mut Command) -> Result<&mut Child, Failure> {
        let name = server.get_program().to_owned();
        let child = server.stderr(Stdio::null()).spawn().map_err(|error| at(Path::new(&name), &error))?;
        self.servers.push(child);
        self.servers.last_mut().ok_or_else(|| Failure::new("nothing was started", ""))
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        for server in &mut self.servers {
            server.kill().ok();
            server.wait().ok();
        }
        for home in &self.homes {
            fs::remove_dir_all(home).ok();
        }
    }
}
