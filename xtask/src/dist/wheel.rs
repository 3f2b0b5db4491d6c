//! The wheel of a release: with its papers, checked by its name, by its size, by auditwheel, and by importing it.
//!
//! maturin builds it ([`python::released`]). The licences, the works of others and the bill of materials then go to where
//! Python keeps them (PEP 639: `licenses/`, PEP 770: `sboms/`), in place of maturin's own bill, which also lists what only
//! builds or tests. Its name says that one wheel fits every Python from 3.9 on, and from which version of glibc on it runs:
//! the linker took the newest symbols of the machine it was built on, maturin read them, and auditwheel reads them again.

use std::path::Path;

use super::{BILL, NOTICES, Release, copy, empty, papers, remove, write};
use crate::shell::{self, Failure, capture, command};
use crate::{origin, python};

/// Makes the wheel, checks it, and returns its file's name.
pub(super) fn package(release: &Release, bill_of_program: &Path) -> Result<String, Failure> {
    let built = python::released()?;
    let name = built.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    must_fit(&name, release.version)?;
    let folder = release.dist.join("papers");
    empty(&folder)?;
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let papers = papers(release, "evergrant-py", "library", &target)?;
    write(&folder.join("licenses").join(NOTICES), &papers.notices)?;
    write(&folder.join("sboms").join(BILL), &papers.bill)?;
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy(&shell::root().join(licence), &folder.join("licenses").join(licence))?;
    }
    let wheel = release.dist.join(&name);
    python(&["-c", ADD, &built.display().to_string(), &folder.display().to_string(), &wheel.display().to_string()])?;
    remove(&folder)?;
    python::must_be_small(&wheel)?;
    check(release, &wheel, bill_of_program)?;
    Ok(name)
}

/// Refuses a wheel that would fit fewer installations than we say.
fn must_fit(name: &str, version: &str) -> Result<(), Failure> {
    let (start, end) =
        (format!("evergrant-{version}-cp39-abi3-manylinux_2_"), format!("_{}.whl", std::env::consts::ARCH));
    let minor = name.strip_prefix(&start).and_then(|rest| rest.strip_suffix(&end)).and_then(|minor| minor.parse().ok());
    match minor {
        Some(0..=NEWEST_GLIBC) => Ok(()),
        Some(minor) => Err(Failure::new(format!("{name} needs glibc 2.{minor}, at most 2.{NEWEST_GLIBC}"), "")),
        None => Err(Failure::new(format!("{name} is not called {start}...{end}"), "")),
    }
}

/// Asks auditwheel, validates the bills of the release, and imports the wheel in an environment that has nothing else.
fn check(release: &Release, wheel: &Path, bill_of_program: &Path) -> Result<(), Failure> {
    let tools = shell::target().join("test-tools/dist");
    let pip = |home: &Path, args: &[&str]| {
        let pip = home.join("bin/pip").display().to_string();
        capture(&mut command(
            &pip,
            ["install", "--quiet", "--disable-pip-version-check"].into_iter().chain(args.iter().copied()),
        ))
    };
    let venv = |home: &Path| capture(&mut command("python3", ["-m", "venv", "--clear", &home.display().to_string()]));
    venv(&tools)?;
    pip(&tools, &["--requirement", "xtask/src/dist/requirements.txt"])?;
    let wheel = wheel.display().to_string();
    let python = |home: &Path| home.join("bin/python").display().to_string();
    let said = capture(&mut command(&python(&tools), ["-m", "auditwheel", "show", &wheel]))?;
    let tag = wheel.rsplit('-').next().unwrap_or_default().trim_end_matches(".whl");
    if !said.contains(&format!("\"{tag}\"")) {
        return Err(Failure::new(format!("auditwheel does not agree that the wheel is {tag}"), said));
    }
    capture(&mut command(&python(&tools), ["-c", VALIDATE, &bill_of_program.display().to_string(), &wheel]))?;

    let home = release.dist.join("environment");
    venv(&home)?;
    pip(&home, &["--no-index", &wheel])?;
    let imported = shell::stdout(&mut command(&python(&home), ["-c", IMPORT]))?;
    let (version, module) = imported.trim().split_once(' ').unwrap_or_default();
    if version != release.version {
        return Err(Failure::new("the installed wheel is of another version", imported));
    }
    origin::must_not_show_in(Path::new(module))?;
    remove(&home)
}

fn python(args: &[&str]) -> Result<String, Failure> {
    capture(&mut command("python3", args.iter().copied()))
}

/// A wheel must run on Debian 12, Ubuntu 22.04 and RHEL 9, which has the oldest glibc of the three.
const NEWEST_GLIBC: u32 = 34;

/// Adds a folder's files to a wheel's `dist-info`, names the licences in its metadata and writes its record anew.
const ADD: &str = include_str!("add_to_wheel.py");
const VALIDATE: &str = include_str!("validate_bills.py");
const IMPORT: &str = "\
import evergrant, importlib.metadata as m
names = {str(f) for f in m.files('evergrant')}
assert any(n.endswith('licenses/THIRD-PARTY-LICENSES') for n in names), names
assert any(n.endswith('sboms/evergrant.cdx.json') for n in names), names
module = next(f for f in m.files('evergrant') if f.suffix == '.so')
print(m.version('evergrant') if evergrant.__version__ == m.version('evergrant') else evergrant.__version__, module.locate())";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_for_one_python_or_for_newer_systems_is_refused() {
        let arch = std::env::consts::ARCH;
        assert!(must_fit(&format!("evergrant-1.2.3-cp39-abi3-manylinux_2_34_{arch}.whl"), "1.2.3").is_ok());
        for name in ["cp39-abi3-manylinux_2_35", "cp311-cp311-manylinux_2_34", "cp39-abi3-linux"] {
            assert!(must_fit(&format!("evergrant-1.2.3-{name}_{arch}.whl"), "1.2.3").is_err(), "{name}");
        }
        assert!(must_fit(&format!("evergrant-1.2.3-cp39-abi3-manylinux_2_34_{arch}.whl"), "1.2.4").is_err());
    }
}
