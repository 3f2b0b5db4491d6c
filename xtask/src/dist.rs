//! `cargo xtask dist`: everything that a user gets of a release, in `dist-packages` of the target folder.
//!
//! The program is built with the `dist` profile (thin LTO, one codegen unit, stripped), guided by a profile of its work
//! ([`profile`]), twice: for the machine's own C library, which is faster, and for the static target ([`musl`]), which
//! needs nothing and is started in an empty root before anything is packed. Each goes into an archive with its man pages,
//! completions, units for systemd, licences, the works of others ([`notices`]) and the bill of materials ([`sbom`]). The
//! first one also goes into a Debian package ([`debian`]), and the Python package becomes a wheel ([`wheel`]). One file has
//! the checksums of them all.
//!
//! The commit's time is the time of every file, so what is packed depends on the commit, the compiler and the profile alone.
//! The last one is made by running the program, so two builds guided anew differ; with `--unguided` they do not depend on it.
//! A modified tree is packed too, and its program says so; a tree that changes meanwhile is refused.

use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::{self, Failure, capture, command};
use crate::tidy::licences::Allowed;
use crate::{musl, origin, profile, setup};

mod archive;
mod contents;
mod debian;
mod notices;
mod runtime;
mod sbom;
mod wheel;

use contents::Contents;
use notices::Work;

const PAPERS: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];
const UNITS: [&str; 2] = ["evergrant.service", "evergrant.socket"];

/// What all parts of a release have in common.
struct Release {
    /// Where they go.
    dist: PathBuf,
    version: &'static str,
    /// The commit, as the program is told: its hash, perhaps a remark, its date.
    commit: String,
    /// The time of the commit, in seconds of Unix time.
    epoch: u64,
    /// What the program says to `--version`.
    greeting: String,
    /// What everything is built from.
    source: Source,
}

/// The state of the source tree.
#[derive(PartialEq, Eq, Debug)]
struct Source {
    /// The commit: its hash, its date, its time.
    commit: String,
    /// What differs from it: the names of `git status`, and the differences themselves.
    changes: String,
}

impl Source {
    fn now() -> Result<Self, Failure> {
        let git = |args: &[&str]| shell::stdout(&mut command("git", args.iter().copied()));
        let changes = git(&["status", "--porcelain"])? + &git(&["diff", "HEAD"])?;
        Ok(Self { commit: git(&["log", "-1", "--format=%H %cs %ct"])?, changes })
    }

    fn is_modified(&self) -> bool {
        !self.changes.trim().is_empty()
    }

    /// Refuses a release that was built from more than one state.
    fn must_still_be(&self, now: &Self) -> Result<(), Failure> {
        if self == now {
            return Ok(());
        }
        let said = format!("{}{}\n{}{}", self.commit, self.changes, now.commit, now.changes);
        Err(Failure::new("the source tree was changed while the release was built; build it again", said))
    }
}

impl Release {
    fn new() -> Result<Self, Failure> {
        let source = Source::now()?;
        let said = &source.commit;
        let [hash, date, epoch] = said.split_whitespace().collect::<Vec<_>>()[..] else {
            return Err(Failure::new("git does not say which commit this is", &**said));
        };
        let hash =
            if source.is_modified() { format!("{}-modified", hash.get(..10).unwrap_or(hash)) } else { hash.to_owned() };
        let epoch = epoch.parse().map_err(|_| Failure::new("git names no time of the commit", &**said))?;
        Ok(Self {
            commit: format!("{hash} {date}"),
            dist: shell::target().join("dist-packages"),
            version: env!("CARGO_PKG_VERSION"),
            epoch,
            greeting: String::new(),
            source,
        })
    }

    /// What the folder of a target's archive is called.
    fn folder(&self, target: &str) -> String {
        format!("evergrant-{}-{target}", self.version)
    }

    /// The time of the commit as RFC 3339 writes it.
    fn time(&self) -> Result<String, Failure> {
        let at = format!("@{}", self.epoch);
        Ok(shell::stdout(&mut command("date", ["--utc", "--date", &at, "+%Y-%m-%dT%H:%M:%SZ"]))?.trim().to_owned())
    }
}

