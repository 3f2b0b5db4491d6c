//! A runner of CI jobs, as far as the examples need one: a folder, an environment that grows, scripts one after another.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig};
use evergrant_sim::http::SimServer;
use serde_json::Value;

use crate::parts::scratch;

/// A job on a machine that was never used before.
pub(crate) struct Job {
    pub(crate) provider: SimServer,
    pub(crate) folder: PathBuf,
    pub(crate) env: BTreeMap<String, String>,
    /// What the project's settings hold: its variables and secrets.
    settings: BTreeMap<&'static str, String>,
}

impl Job {
    /// A job in a new folder, with the user's report in it, and settings for a simulated provider.
    pub(crate) fn new(name: &str) -> Self {
        let provider = SimServer::start(ProviderConfig::genesys()).unwrap();
        let outside = scratch(name);
        let folder = outside.join("workspace");
        std::fs::create_dir(&folder).unwrap();
        program(&folder.join("report.sh"), REPORT);
        let (archive, sum) = archive(&outside);
        let settings = BTreeMap::from([
            ("EVERGRANT_ARCHIVE", format!("file://{}", archive.display())),
            ("EVERGRANT_SHA256", sum),
            ("EVERGRANT_REGION", "eu-west-1".to_owned()),
            ("EVERGRANT_CLIENT_ID", CLIENT_ID.to_owned()),
            ("EVERGRANT_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
        ]);
        let (token_url, upstream) = (provider.token_url(), provider.url());
        let env = [
            ("PATH", std::env::var("PATH").unwrap().as_str()),
            ("HOME", outside.to_str().unwrap()),
            // In place of the region's own hosts.
            ("EVERGRANT_TOKEN_URL", &token_url),
            ("EVERGRANT_UPSTREAM", &upstream),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { provider, folder, env: env.into(), settings }
    }

    /// A setting of the project. One that the example's head does not name is a mistake in the example.
    pub(crate) fn setting(&self, name: &str) -> &str {
        self.settings.get(name).unwrap_or_else(|| panic!("the example says nothing of {name}"))
    }

    /// All settings, as a CI that hands them to every job does.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (String, String)> {
        self.settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone()))
    }

    /// Adds the variables of a job or step; the collection is one that the simulated API has.
    pub(crate) fn extend(env: &mut BTreeMap<String, String>, variables: &Value, expand: impl Fn(&str) -> String) {
        for (name, value) in variables.as_object().into_iter().flatten() {
            let value = expand(value.as_str().unwrap());
            let is_collection = name == "COLLECTION";
            env.insert(name.clone(), if is_collection { COLLECTION.to_owned() } else { value });
        }
    }

    /// Runs a script to its good end.
    pub(crate) fn run(&self, shell: &[&str], script: &str, env: &BTreeMap<String, String>) -> String {
        let file = self.folder.with_file_name("script");
        std::fs::write(&file, script).unwrap();
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).arg(&file).current_dir(&self.folder).env_clear().envs(env);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        assert!(output.status.success(), "{script}\n{}\n{said}", output.status);
        assert!(!said.contains(CLIENT_SECRET), "the log of the job shows the client secret");
        said
    }

    /// What must be there after the job of the examples: its files, from the doctor's token and one more.
    pub(crate) fn check_results(&self, log: &str) {
        assert!(log.contains(r#""path":"/api/v2/users/me""#), "the report called the API: {log}");
        let page = std::fs::read_to_string(self.folder.join("doctor.html")).unwrap();
        assert!(page.starts_with("<!doctype html>"));
        let users = std::fs::read_to_string(self.folder.join("users.csv")).unwrap();
        assert!(users.starts_with("id,name,division.name\n") && users.lines().count() == 36, "{users}");
        let ledger = self.provider.handle().ledger();
        assert_eq!((ledger.token.requests, ledger.refused()), (2, 0), "one token of the doctor's, one for all others");
    }
}

/// An archive like that of a release, and its checksum. The program in it is a door to the one that was built.
fn archive(folder: &Path) -> (PathBuf, String) {
    let release = folder.join("evergrant-0.0.0-linux-x86_64");
    std::fs::create_dir(&release).unwrap();
    program(&release.join("evergrant"), &format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_evergrant")));
    let archive = folder.join("release.tar.gz");
    let mut tar = Command::new("tar");
    tar.arg("-czf").arg(&archive).arg("-C").arg(folder).arg(release.file_name().unwrap());
    assert!(tar.status().unwrap().success());
    let sum = Command::new("sha256sum").arg(&archive).output().unwrap().stdout;
    (archive, String::from_utf8(sum).unwrap().split(' ').next().unwrap().to_owned())
}

fn program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A user's own program, which knows a URL and nothing of tokens.
const REPORT: &str = "#!/bin/sh\nset -eu\ntest -z \"${EVERGRANT_CLIENT_SECRET-}\"\n\
                      curl --silent --show-error --fail \"$EVERGRANT_GATEWAY_URL/api/v2/users/me\"\n";
const COLLECTION: &str = "/api/v2/paged/number?pageSize=10&total=35";
