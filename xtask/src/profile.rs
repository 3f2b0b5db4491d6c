//! The program as users get it, built with a profile of its own work.
//!
//! A compiler that knows which way a program usually goes puts the instructions of that way side by side and everything
//! rare elsewhere. For a gateway this is worth more than any single change: a request's way leads through hyper, tokio
//! and ours, and what it costs is above all fetching instructions. So the program is built twice, as the compiler's book
//! describes it ("Profile-guided Optimization"): once with counters, then it serves requests for half a minute before
//! a real nginx (`bench`'s training), then with what was counted.
//!
//! Each of the two has a target folder of its own, because flags for all crates mean that all crates are built again.
//! It works for the static target as for the machine's own: the toolchain has the counters' library for both.
//! The tool that merges the counts has to fit the compiler, so it is the toolchain's own component `llvm-tools`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::{self, Failure, capture, command};
use crate::{musl, origin, setup};

/// Builds the program for a target with a profile and says where it is; `commit` is what it is told of its source.
pub(crate) fn program(target: &str, commit: Option<&str>) -> Result<PathBuf, Failure> {
    setup::packages(&setup::FOR_BENCH)?;
    let merge = merge_tool()?;
    let counts = shell::target().join("profile/counts").join(target);
    remove(&counts)?;
    // Cargo does not see that the counts of a crate of others have changed.
    remove(&shell::target().join(GUIDED).join(target))?;
    println!("building the program with counters, some minutes ...");
    let counting = build("profile/counting", target, commit, &[format!("-Cprofile-generate={}", counts.display())])?;
    println!("building what trains it ...");
    let trainer = bench()?;
    println!("serving requests to count ...");
    capture(&mut command(&trainer, [counting.display().to_string().as_str(), "train"]))?;
    let merged = counts.join("merged").display().to_string();
    capture(&mut command(&merge, ["merge", "-o", &merged, &counts.display().to_string()]))?;
    println!("building the program with what was counted, some minutes ...");
    build(GUIDED, target, commit, &[format!("-Cprofile-use={merged}")])
}

/// Where the program is built with what was counted.
const GUIDED: &str = "profile/guided";

fn remove(folder: &Path) -> Result<(), Failure> {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder).map_err(|error| Failure::new(format!("{}: {error}", folder.display()), ""))
}

/// Builds the same program without a profile.
pub(crate) fn unguided(target: &str, commit: Option<&str>) -> Result<PathBuf, Failure> {
    build("profile/unguided", target, commit, &[])
}

/// Builds the bench in the same profile and says where it is.
pub(crate) fn bench() -> Result<String, Failure> {
    capture(&mut command("cargo", ["build", "--locked", "--profile", "dist", "-p", "bench"]))?;
    Ok(shell::target().join("dist/bench").display().to_string())
}

fn build(folder: &str, target: &str, commit: Option<&str>, flags: &[String]) -> Result<PathBuf, Failure> {
    let home = shell::target().join(folder);
    // With a target named, build scripts and macros are built without the flags.
    let place = home.display().to_string();
    let args = ["build", "--locked", "--profile", "dist", "-p", "evergrant-cli", "--target", target];
    let mut cargo = command("cargo", args);
    cargo.args(["--target-dir", &place]).envs(commit.map(|commit| ("EVERGRANT_COMMIT", commit)));
    origin::hide_from(&mut cargo, flags)?;
    capture(musl::with_compiler(&mut cargo))?;
    Ok(home.join(target).join("dist/evergrant"))
}

/// The tool that makes one profile of many counts.
fn merge_tool() -> Result<String, Failure> {
    let sysroot = shell::stdout(&mut command("rustc", ["--print", "sysroot"]))?;
    let tool = PathBuf::from(sysroot.trim()).join("lib/rustlib").join(host()?).join("bin/llvm-profdata");
    if !tool.exists() {
        let add = ["component", "add", "llvm-tools"];
        capture(&mut command("rustup", add))
            .map_err(|failure| Failure::new("missing: the toolchain's component llvm-tools", failure.to_string()))?;
    }
    Ok(tool.display().to_string())
}

/// What the compiler calls this machine.
pub(crate) fn host() -> Result<String, Failure> {
    let said = shell::stdout(&mut command("rustc", ["-vV"]))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failure::new("rustc does not say what machine this is", said.clone()))
}
