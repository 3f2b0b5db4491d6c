//! `cargo xtask dist`: what a user unpacks.
//!
//! Builds the program with the `dist` profile (thin LTO, one codegen unit, stripped) and guided by a profile of its work
//! ([`profile`]), and packs it with its man pages,
//! completions, units for systemd, licences and README into one archive under `dist-packages` in the target folder,
//! with a checksum beside it.

use std::fs;
use std::path::Path;

use crate::profile;
use crate::shell::{self, Failure, capture, command};

const PAPERS: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];
const UNITS: [&str; 2] = ["evergrant.service", "evergrant.socket"];

/// Builds and packs.
pub(crate) fn run() -> Result<(), Failure> {
    let program = profile::program()?;
    let name = format!("evergrant-{}-{}-{}", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
    let dist = shell::target().join("dist-packages");
    let folder = dist.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| at(&folder, &error))?;
    }
    for part in ["completions", "systemd"] {
        fs::create_dir_all(folder.join(part)).map_err(|error| at(&folder, &error))?;
    }
    copy(&program, &folder.join("evergrant"))?;
    for paper in PAPERS {
        copy(&shell::root().join(paper), &folder.join(paper))?;
    }
    for unit in UNITS {
        copy(&shell::root().join("deploy/systemd").join(unit), &folder.join("systemd").join(unit))?;
    }
    let program = program.display().to_string();
    for shell_name in SHELLS {
        let script = shell::stdout(&mut command(&program, ["completions", shell_name]))?;
        let path = folder.join("completions").join(format!("evergrant.{shell_name}"));
        fs::write(&path, script).map_err(|error| at(&path, &error))?;
    }
    capture(&mut command(&program, ["man", &folder.join("man").display().to_string()]))?;

    let archive = format!("{name}.tar.gz");
    capture(command("tar", ["-czf", &archive, &name]).current_dir(&dist))?;
    let sum = shell::stdout(command("sha256sum", [archive.as_str()]).current_dir(&dist))?;
    let path = dist.join(format!("{archive}.sha256"));
    fs::write(&path, &sum).map_err(|error| at(&path, &error))?;
    println!("{}\n{}", dist.join(archive).display(), sum.trim());
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::copy(from, to).map(|_| ()).map_err(|error| at(from, &error))
}

fn at(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()), "")
}
