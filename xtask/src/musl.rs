//! The static program: what it takes to build it, and whether it is one.
//!
//! Rust's musl target brings its own C library and links it in, so that the program needs nothing of the machine it runs
//! on but the kernel. What it takes is the standard library for that target, which rustup has, and a C compiler that knows
//! musl's headers, for the cryptography. Where one of them cannot be had this says so and stops: a program that is linked
//! dynamically must never go by the static one's name, and [`must_be_static`] looks at the file itself.
//!
//! Source: the ELF specification; a program that asks for a loader has a segment `PT_INTERP`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::setup;
use crate::shell::{self, Failure, capture, command};
use crate::steps::Report;

/// The static target of this machine.
pub(crate) fn target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

/// Installs what the target needs and is not there yet.
pub(crate) fn prepare() -> Result<Vec<String>, Failure> {
    let mut did = setup::packages(&setup::FOR_STATIC)?;
    let target = target();
    let libraries = shell::stdout(&mut command("rustc", ["--print", "target-libdir", "--target", &target]))?;
    if !Path::new(libraries.trim()).is_dir() {
        capture(&mut command("rustup", ["target", "add", &target])).map_err(|failure| {
            let what = format!("no static program without Rust's standard library for {target}");
            Failure::new(format!("{what}; get it with: rustup target add {target}"), failure.to_string())
        })?;
        did.push(target);
    }
    Ok(did)
}

/// Names musl's C compiler to crates that compile C, unless somebody has named another.
pub(crate) fn with_compiler(cargo: &mut Command) -> &mut Command {
    let name = format!("CC_{}", target().replace('-', "_"));
    if std::env::var_os(&name).is_none() {
        cargo.env(name, "musl-gcc");
    }
    cargo
}

/// The step of `cargo xtask test`: the program is built for the static target and started in an empty root.
///
/// The dev profile, because it is about what the program needs, and not about how fast it is.
pub(crate) fn step() -> Result<Report, Failure> {
    prepare()?;
    let target = target();
    capture(with_compiler(&mut command("cargo", ["build", "--locked", "-p", "evergrant-cli", "--target", &target])))?;
    in_an_empty_root(&shell::target().join(target).join("debug/evergrant"))
}

/// Runs the tests of a static program that has nothing around it.
pub(crate) fn in_an_empty_root(program: &Path) -> Result<Report, Failure> {
    must_be_static(program)?;
    let args = ["nextest", "run", "--locked", "-p", "evergrant-cli", "--test", "empty_root", "--run-ignored", "only"];
    let said = capture(command("cargo", args).env("EVERGRANT_STATIC", program))?;
    let closing = said.lines().filter(|line| line.trim_start().starts_with("Summary [")).map(str::to_owned).collect();
    Ok(Report { note: String::new(), closing })
}

/// Refuses a program that needs a loader, and with it libraries of the machine it runs on.
pub(crate) fn must_be_static(program: &Path) -> Result<(), Failure> {
    let failed = |what: &str| Failure::new(format!("{} {what}", program.display()), "");
    let bytes = fs::read(program).map_err(|error| failed(&format!("cannot be read: {error}")))?;
    match segments(&bytes) {
        None => Err(failed("is no program for this machine")),
        Some(kinds) if kinds.contains(&PT_INTERP) => Err(failed("is not static: it asks for a loader")),
        Some(_) => Ok(()),
    }
}

/// The kinds of all segments of a 64-bit little-endian ELF file.
fn segments(bytes: &[u8]) -> Option<Vec<u32>> {
    let number = |at: usize, length: usize| -> Option<usize> {
        let field = bytes.get(at..at.checked_add(length)?)?;
        field.iter().rev().try_fold(0_usize, |sum, byte| sum.checked_mul(256)?.checked_add(usize::from(*byte)))
    };
    bytes.strip_prefix(b"\x7fELF\x02\x01")?;
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let kind = |index: usize| u32::try_from(number(table.checked_add(index.checked_mul(size)?)?, 4)?).ok();
    (0..count).map(kind).collect()
}

const PT_INTERP: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_asks_for_a_loader_is_not_static() {
        let refused = must_be_static(&std::env::current_exe().unwrap()).unwrap_err().to_string();
        assert!(refused.contains("is not static"), "{refused}");
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let refused = must_be_static(&shell::root().join("Cargo.toml")).unwrap_err().to_string();
        assert!(refused.contains("no program"), "{refused}");
        assert_eq!(segments(b"\x7fELF\x02\x01"), None);
    }

    #[test]
    fn segments_are_read_where_the_head_says() {
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(64 + 2 * 56, 0);
        (bytes[32], bytes[54], bytes[56]) = (64, 56, 2);
        (bytes[64], bytes[64 + 56]) = (1, 2);
        assert_eq!(segments(&bytes), Some(vec![1, 2]));
        bytes[56] = 200;
        assert_eq!(segments(&bytes), None, "a table that is longer than the file");
    }
}
