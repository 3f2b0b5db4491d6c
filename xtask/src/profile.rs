//! The program as users get it, built with a profile of its own work.
//!
//! A compiler that knows which way a program usually goes puts the instructions of that way side by side and everything
//! rare elsewhere. For a gateway this is worth more than any single change: a request's way leads through hyper, tokio
//! and ours, and what it costs is above all fetching instructions. So the program is built twice, as the compiler's book
//! describes it ("Profile-guided Optimization"): once with counters, then it serves requests for half a minute before
//! a real nginx (`bench`'s training), then with what was counted.
//!
//! Each of the two has a target folder of its own, because flags for all crates mean that all crates are built again.
//! The tool that merges the counts has to fit the compiler, so it is the toolchain's own component `llvm-tools`.

use std::fs;
use std::path::PathBuf;

use crate::setup;
use crate::shell::{self, Failure, capture, command};

/// Builds the program with a profile and says where it is.
pub(crate) fn program() -> Result<PathBuf, Failure> {
    setup::packages(&setup::FOR_BENCH)?;
    let merge = merge_tool()?;
    let counts = shell::target().join("profile/counts");
    if counts.exists() {
        fs::remove_dir_all(&counts).map_err(|error| Failure::new(format!("{}: {error}", counts.display()), ""))?;
    }
    println!("building the program with counters, some minutes ...");
    let counting = build("counting", &format!("-Cprofile-generate={}", counts.display()))?;
    println!("building what trains it ...");
    let trainer = bench()?;
    println!("serving requests to count ...");
    capture(&mut command(&trainer, [counting.display().to_string().as_str(), "train"]))?;
    let merged = counts.join("merged").display().to_string();
    capture(&mut command(&merge, ["merge", "-o", &merged, &counts.display().to_string()]))?;
    println!("building the program with what was counted, some minutes ...");
    build("guided", &format!("-Cprofile-use={merged}"))
}

/// Builds the bench in the same profile and says where it is.
pub(crate) fn bench() -> Result<String, Failure> {
    capture(&mut command("cargo", ["build", "--locked", "--profile", "dist", "-p", "bench"]))?;
    Ok(shell::target().join("dist/bench").display().to_string())
}

fn build(folder: &str, flags: &str) -> Result<PathBuf, Failure> {
    let target = shell::target().join("profile").join(folder);
    let host = host()?;
    // With a target named, build scripts and macros are built without the flags.
    let place = target.display().to_string();
    let args = ["build", "--locked", "--profile", "dist", "-p", "evergrant-cli", "--target", &host];
    capture(command("cargo", args).args(["--target-dir", &place]).env("RUSTFLAGS", flags))?;
    Ok(target.join(host).join("dist/evergrant"))
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
fn host() -> Result<String, Failure> {
    let said = shell::stdout(&mut command("rustc", ["-vV"]))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failure::new("rustc does not say what machine this is", said.clone()))
}
