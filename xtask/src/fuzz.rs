//! `cargo xtask fuzz`: one target for as long as wanted, or all of them for a moment.
//!
//! Fuzzing proper is cargo-fuzz's: a build of everything with the counters that lead libFuzzer to new ways through the code,
//! and with the address sanitizer where a nightly compiler is at hand (without `unsafe` in our code, what it could find lies in
//! libraries). That build takes minutes, so the tests do something smaller: [`step`] links the targets in the ordinary build
//! and gives each its seeds and some hundred changes of them ([`Chance`]), the same ones each time. It shows that a target starts
//! and that its checks hold for what it was begun with; nothing leads it deeper, because nothing counts where it has been.
//!
//! A target's seeds lie in `fuzz/seeds/NAME`, its findings in `fuzz/artifacts/NAME` (of a quick run in `target/fuzz/NAME`), what
//! it has learnt in `fuzz/corpus/NAME`.

use std::fs;
use std::path::Path;

use crate::shell::{self, Failure, capture, command};
use crate::steps::Report;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
struct Order<'a> {
    target: &'a str,
    seconds: u64,
    is_quick: bool,
}

/// `cargo xtask fuzz`.
pub(crate) fn run(options: &[&str]) -> Result<(), Failure> {
    let names = targets()?;
    if options == ["--list"] {
        println!("{}", names.join("\n"));
        return Ok(());
    }
    let order = order(options, &names)?;
    if order.is_quick {
        build()?;
        println!("{}", quick(order.target)?);
        return Ok(());
    }
    if !shell::is_installed("cargo", &["fuzz", "--version"]) {
        println!("installing cargo-fuzz ...");
        capture(&mut command("cargo", ["install", "--locked", "--version", CARGO_FUZZ, "cargo-fuzz"]))?;
    }
    let is_nightly = shell::is_installed("cargo", &["+nightly", "--version"]);
    println!(
        "building {} {}, some minutes ...",
        order.target,
        if is_nightly { "with a sanitizer" } else { "on stable" }
    );
    let before: &[&str] =
        if is_nightly { &["+nightly", "fuzz", "run"] } else { &["fuzz", "run", "--sanitizer", "none"] };
    let (learnt, seconds) = (format!("fuzz/corpus/{}", order.target), format!("-max_total_time={}", order.seconds));
    fs::create_dir_all(shell::root().join(&learnt)).map_err(|error| Failure::new(format!("{learnt}: {error}"), ""))?;
    let given = given(order.target);
    let words = [order.target, &learnt, &given.seeds, "--", &seconds, PATIENCE];
    let mut fuzz = command("cargo", before.iter().copied().chain(words).chain(given.words));
    // The workspace's release has no names of functions, which a finding is told with.
    fuzz.env("CARGO_PROFILE_RELEASE_STRIP", "none").env("CARGO_PROFILE_RELEASE_DEBUG", "1");
    match fuzz.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("{} ended with a finding ({status})", order.target), "")),
        Err(error) => Err(Failure::new(format!("cargo did not start: {error}"), "")),
    }
}

const CARGO_FUZZ: &str = "0.13.2";

/// The step of `cargo xtask test`: every target, for a moment.
pub(crate) fn step() -> Result<Report, Failure> {
    build()?;
    let names = targets()?;
    for name in &names {
        quick(name)?;
    }
    Ok(Report::note(format!("{} targets, {INPUTS} inputs each", names.len())))
}

/// How many inputs each target gets in a quick run, beside its seeds.
const INPUTS: usize = 500;
/// The longest of them, in bytes.
const LONGEST: usize = 4096;
/// An input that takes longer is a finding, in seconds.
const PATIENCE: &str = "-timeout=20";