/// Builds and packs everything.
pub(crate) fn run(options: &[&str]) -> Result<(), Failure> {
    let is_guided = match options {
        [] => true,
        ["--unguided"] => false,
        [other, ..] => return Err(Failure::new(format!("`{other}` is no option of `dist`"), "--unguided")),
    };
    let mut release = Release::new()?;
    musl::prepare()?;
    // Before the long builds, so that what is missing is told at once.
    setup::for_wheel()?;
    let mut built = Vec::new();
    for target in [profile::host()?, musl::target()] {
        println!("the program for {target}:");
        let program = if is_guided {
            profile::program(&target, Some(&release.commit))?
        } else {
            profile::unguided(&target, Some(&release.commit))?
        };
        origin::must_not_show_in(&program)?;
        built.push((target, program));
    }
    let [(host, program), (target, static_program)] = &built[..] else { unreachable!("both were built") };
    println!("starting the static one in an empty root ...");
    musl::in_an_empty_root(static_program)?;
    release.greeting = shell::stdout(&mut command(&program.display().to_string(), ["--version"]))?;

    empty(&release.dist)?;
    let mut files = Vec::new();
    for (target, program) in &built {
        let name = release.folder(target);
        let unpacked = release.dist.join(&name);
        unpack(&release, program, target, &unpacked)?;
        archive::pack(&release.dist, &name, release.epoch)?;
        copy(&unpacked.join(BILL), &release.dist.join(format!("{name}.cdx.json")))?;
        files.extend([format!("{name}.tar.gz"), format!("{name}.cdx.json")]);
    }
    println!("making the Debian package ...");
    files.push(debian::package(&release, &release.dist.join(release.folder(host)))?);
    println!("building the wheel, some minutes ...");
    files.push(wheel::package(&release, &release.dist.join(release.folder(target)).join(BILL))?);
    release.source.must_still_be(&Source::now()?)?;
    let sums = archive::checksums(&release.dist, &files)?;
    println!("{}\n{}", release.dist.display(), sums.trim_end());
    Ok(())
}

/// Fills the folder that becomes the archive.
fn unpack(release: &Release, program: &Path, target: &str, folder: &Path) -> Result<(), Failure> {
    copy(program, &folder.join("evergrant"))?;
    for paper in PAPERS {
        copy(&shell::root().join(paper), &folder.join(paper))?;
    }
    for unit in UNITS {
        copy(&shell::root().join("deploy/systemd").join(unit), &folder.join("systemd").join(unit))?;
    }
    let evergrant = program.display().to_string();
    for shell_name in SHELLS {
        let script = shell::stdout(&mut command(&evergrant, ["completions", shell_name]))?;
        write(&folder.join("completions").join(format!("evergrant.{shell_name}")), &script)?;
    }
    capture(&mut command(&evergrant, ["man", &folder.join("man").display().to_string()]))?;
    let papers = papers(release, "evergrant-cli", "application", target)?;
    write(&folder.join(NOTICES), &papers.notices)?;
    write(&folder.join(BILL), &papers.bill)
}

/// A release in small, for whoever tries what a receiver does with one: an archive of the papers, and checksums of it and of
/// another file that was not taken along.
pub(crate) fn sample(dist: &Path) -> Result<(), Failure> {
    let release = Release::new()?;
    let (name, other) = (release.folder(&musl::target()), "evergrant_other_amd64.deb");
    for paper in PAPERS {
        copy(&shell::root().join(paper), &dist.join(&name).join(paper))?;
    }
    archive::pack(dist, &name, release.epoch)?;
    write(&dist.join(other), "not taken along")?;
    archive::checksums(dist, &[format!("{name}.tar.gz"), other.to_owned()])?;
    remove(&dist.join(&name))?;
    fs::remove_file(dist.join(other)).map_err(|error| at(dist, &error))
}

/// What a receiver may ask for: whose work it is, and of what it consists.
struct Papers {
    notices: String,
    bill: String,
}

