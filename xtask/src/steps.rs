//! `cargo xtask test`: everything that a change must pass, one line per step.
//!
//! The steps run in order, cheap ones first, and the first failure stops the run with that step's whole output. At the
//! end stand the runners' own closing lines (`test result: ...`, `Summary [...]`), so that a reader of a log, or a
//! machine, sees how many tests really ran.
//!
//! One target folder and the dev profile serve all steps: a second profile would compile everything again.

use std::io::{IsTerminal as _, Write as _};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::shell::{self, Failure, capture, command};
use crate::{book, fuzz, musl, pages, python, setup, tidy};

/// What a step has to say when it passed.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// A remark for the step's own line, such as what was skipped and why.
    pub(crate) note: String,
    /// Closing lines of test runners, repeated at the end of the run.
    pub(crate) closing: Vec<String>,
}

impl Report {
    /// A report that is only a remark.
    pub(crate) fn note(note: impl Into<String>) -> Self {
        Self { note: note.into(), closing: Vec::new() }
    }
}

struct Step {
    name: &'static str,
    about: &'static str,
    run: fn() -> Result<Report, Failure>,
}

const STEPS: [Step; 17] = [
    Step { name: "setup", about: "installs what the tests need and is not there yet", run: setup::run },
    Step { name: "fmt", about: "formatting", run: fmt },
    Step { name: "tidy", about: "rules of the tree: imports, purity, sizes, licences", run: tidy::step },
    Step { name: "clippy", about: "lints, as errors", run: clippy },
    Step { name: "tests", about: "unit, property, simulation and black-box tests", run: tests },
    Step { name: "matrix", about: "the gateway against every fault of the simulated provider", run: matrix },
    Step { name: "races", about: "the library's hot path and its driver, under shuttle's scheduler", run: races },
    Step { name: "otel", about: "traces arrive at a collector, in a build with that feature", run: otel },
    Step { name: "doc-tests", about: "examples in the documentation", run: doc_tests },
    Step { name: "docs", about: "documentation builds without a warning, private items too", run: docs },
    Step { name: "real", about: "against oidc-provider, a Genesys SDK and faked clocks", run: real },
    Step { name: "python", about: "the Python package, as a wheel in a new environment", run: python::step },
    Step { name: "static", about: "the static program starts in an empty root and works there", run: musl::step },
    Step { name: "fuzz", about: "each fuzz target, for a moment", run: fuzz::step },
    Step { name: "pages", about: "commands and examples shown to users work", run: pages::step },
    Step {
        name: "book",
        about: "the book builds, its links lead somewhere, its code runs or compiles",
        run: book::step,
    },
    Step { name: "deny", about: "duplicate and banned crates, where cargo-deny is installed", run: deny },
];

/// Runs all steps, or those named with `--only`.
pub(crate) fn test(options: &[&str]) -> Result<(), Failure> {
    let mut only = Vec::new();
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        match (*option, rest.len()) {
            ("--list", _) => {
                list();
                return Ok(());
            }
            ("--only", 1..) => only.extend(rest.next().copied()),
            (other, _) => return Err(Failure::new(format!("`{other}` needs a step's name or is no option"), names())),
        }
    }
    if let Some(unknown) = only.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
        return Err(Failure::new(format!("no step is called `{unknown}`"), names()));
    }
    let chosen = |step: &Step| only.is_empty() || only.contains(&step.name);

    let mut closing = Vec::new();
    for (number, step) in (1..).zip(&STEPS).filter(|(_, step)| chosen(step)) {
        closing.extend(run_step(number, step)?.closing);
    }
    println!();
    for line in closing {
        println!("{line}");
    }
    Ok(())
}

fn list() {
    for (number, step) in (1..).zip(&STEPS) {
        println!("{number:>2} {:<10} {}", step.name, step.about);
    }
}

fn names() -> String {
    let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
    format!("steps: {}", names.join(", "))
}

fn run_step(number: usize, step: &Step) -> Result<Report, Failure> {
    let head = format!("[{number:>2}/{}] {} ...", STEPS.len(), step.name);
    let started = Instant::now();
    let ended = ticking(&head, step.run);
    let secs = started.elapsed().as_secs_f64();
    match &ended {
        Ok(report) if report.note.is_empty() => println!("{head} ok {secs:.1} s"),
        Ok(report) => println!("{head} ok {secs:.1} s ({})", report.note),
        Err(_) => println!("{head} FAILED {secs:.1} s\n"),
    }
    ended.map_err(|failure| {
        Failure::new(format!("step `{0}`; again: cargo xtask test --only {0}", step.name), failure.to_string())
    })
}

/// Runs a step while a terminal shows how long it has been running; elsewhere nothing moves.
fn ticking(head: &str, run: fn() -> Result<Report, Failure>) -> Result<Report, Failure> {
    if !std::io::stdout().is_terminal() {
        return run();
    }
    let (done, ended) = mpsc::channel::<()>();
    let line = head.to_owned();
    let ticker = std::thread::spawn(move || {
        let started = Instant::now();
        loop {
            print!("\r{line} {} s", started.elapsed().as_secs());
            // A terminal that cannot be written to loses a progress line and nothing else.
            std::io::stdout().flush().ok();
            if ended.recv_timeout(Duration::from_secs(1)) != Err(mpsc::RecvTimeoutError::Timeout) {
                break;
            }
        }
        print!("\r");
    });
    let result = run();
    drop(done);
    ticker.join().ok();
    result
}