fn order<'a>(options: &[&'a str], names: &[String]) -> Result<Order<'a>, Failure> {
    let help = || format!("TARGET [--seconds N] [--quick], or --list; the targets are {}", names.join(", "));
    let refused = |what: String| Err(Failure::new(what, help()));
    let Some((target, mut rest)) = options.split_first() else { return refused("`fuzz` needs a target".to_owned()) };
    if !names.iter().any(|name| name == target) {
        return refused(format!("`{target}` is no target"));
    }
    let mut order = Order { target, seconds: 60, is_quick: false };
    while !rest.is_empty() {
        let count = rest.get(1).and_then(|text| text.parse().ok()).filter(|count| *count > 0);
        rest = match (rest[0], count) {
            ("--quick", _) => {
                order.is_quick = true;
                &rest[1..]
            }
            ("--seconds", Some(count)) => {
                order.seconds = count;
                &rest[2..]
            }
            (other, _) => return refused(format!("`{other}` is no option, or its number is missing")),
        };
    }
    Ok(order)
}

/// The names of all targets, by the crate's manifest.
fn targets() -> Result<Vec<String>, Failure> {
    let path = shell::root().join("fuzz/Cargo.toml");
    let broken = |what: String| Failure::new(format!("{}: {what}", path.display()), "");
    let text = fs::read_to_string(&path).map_err(|error| broken(error.to_string()))?;
    let manifest: toml::Table = text.parse().map_err(|error: toml::de::Error| broken(error.to_string()))?;
    let bins = manifest.get("bin").and_then(toml::Value::as_array).into_iter().flatten();
    let mut names: Vec<_> = bins.filter_map(|bin| bin.get("name")?.as_str().map(str::to_owned)).collect();
    names.sort_unstable();
    if names.is_empty() { Err(broken("it names no target".to_owned())) } else { Ok(names) }
}

/// All targets, in the build that the tests use: with another choice of crates, cargo would build again what they share.
fn build() -> Result<(), Failure> {
    capture(&mut command("cargo", ["build", "--locked", "--workspace", "--bins", "--tests"])).map(|_| ())
}

/// Gives a target its seeds and changes of them; what it said is returned.
fn quick(name: &str) -> Result<String, Failure> {
    let here = shell::target().join("fuzz").join(name);
    let inputs = here.join("inputs");
    if inputs.exists() {
        fs::remove_dir_all(&inputs).map_err(|error| at(&inputs, &error))?;
    }
    fs::create_dir_all(&inputs).map_err(|error| at(&inputs, &error))?;
    let (program, given) = (shell::target().join("debug").join(name).display().to_string(), given(name));
    let seeds = contents(&shell::root().join(&given.seeds))?;
    let mut chance = Chance(1);
    for number in 0..INPUTS {
        let path = inputs.join(number.to_string());
        // An empty file is none to libFuzzer, which begins with no bytes anyway.
        let input = Some(chance.changed(&seeds)).filter(|input| !input.is_empty()).unwrap_or_else(|| vec![0]);
        fs::write(&path, input).map_err(|error| at(&path, &error))?;
    }
    let findings = format!("-artifact_prefix={}/", here.display());
    let inputs = inputs.display().to_string();
    let words = [inputs.as_str(), &given.seeds, "-runs=0", PATIENCE, &findings];
    let said = capture(&mut command(&program, words)).map_err(|found| {
        Failure::new(format!("a finding; again: {program} FILE, with what is in {}", here.display()), found.to_string())
    })?;
    let done = said.lines().find_map(|line| line.strip_prefix("Done ")?.split(' ').next()?.parse::<usize>().ok());
    match done {
        Some(done) if done >= INPUTS => Ok(format!("{name}: {done} inputs")),
        _ => Err(Failure::new(format!("{name} did not say that it has run all its inputs"), said)),
    }
}

/// The files of a folder, in the order of their names.
fn contents(folder: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let entries = fs::read_dir(folder).map_err(|error| at(folder, &error))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort_unstable();
    paths.iter().map(|path| fs::read(path).map_err(|error| at(path, &error))).collect()
}

