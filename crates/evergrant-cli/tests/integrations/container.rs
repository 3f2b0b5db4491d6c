//! Runs a container of a manifest without a container: its arguments, variables, files and user.
//!
//! The user needs root to be changed to. Without it everything else is as the manifest says.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use evergrant_sim::config::{CLIENT_SECRET, ProviderConfig};
use evergrant_sim::http::SimServer;
use serde_json::Value;

use crate::process::Process;

pub(crate) const CALLER_SECRET: &str = "a-secret-of-the-callers";
/// Where the manifests mount their secret.
pub(crate) const MOUNTED: &str = "/run/evergrant";

/// The pod's address, of either kind; none is this machine's.
const POD: [&str; 2] = ["fd00:10::5", "10.1.2.3"];

/// A mounted secret, as Kubernetes lays it out: the files are links through a folder that is swapped as a whole.
pub(crate) struct Secrets {
    folder: tempfile::TempDir,
}

impl Secrets {
    pub(crate) fn new(name: &str) -> Self {
        // Another user has to find it; nobody's home is on the way.
        let folder = tempfile::Builder::new().prefix(&format!("evergrant-{name}-")).tempdir_in("/tmp").unwrap();
        let data = folder.path().join("..2026_01_01");
        std::fs::create_dir(&data).unwrap();
        for (name, text) in [("client-secret", CLIENT_SECRET), ("caller-secret", CALLER_SECRET)] {
            // Pasted, it ends with a line.
            std::fs::write(data.join(name), format!("{text}\n")).unwrap();
            symlink(format!("..data/{name}"), folder.path().join(name)).unwrap();
        }
        symlink("..2026_01_01", folder.path().join("..data")).unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }
}

/// A gateway that runs as a manifest says.
pub(crate) struct Container {
    pub(crate) provider: SimServer,
    gateway: String,
    status: String,
    uid: Option<u64>,
    program: PathBuf,
    /// Ends before its files do.
    _process: Process,
    _secrets: Secrets,
}

impl Container {
    pub(crate) fn start(container: &Value, secrets: Secrets) -> Self {
        let provider = SimServer::start(ProviderConfig::genesys()).unwrap();
        let uid = is_root().then(|| container["securityContext"]["runAsUser"].as_u64().unwrap());
        let folder = secrets.folder.path();
        let program = folder.join("evergrant");
        std::fs::copy(env!("CARGO_BIN_EXE_evergrant"), &program).unwrap();
        // An image's own command; the manifests give no other.
        assert!(container["command"].is_null() && container["args"].is_null());
        let [_, variables] = POD.map(|pod| {
            let variables = variables(container, folder, pod);
            let mut check = as_user(uid, &program);
            let checked = check.args(["config", "check"]).env_clear().envs(variables.clone()).output().unwrap();
            let said = String::from_utf8(checked.stderr).unwrap();
            assert!(checked.status.success(), "{pod}: {said}");
            // The pages are for probes and for Prometheus, which show no secret. Nothing else is worth a warning.
            let about_pages = "warning: everybody who can connect may call\n  in: EVERGRANT_ADMIN_LISTEN\n";
            assert_eq!(said.matches("warning:").count(), said.matches(about_pages).count(), "{said}");
            variables
        });
        let mut command = as_user(uid, &program);
        command.arg("gateway").env_clear().envs(variables).current_dir("/");
        // In place of the region's own hosts, and of ports that somebody else may have.
        command.env("EVERGRANT_TOKEN_URL", provider.token_url()).env("EVERGRANT_UPSTREAM", provider.url());
        command.env("EVERGRANT_CLIENT_ID", evergrant_sim::config::CLIENT_ID);
        command.env("EVERGRANT_LISTEN", "127.0.0.1:0").env("EVERGRANT_ADMIN_LISTEN", "127.0.0.1:0");
        let process = Process::start("the gateway", &mut command);
        let address = |listener: &str| process.line(|line| crate::listening(line, listener));
        let (gateway, status) = (address("gateway"), address("admin"));
        Self { provider, gateway, status, uid, program, _process: process, _secrets: secrets }
    }

    /// Could it be given the user that the manifest says?
    pub(crate) fn has_user_of_its_own(&self) -> bool {
        self.uid.is_some()
    }

    /// Calls the gateway as this user with curl.
    pub(crate) fn call(&self, uid: u64, path: &str, fields: &[&str]) -> (u16, String) {
        let mut curl = as_user(self.uid.map(|_| uid), Path::new("curl"));
        curl.args(["--silent", "--show-error", "--write-out", "\n%{http_code}"]);
        for field in fields {
            curl.args(["--header", field]);
        }
        let output = curl.arg(format!("http://{}{path}", self.gateway)).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let (body, code) = said.rsplit_once('\n').unwrap_or_else(|| panic!("{:?}", output.stderr));
        (code.parse().unwrap(), body.to_owned())
    }

    /// Waits as the health check of the image would, which asks as the gateway's own user.
    pub(crate) fn when_healthy(&self) {
        let mut asked = as_user(self.uid, &self.program);
        let asked =
            asked.args(["ready", "--wait", "30s"]).env_clear().env("EVERGRANT_ADMIN_LISTEN", &self.status).status();
        assert!(asked.unwrap().success());
    }

    /// The probes of the manifest ask what the status listener answers, as does the health check of the image.
    pub(crate) fn check_probes(&self, container: &Value) {
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let http = &container[probe]["httpGet"];
            let port = container["ports"].as_array().unwrap().iter().find(|port| port["name"] == http["port"]);
            assert_eq!(port.unwrap()["containerPort"], 7071, "{probe}");
            assert_eq!(self.probe(http["path"].as_str().unwrap()), 200, "{probe}");
        }
        self.when_healthy();
    }

    /// What the kubelet sees: it names the pod's address, which is none of the gateway's names.
    fn probe(&self, path: &str) -> u16 {
        let mut stream = TcpStream::connect(&self.status).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}:7071\r\nConnection: close\r\n\r\n", POD[1]).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

/// A container's variables, with the files that are mounted where they really are.
fn variables(container: &Value, folder: &Path, pod: &str) -> Vec<(String, String)> {
    let mounts = container["volumeMounts"].as_array().unwrap();
    assert!(mounts.iter().all(|mount| mount["mountPath"] == MOUNTED && mount["readOnly"] == true));
    let mut variables: Vec<(String, String)> = Vec::new();
    for variable in container["env"].as_array().unwrap() {
        let mut value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("status.podIP") => pod.to_owned(),
            Some(other) => panic!("{other}"),
            None => variable["value"].as_str().unwrap().replace(MOUNTED, folder.to_str().unwrap()),
        };
        // A value may name variables that stand before it.
        for (name, known) in &variables {
            value = value.replace(&format!("$({name})"), known);
        }
        variables.push((variable["name"].as_str().unwrap().to_owned(), value));
    }
    variables
}

/// A program as this user, with no group and no way to get more rights.
fn as_user(uid: Option<u64>, program: &Path) -> Command {
    let Some(uid) = uid else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={uid}"), format!("--regid={uid}")]).args(["--clear-groups", "--no-new-privs"]);
    command.arg(program);
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