/// The papers of a package that is built for a target.
fn papers(release: &Release, package: &str, kind: &str, target: &str) -> Result<Papers, Failure> {
    let path = shell::root().join("deny.toml");
    let allowed = Allowed::of(&fs::read_to_string(&path).map_err(|error| at(&path, &error))?);
    let contents = Contents::of(package, target)?;
    let mut works = notices::of_crates(&contents, &allowed)?;
    let mut runtimes = Vec::new();
    for (runtime, text) in runtime::linked_in(target)? {
        let name = format!("{} {}", runtime.name, runtime.version);
        works.push(Work { name, licence: runtime.licence.to_owned(), texts: vec![text] });
        runtimes.push(runtime);
    }
    let bill = sbom::bill(&contents, &runtimes, kind, &release.time()?);
    let bill = serde_json::to_string_pretty(&bill).map_err(|error| Failure::new(error.to_string(), ""))?;
    Ok(Papers { notices: notices::file(&works), bill: bill + "\n" })
}

const NOTICES: &str = "THIRD-PARTY-LICENSES";
const BILL: &str = "evergrant.cdx.json";

/// Writes a file, in a folder that may be new.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    with_folder(path)?;
    fs::write(path, text).map_err(|error| at(path, &error))
}

/// Copies a file, into a folder that may be new.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    with_folder(to)?;
    fs::copy(from, to).map(|_| ()).map_err(|error| at(from, &error))
}

fn with_folder(path: &Path) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|error| at(folder, &error))
}

/// Makes a folder that holds nothing.
fn empty(folder: &Path) -> Result<(), Failure> {
    remove(folder)?;
    fs::create_dir_all(folder).map_err(|error| at(folder, &error))
}

fn remove(folder: &Path) -> Result<(), Failure> {
    if folder.exists() { fs::remove_dir_all(folder).map_err(|error| at(folder, &error)) } else { Ok(()) }
}

/// What is in a folder, by name.
fn listing(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(folder).map_err(|error| at(folder, &error))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn at(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own for one test, removed when the test ends.
    pub(super) struct Scratch(PathBuf);

    impl Scratch {
        pub(super) fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("evergrant-dist-{name}-{}", std::process::id()));
            empty(&path).unwrap();
            Self(path)
        }

        pub(super) fn path(&self) -> &Path {
            &self.0
        }

        pub(super) fn file(&self, name: &str, text: &str) {
            write(&self.0.join(name), text).unwrap();
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    #[test]
    fn this_commit_has_a_time_and_the_program_is_told_of_it() {
        let release = Release::new().unwrap();
        let (hash, date) = release.commit.split_once(' ').unwrap();
        assert!(hash.len() >= 10 && date.len() == 10, "{}", release.commit);
        assert!(release.epoch > 1_700_000_000);
        assert!(release.time().unwrap().ends_with('Z'));
    }

    #[test]
    fn a_tree_that_changes_meanwhile_is_refused() {
        let source = |commit: &str, changes: &str| Source { commit: commit.to_owned(), changes: changes.to_owned() };
        let before = source("one", " M a\n+x\n");
        assert!(before.is_modified() && !source("one", "").is_modified());
        assert!(before.must_still_be(&source("one", " M a\n+x\n")).is_ok());
        for now in [source("two", " M a\n+x\n"), source("one", " M a\n+y\n"), source("one", "")] {
            assert!(before.must_still_be(&now).is_err(), "{now:?}");
        }
    }

    #[test]
    fn everybody_whose_work_is_shipped_is_named_with_a_licence_that_we_accept() {
        let (release, host) = (Release::new().unwrap(), profile::host().unwrap());
        for (package, own) in [("evergrant-cli", "clap"), ("evergrant-py", "pyo3")] {
            let papers = papers(&release, package, "library", &host).unwrap();
            for name in [own, "tokio", "aws-lc-sys", "rust-std"] {
                assert!(papers.notices.lines().any(|line| line.starts_with(&format!("{name} "))), "{package}: {name}");
                assert!(papers.bill.contains(&format!("/{name}@")), "{package}: {name}");
            }
            // They are in the lock file, and in no program.
            for name in ["proptest", "insta", "cc", "serde_derive"] {
                assert!(!papers.bill.contains(&format!("/{name}@")), "{package}: {name}");
            }
            assert!(papers.notices.contains("Permission is hereby granted"), "{package}");
        }
    }
}