/// Numbers by chance, the same ones after the same beginning (splitmix64, Steele, Lea and Flood 2014).
struct Chance(u64);

impl Chance {
    /// A number below another one.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound.max(1) as u64).unwrap_or_default()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or_default()
    }

    /// A part of some bytes.
    fn part<'a>(&mut self, of: &'a [u8]) -> &'a [u8] {
        let from = self.below(of.len());
        &of[from..from + self.below(of.len() - from + 1)]
    }

    /// One of the seeds after some changes.
    fn changed(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let some = |chance: &mut Self| seeds.get(chance.below(seeds.len())).cloned().unwrap_or_default();
        let mut input = some(self);
        for _ in 0..=self.below(8) {
            let at = self.below(input.len() + 1);
            match self.below(6) {
                0 if at < input.len() => input[at] = self.byte(),
                1 => input.insert(at, self.byte()),
                2 => input.truncate(at),
                3 => drop(input.drain(at..at + self.below(input.len() - at + 1))),
                4 => {
                    let other = some(self);
                    drop(input.splice(at..at, self.part(&other).iter().copied()));
                }
                _ => {
                    let again = self.part(&input).to_vec();
                    drop(input.splice(at..at, again));
                }
            }
        }
        input.truncate(LONGEST);
        input
    }
}

/// What a target is begun with.
struct Given {
    seeds: String,
    words: Option<&'static str>,
}

fn given(name: &str) -> Given {
    let is_wire = matches!(name, "gateway_request" | "upstream_answer");
    Given { seeds: format!("fuzz/seeds/{name}"), words: is_wire.then_some("-dict=fuzz/dictionaries/http.dict") }
}

fn at(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_named_with_how_long_it_may_take() {
        let names = ["jwt".to_owned()];
        let full = order(&["jwt"], &names).unwrap();
        assert_eq!(full, Order { target: "jwt", seconds: 60, is_quick: false });
        let quick = order(&["jwt", "--seconds", "5", "--quick"], &names).unwrap();
        assert_eq!(quick, Order { target: "jwt", seconds: 5, is_quick: true });
    }

    #[test]
    fn what_is_no_target_or_no_option_is_refused_with_the_targets() {
        let names = ["jwt".to_owned()];
        for wrong in [&[][..], &["jwk"], &["jwt", "--seconds"], &["jwt", "--seconds", "0"], &["jwt", "--slow"]] {
            assert!(order(wrong, &names).unwrap_err().to_string().contains("targets are jwt"), "{wrong:?}");
        }
    }

    #[test]
    fn changes_of_seeds_are_the_same_each_time_and_of_every_kind() {
        let seeds = [b"one".to_vec(), b"{two}".to_vec()];
        let inputs = |beginning: u64| {
            let mut chance = Chance(beginning);
            (0..200).map(|_| chance.changed(&seeds)).collect::<Vec<_>>()
        };
        let some = inputs(1);
        assert_eq!(some, inputs(1));
        assert_ne!(some, inputs(2));
        assert!(some.iter().any(Vec::is_empty) && some.iter().any(|input| input.len() > 12));
        let has = |input: &[u8], part: &[u8]| input.windows(part.len()).any(|window| window == part);
        assert!(some.iter().any(|input| has(input, b"on") && has(input, b"{t")), "parts of two seeds meet");
        assert!(Chance(1).changed(&[]).len() <= LONGEST, "no seeds are no reason to panic");
    }

    #[test]
    fn every_target_has_a_file_and_seeds() {
        let here = |folder: &str| {
            let entries = fs::read_dir(shell::root().join(folder)).unwrap().flatten();
            let mut names: Vec<_> =
                entries.map(|entry| entry.path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
            names.sort_unstable();
            names
        };
        let files: Vec<_> = here("fuzz/fuzz_targets").into_iter().filter(|name| name != "shared").collect();
        assert_eq!((files, here("fuzz/seeds")), (targets().unwrap(), targets().unwrap()));
    }
}
