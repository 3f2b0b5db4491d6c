//! `cargo xtask soak`: the tests of crashes, fleets, memory and simulated worlds with larger numbers, for an hour that
//! nobody waits for.
//!
//! The same tests run small in `cargo xtask test`; this task only tells them how much to do. They run without the test
//! runner's limit of time, and what they print is shown. Without an option all of them run, with one those that it is for.
//! With `--worlds` only simulated worlds run, optimised and on all cores, until there were so many or somebody stops it;
//! each broken promise is told at once with the command that replays its world. `--quick` is there to see that a soak works
//! before it is left alone.

use crate::setup;
use crate::shell::{self, Failure, command};

/// A test with the numbers that it takes.
struct Part {
    /// The test program and the tests in it.
    tests: (&'static str, &'static str),
    /// Each number.
    sizes: &'static [Size],
}

/// A number: its option, its variable, how large it is if nobody says, and at most in a quick run.
type Size = (&'static str, &'static str, u64, u64);

const PARTS: [Part; 4] = [
    Part { tests: ("it", "crash::"), sizes: &[("--kills", "EVERGRANT_SOAK_KILLS", 300, 5)] },
    Part {
        tests: ("real", "fleet::"),
        sizes: &[("--gateways", "EVERGRANT_SOAK_GATEWAYS", 20, 4), ("--rounds", "EVERGRANT_SOAK_ROUNDS", 3, 1)],
    },
    Part { tests: ("real", "heap::"), sizes: &[("--refreshes", "EVERGRANT_SOAK_REFRESHES", 1_000, 10)] },
    Part { tests: ("cli", "paginate::memory::"), sizes: &[("--items", "EVERGRANT_SOAK_ITEMS", 1_000_000, 20_000)] },
];

/// How many worlds a quick run has at most.
const QUICK_WORLDS: u64 = 100;

/// Runs the tests with these numbers.
pub(crate) fn run(options: &[&str]) -> Result<(), Failure> {
    let is_quick = options.contains(&"--quick");
    let options: Vec<&str> = options.iter().copied().filter(|option| *option != "--quick").collect();
    match options.as_slice() {
        ["--worlds", rest @ ..] => return worlds(rest, is_quick),
        ["--replay", seed] => return replay(seed),
        _ => {}
    }
    let mut given = Vec::new();
    for pair in options.chunks(2) {
        let known = PARTS.iter().flat_map(|part| part.sizes).find(|(name, ..)| pair.first() == Some(name));
        match (known, pair.get(1).and_then(|text| number(text))) {
            (Some((name, ..)), Some(count)) => given.push((*name, count)),
            _ => return Err(refused(&pair.join(" "))),
        }
    }
    setup::run()?;
    for part in chosen(&given) {
        let (test, filter) = part.tests;
        let sizes = part.sizes.iter().map(|(name, variable, default, quick)| {
            let count = given.iter().rev().find(|(given, _)| given == name).map_or(*default, |(_, count)| *count);
            (*variable, if is_quick { count.min(*quick) } else { count }.to_string())
        });
        // All packages: with another choice of them, cargo would build what they share anew.
        let build = ["test", "--locked", "--workspace", "--test", test];
        tests(&build, &[filter, "--", "--nocapture"], sizes, &format!("{filter} failed"))?;
    }
    Ok(())
}

/// The parts that a number was given for, or all of them.
fn chosen<'a>(given: &'a [(&str, u64)]) -> impl Iterator<Item = &'static Part> + use<'a> {
    let is_given = |part: &&Part| part.sizes.iter().any(|(name, ..)| given.iter().any(|(given, _)| given == name));
    PARTS.iter().filter(move |part| given.is_empty() || is_given(part))
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number| *number > 0)
}

fn refused(what: &str) -> Failure {
    Failure::new(format!("`{what}` is no option with a number"), OPTIONS)
}

/// Runs so many drawn worlds, from the first seed or from another.
fn worlds(options: &[&str], is_quick: bool) -> Result<(), Failure> {
    let (count, first) = match options {
        [count] => (number(count), Some(1)),
        [count, "--first", first] => (number(count), number(first)),
        _ => (None, None),
    };
    let (Some(count), Some(first)) = (count, first) else {
        return Err(refused(&format!("--worlds {}", options.join(" "))));
    };
    let count = if is_quick { count.min(QUICK_WORLDS) } else { count };
    let sizes = [("EVERGRANT_SOAK_WORLDS", count.to_string()), ("EVERGRANT_SIM_FIRST", first.to_string())];
    let build: &[&str] = if is_quick { &["--workspace"] } else { &["--package", "evergrant-sim", "--release"] };
    simulation(build, "soak", &["--ignored"], &sizes)
}

/// Runs one drawn world again and shows everything that happens in it.
fn replay(seed: &str) -> Result<(), Failure> {
    let sizes = [("EVERGRANT_SIM_SEED", seed.to_owned())];
    simulation(&["--workspace"], "the_keeper_keeps_its_promises_in_every_drawn_world", &[], &sizes)
}

fn simulation(build: &[&str], filter: &str, how: &[&str], sizes: &[(&'static str, String)]) -> Result<(), Failure> {
    let build = [&["test", "--locked"], build, &["--test", "promises"]].concat();
    let which = [&[filter, "--", "--exact", "--nocapture"], how].concat();
    tests(&build, &which, sizes.iter().cloned(), "a promise was broken")
}

/// Runs tests that are there: a name that fits none of them would end well, and nothing would have been done.
fn tests(
    build: &[&str],
    which: &[&str],
    sizes: impl IntoIterator<Item = (&'static str, String)>,
    failed: &str,
) -> Result<(), Failure> {
    let args = || build.iter().chain(which).copied();
    let listed = shell::stdout(&mut command("cargo", args().chain(["--list"])))?;
    if !listed.lines().any(|line| line.ends_with(": test")) {
        return Err(Failure::new(format!("no test is called `{}`", which.join(" ")), listed));
    }
    match command("cargo", args()).envs(sizes).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("{failed} ({status})"), "")),
        Err(error) => Err(Failure::new(format!("cargo did not start: {error}"), "")),
    }
}

const OPTIONS: &str = "\
all of the following, or those that are named:
--kills N      processes killed at random instants of a rotation (300)
--gateways N   members of the fleet (20)
--rounds N     how often everything happens to the fleet (3)
--refreshes N  refreshes before the memory of a gateway is read (1000)
--items N      items of the export whose memory is measured (1000000)
or, alone:
--worlds N [--first SEED]
               so many simulated worlds, from the first seed or from this one
--replay SEED  one simulated world, with everything that happens in it
with any of them:
--quick        small numbers, and the build of the tests
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_without_a_number_is_refused_before_anything_runs() {
        let worlds = [&["--worlds"][..], &["--worlds", "0"], &["--worlds", "9", "--first"]];
        let others = [&["--kills"][..], &["--kills", "0"], &["--kills", "many"], &["--hours", "1"]];
        for wrong in worlds.into_iter().chain(others) {
            assert!(run(wrong).unwrap_err().to_string().contains("--gateways"), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_named_runs_alone_and_without_a_name_everything_does() {
        let filters = |given: &[(&str, u64)]| chosen(given).map(|part| part.tests.1).collect::<Vec<_>>();
        assert_eq!(filters(&[("--rounds", 6)]), ["fleet::"]);
        assert_eq!(filters(&[("--items", 9), ("--kills", 1)]), ["crash::", "paginate::memory::"]);
        assert_eq!(filters(&[]).len(), PARTS.len());
    }
}