fn fmt() -> Result<Report, Failure> {
    capture(&mut command("cargo", ["fmt", "--all", "--check"])).map(|_| Report::default())
}

fn clippy() -> Result<Report, Failure> {
    let args = ["clippy", "--workspace", "--all-targets", "--all-features", "--locked", "--", "-D", "warnings"];
    capture(&mut command("cargo", args)).map(|_| Report::default())
}

/// All tests but those that measure time on real clocks: they need the machine for themselves and have their own steps.
fn tests() -> Result<Report, Failure> {
    nextest(&["--workspace", "-E", "not binary(real) and not binary(matrix)"])
}

fn matrix() -> Result<Report, Failure> {
    nextest(&["--profile", "matrix", "-p", "evergrant-cli", "--test", "matrix"])
}

/// The unit tests of the library in which shuttle decides who runs next. The program is named because the crates below the
/// library are then those that the step before has built.
fn races() -> Result<Report, Failure> {
    let crates = ["-p", "evergrant", "-p", "evergrant-cli", "--lib", "--features", "evergrant/shuttle"];
    let only = ["-E", "package(evergrant) & test(/^races::/)"];
    nextest(&[&crates[..], &only[..]].concat())
}

/// The one feature that is not a default: its crates and the program are built for it, everything else is at hand.
fn otel() -> Result<Report, Failure> {
    nextest(&["-p", "evergrant-cli", "--features", "otel", "--test", "otel"])
}

fn real() -> Result<Report, Failure> {
    nextest(&["-p", "evergrant-cli", "--test", "real"])
}

fn nextest(what: &[&str]) -> Result<Report, Failure> {
    let how =
        ["nextest", "run", "--locked", "--no-fail-fast", "--status-level", "fail", "--final-status-level", "slow"];
    let said = capture(&mut command("cargo", how.into_iter().chain(what.iter().copied())))?;
    closing(&said, "Summary [")
}

fn doc_tests() -> Result<Report, Failure> {
    let said = capture(&mut command("cargo", ["test", "--workspace", "--doc", "--locked"]))?;
    closing(&said, "test result: ")
}

/// Takes a runner's closing lines out of its output; a run without one did not test anything and fails.
fn closing(said: &str, start: &str) -> Result<Report, Failure> {
    let lines: Vec<_> = said.lines().filter(|line| line.trim_start().starts_with(start)).map(str::to_owned).collect();
    if lines.is_empty() {
        return Err(Failure::new("the runner printed no closing line", said));
    }
    // A crate without a doc test prints a line that says 0; repeated, it would read as if nothing had run.
    let closing = lines.into_iter().filter(|line| !line.contains(" 0 passed")).collect();
    Ok(Report { note: String::new(), closing })
}

/// Programs and libraries apart: the program and the library are both called `evergrant` and share a page.
fn docs() -> Result<Report, Failure> {
    for kind in ["--bins", "--lib"] {
        let args = ["doc", "--workspace", "--no-deps", "--document-private-items", "--locked", kind];
        capture(command("cargo", args).env("RUSTDOCFLAGS", "-D warnings"))?;
    }
    Ok(Report::default())
}

/// Licences are checked by `tidy` in any case; cargo-deny adds bans and sources and takes minutes to install.
fn deny() -> Result<Report, Failure> {
    if !shell::is_installed("cargo-deny", &["--version"]) {
        return Ok(Report::note("cargo-deny is not installed: bans and sources not checked; licences were, by tidy"));
    }
    let args = ["deny", "--all-features", "check", "bans", "licenses", "sources"];
    capture(&mut command("cargo", args)).map(|_| Report::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_found_and_empty_ones_are_left_out() {
        let said = "running 0 tests\ntest result: ok. 0 passed; 0 failed\nx\ntest result: ok. 3 passed; 0 failed\n";
        assert_eq!(closing(said, "test result: ").unwrap().closing, ["test result: ok. 3 passed; 0 failed"]);
        let said = "  noise\n     Summary [   0.013s] 12 tests run: 12 passed, 0 skipped\n";
        assert_eq!(closing(said, "Summary [").unwrap().closing.len(), 1);
    }

    #[test]
    fn a_run_without_a_closing_line_fails() {
        assert!(closing("error: no tests to run", "Summary [").is_err());
    }

    #[test]
    fn an_unknown_step_is_refused_with_the_list() {
        let refused = test(&["--only", "nonsense"]).unwrap_err().to_string();
        assert!(refused.contains("clippy"), "{refused}");
        assert!(test(&["--only"]).is_err());
        assert!(test(&["--unknown"]).is_err());
    }

    #[test]
    fn each_step_has_its_own_name() {
        let mut names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STEPS.len());
    }
}
