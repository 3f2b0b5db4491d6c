//! The project's own tasks: `cargo xtask test`, `tidy`, `book`, `bench`, `fuzz`, `soak`, `dist`, `release-check` and `wheel`.
//!
//! Everything that a change must pass is one command, the same on a laptop and in CI: `cargo xtask test`. Each task is
//! a module; each prints what it does in one line and, when it fails, what to do next. Nothing is skipped silently.
//!
//! The tasks know the tools (cargo, git, apt-get, npm, pip) only through [`shell`], and the tree only through
//! [`tidy::Tree`], so that the rules are tested on small made-up trees.
#![expect(clippy::print_stdout, reason = "a task's report is its output")]

use std::process::ExitCode;

mod bench;
mod book;
mod dist;
mod fuzz;
mod musl;
mod origin;
mod pages;
mod profile;
mod python;
mod release;
mod setup;
mod shell;
mod soak;
mod steps;
mod tidy;

const USAGE: &str = "\
Usage: cargo xtask TASK

  test [--only STEP] [--list]   everything a change must pass; --only may be repeated
  tidy                          the rules of the tree: imports, purity, sizes, licences
  book [--check | --page PATH]  the guide as a site, all links checked; --check also runs what its pages show,
                                --page what one page shows
  bench [PART] [--quick] [--write FILE]
                                speed and memory, as a table: token, verdict, latency, fleet, scale, gateway
  reference                     the generated parts of docs/reference, written anew
  fuzz TARGET [--seconds N] [--quick]
                                one target, with cargo-fuzz; --quick gives it some inputs without, --list names them all
  soak [--kills N] [--gateways N] [--rounds N] [--refreshes N] [--items N] [--quick]
                                the tests of crashes, fleets and memory with larger numbers; all of them, or what is named
  soak --worlds N [--first SEED] [--quick]
                                simulated worlds drawn from so many seeds; --replay SEED shows one; --quick does a small
                                part of it
  dist [--unguided]             a release: the program, also as a static one and as a Debian package, the wheel, bills
                                of materials, licences, checksums; --unguided builds without a profile of its work
  release-check [--baseline REV]
                                may this commit become a release: versions, changelog, what the libraries offer
  wheel [--measure]             the Python package, as it is shipped; --measure tells its cost for each request
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["test", options @ ..] => steps::test(options),
        ["tidy"] => tidy::print(),
        ["book", options @ ..] => book::task(options),
        ["bench", options @ ..] => bench::run(options),
        ["reference"] => book::reference(),
        ["release-check", options @ ..] => release::check(options),
        ["fuzz", options @ ..] => fuzz::run(options),
        ["soak", options @ ..] => soak::run(options),
        ["dist", options @ ..] => dist::run(options),
        ["wheel", options @ ..] => python::run(options),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        [] => Err(shell::Failure::new("no task was named", USAGE)),
        [other, ..] => {
            Err(shell::Failure::new(format!("`{other}` is not a task, or its options are not known"), USAGE))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}
