//! Certificates made for one test by openssl, at any date, and a server that shows them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::faked_wall::FakedWall;
use crate::parts::part;
use crate::process::Process;

/// Signs certificates: a root, or an authority below one.
pub(super) struct Authority {
    folder: PathBuf,
    name: &'static str,
    /// The authorities between a leaf and the root, which the server shows too.
    chain: Vec<PathBuf>,
}

/// A server's certificate with its chain, and its key.
pub(super) struct Leaf {
    certificate: PathBuf,
    key: PathBuf,
}

impl Authority {
    /// A root that is valid for years on either side.
    pub(super) fn new(folder: &Path) -> Self {
        let authority = Self { folder: folder.to_owned(), name: "root", chain: Vec::new() };
        let subject = ["-subj", "/CN=Doctor Root", "-days", "7300", "-keyout", "root.key", "-out", "root.pem"];
        authority.openssl(-3_650, &[&["req", "-x509"], &NEW_KEY[..], &subject[..]].concat());
        authority
    }

    /// The root's certificate.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.join("root.pem")
    }

    /// An authority below this one, made so many days from now, for so many days.
    pub(super) fn intermediate(&self, made: i64, days: u32) -> Self {
        self.sign("intermediate", "Doctor Intermediate", "basicConstraints=critical,CA:TRUE", made, days);
        let chain = vec![self.folder.join("intermediate.pem")];
        Self { folder: self.folder.clone(), name: "intermediate", chain }
    }

    /// A certificate for this host, made so many days from now, for so many days.
    pub(super) fn leaf(&self, host: &str, made: i64, days: u32) -> Leaf {
        self.sign("leaf", host, &format!("subjectAltName=DNS:{host}"), made, days);
        let own = self.folder.join("leaf.pem");
        let parts = std::iter::once(&own).chain(&self.chain).map(|path| std::fs::read_to_string(path).unwrap());
        let certificate = self.folder.join("shown.pem");
        std::fs::write(&certificate, parts.collect::<String>()).unwrap();
        Leaf { certificate, key: self.folder.join("leaf.key") }
    }

    fn sign(&self, name: &str, subject: &str, extension: &str, made: i64, days: u32) {
        let file = |ending: &str| format!("{name}.{ending}");
        std::fs::write(self.folder.join(file("ext")), extension).unwrap();
        let (subject, key, request) = (format!("/CN={subject}"), file("key"), file("csr"));
        self.openssl(made, &[&["req"], &NEW_KEY[..], &["-subj", &subject, "-keyout", &key, "-out", &request]].concat());
        let (ca, ca_key) = (format!("{}.pem", self.name), format!("{}.key", self.name));
        let (days, ext, out) = (days.to_string(), file("ext"), file("pem"));
        let by = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
        self.openssl(made, &[&by[..], &["-days", &days, "-extfile", &ext, "-out", &out]].concat());
    }

    /// Runs openssl as if it were so many days from now.
    fn openssl(&self, days_from_now: i64, arguments: &[&str]) {
        let wall = FakedWall::new(&self.folder, days_from_now * 86_400);
        let mut command = Command::new("openssl");
        let output = command.args(arguments).current_dir(&self.folder).envs(wall.variables()).output();
        let output = output.expect("openssl is there; run: cargo xtask test --only setup");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Used for all: the smallest keys that everybody takes.
const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/// TLS in front of a plain server.
pub(super) struct Front {
    _process: Process,
    port: u64,
}

impl Front {
    pub(super) fn start(leaf: &Leaf, upstream: &str) -> Self {
        let mut command = Command::new("node");
        command.arg(part("tls.mjs")).env("CERT", &leaf.certificate).env("KEY", &leaf.key).env("UPSTREAM", upstream);
        let process = Process::start("the TLS front", &mut command);
        let about: Value = process.line(|line| serde_json::from_str(line).ok());
        Self { _process: process, port: about["port"].as_u64().unwrap() }
    }

    /// Where it is, by a name that a certificate can be made out to.
    pub(super) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }
}
