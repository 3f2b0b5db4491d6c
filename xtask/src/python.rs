//! The Python package: its wheel, and its tests in a virtual environment that is new each time.
//!
//! The wheel is built with maturin from the test tools. For tests it is built with the dev profile in the one target
//! folder, so that little is compiled twice; [`released`] is what `dist` ships. The environment gets the wheel and what
//! `crates/evergrant-py/tests/requirements.txt` pins, and `pytest` runs against the simulated provider, which is an
//! example program of its crate. Types are checked by mypy, as strictly as it can.

use std::path::{Path, PathBuf};

use crate::shell::{self, Failure, capture, command};
use crate::steps::Report;
use crate::{origin, setup};

const HOME: &str = "crates/evergrant-py";
const MIB: f64 = 1_048_576.0;
/// The profile of a wheel that is shipped.
const RELEASED: &str = "wheel";
/// What a wheel may weigh that is shipped.
const LARGEST: u64 = 6 << 20;

/// The step of `cargo xtask test`.
pub(crate) fn step() -> Result<Report, Failure> {
    let wheel = wheel("dev")?;
    let environment = environment(&wheel)?;
    let program = |name: &str| environment.join("bin").join(name).display().to_string();
    capture(command(&program("mypy"), ["--config-file", "pyproject.toml"]).current_dir(shell::root().join(HOME)))?;
    let said = pytest(&environment, &[], &[])?;
    match said.trim_end().lines().next_back() {
        Some(last) if last.contains(" passed") => Ok(Report { note: String::new(), closing: vec![last.to_owned()] }),
        _ => Err(Failure::new("pytest printed no closing line", said)),
    }
}

/// Runs tests in an environment, against the simulated provider.
fn pytest(environment: &Path, what: &[&str], settings: &[(&str, &str)]) -> Result<String, Failure> {
    capture(&mut command("cargo", ["build", "--locked", "-p", "evergrant-sim", "--example", "serve"]))?;
    let python = environment.join("bin/python").display().to_string();
    let args = ["-m", "pytest", "-p", "no:cacheprovider"];
    let mut pytest = command(&python, args.into_iter().chain(what.iter().copied()));
    pytest.current_dir(shell::root().join(HOME)).env("PYTHONDONTWRITEBYTECODE", "1");
    pytest.env("EVERGRANT_TEST_PROVIDER", shell::target().join("debug/examples/serve")).envs(settings.iter().copied());
    capture(&mut pytest)
}

/// `cargo xtask wheel`: builds the wheel as it is shipped, and says where it is; with `--measure` also how fast.
pub(crate) fn run(options: &[&str]) -> Result<(), Failure> {
    let wheel = released()?;
    must_be_small(&wheel)?;
    match options {
        [] => return Ok(()),
        ["--measure"] => {}
        [other, ..] => return Err(Failure::new(format!("`{other}` is no option of `wheel`"), "--measure")),
    }
    let said = pytest(&environment(&wheel)?, &["-s", "tests/test_speed.py"], &[("EVERGRANT_TEST_SPEED", "1")])?;
    println!("{said}");
    Ok(())
}

/// Says how large a wheel is, and refuses one that is too large.
pub(crate) fn must_be_small(wheel: &Path) -> Result<(), Failure> {
    let size = std::fs::metadata(wheel).map_err(|error| at(wheel, &error))?.len();
    println!("{} ({:.1} MiB)", wheel.display(), f64::from(u32::try_from(size).unwrap_or(u32::MAX)) / MIB);
    if size > LARGEST {
        return Err(Failure::new(format!("the wheel has {size} bytes, at most {LARGEST}"), ""));
    }
    Ok(())
}

/// The wheel as it is shipped: optimised, stripped, with panics that become exceptions.
pub(crate) fn released() -> Result<PathBuf, Failure> {
    setup::for_wheel()?;
    wheel(RELEASED)
}

/// The wheel as the tests use it.
pub(crate) fn for_tests() -> Result<PathBuf, Failure> {
    setup::for_wheel()?;
    wheel("dev")
}

/// Builds the wheel with a profile of cargo's.
fn wheel(profile: &str) -> Result<PathBuf, Failure> {
    let folder = shell::target().join("wheels").join(profile);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|error| at(&folder, &error))?;
    }
    let tools = shell::target().join("test-tools/py/bin");
    let (maturin, python) = (tools.join("maturin").display().to_string(), tools.join("python").display().to_string());
    let (manifest, out) = (format!("{HOME}/Cargo.toml"), folder.display().to_string());
    let args = ["build", "--locked", "--profile", profile, "--manifest-path", &manifest, "--interpreter", &python];
    let mut maturin = command(&maturin, args.into_iter().chain(["--out", &out]));
    if profile == RELEASED {
        origin::hide_from(&mut maturin, &[])?;
    }
    capture(maturin.env("CARGO_TARGET_DIR", shell::target()))?;
    let built = std::fs::read_dir(&folder).map_err(|error| at(&folder, &error))?;
    let wheel = built.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|end| end == "whl"));
    wheel.ok_or_else(|| Failure::new(format!("no wheel in {}", folder.display()), ""))
}

/// A new virtual environment with the wheel and what its tests use.
fn environment(wheel: &Path) -> Result<PathBuf, Failure> {
    let home = shell::target().join("test-tools/wheel");
    let pins = shell::root().join(HOME).join("tests/requirements.txt");
    capture(&mut command("python3", ["-m", "venv", "--clear", &home.display().to_string()]))?;
    let pip = home.join("bin/pip").display().to_string();
    let (wheel, pins) = (wheel.display().to_string(), pins.display().to_string());
    let args = ["install", "--quiet", "--disable-pip-version-check", "--requirement", &pins, &wheel];
    capture(&mut command(&pip, args))?;
    Ok(home)
}

fn at(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()), "")
}
