//! `cargo xtask soak`: the tests of crashes, fleets, memory and simulated worlds with larger numbers, for an hour that
//! nobody waits for.
//!
//! The same tests run small in `cargo xtask test`; this task only tells them how much to do. They run without the test
//! runner's limit of time, and what they print is shown. With `--worlds` only simulated worlds run, optimised and on all
//! cores, until there were so many or somebody stops it; each broken promise is told at once with the command that
//! replays its world.

use crate::setup;
use crate::shell::{Failure, command};

/// Runs the tests with these numbers.
pub(crate) fn run(options: &[&str]) -> Result<(), Failure> {
    match options {
        ["--worlds", rest @ ..] => return worlds(options, rest),
        ["--replay", seed] => return replay(seed),
        _ => {}
    }
    let mut sizes = [
        ("--kills", "EVERGRANT_SOAK_KILLS", 300),
        ("--gateways", "EVERGRANT_SOAK_GATEWAYS", 20),
        ("--rounds", "EVERGRANT_SOAK_ROUNDS", 3),
        ("--refreshes", "EVERGRANT_SOAK_REFRESHES", 1_000),
        ("--items", "EVERGRANT_SOAK_ITEMS", 1_000_000),
    ];
    for pair in options.chunks(2) {
        let known = sizes.iter_mut().find(|(name, ..)| pair.first() == Some(name));
        let count = pair.get(1).and_then(|text| text.parse().ok()).filter(|count| *count > 0);
        match (known, count) {
            (Some(size), Some(count)) => size.2 = count,
            _ => return Err(Failure::new(format!("`{}` is no option with a number", pair.join(" ")), OPTIONS)),
        }
    }
    setup::run()?;
    let variables = || sizes.iter().map(|(_, variable, count)| (variable, count.to_string()));
    for (test, filter) in TESTS {
        // Both packages each time: with another choice of them, cargo would build what they share anew.
        let packages = ["test", "--locked", "-p", "evergrant", "-p", "evergrant-cli"];
        let args = packages.into_iter().chain(["--test", test, filter, "--", "--nocapture"]);
        match command("cargo", args).envs(variables()).status() {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(Failure::new(format!("{filter} failed ({status})"), "")),
            Err(error) => return Err(Failure::new(format!("cargo did not start: {error}"), "")),
        }
    }
    Ok(())
}

/// Runs so many drawn worlds, from the first seed or from another.
fn worlds(options: &[&str], rest: &[&str]) -> Result<(), Failure> {
    let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number > 0);
    let (count, first) = match rest {
        [count] => (number(count), Some(1)),
        [count, "--first", first] => (number(count), number(first)),
        _ => (None, None),
    };
    let (Some(count), Some(first)) = (count, first) else {
        return Err(Failure::new(format!("`{}` is no option with a number", options.join(" ")), OPTIONS));
    };
    let sizes = [("EVERGRANT_SOAK_WORLDS", count.to_string()), ("EVERGRANT_SIM_FIRST", first.to_string())];
    simulation(&["--release"], "soak", &["--ignored"], &sizes)
}

/// Runs one drawn world again and shows everything that happens in it.
fn replay(seed: &str) -> Result<(), Failure> {
    let sizes = [("EVERGRANT_SIM_SEED", seed.to_owned())];
    simulation(&[], "the_keeper_keeps_its_promises_in_every_drawn_world", &[], &sizes)
}

fn simulation(profile: &[&str], filter: &str, how: &[&str], sizes: &[(&str, String)]) -> Result<(), Failure> {
    let args =
        ["test", "--locked", "-p", "evergrant-sim", "--test", "promises"].into_iter().chain(profile.iter().copied());
    let args = args.chain([filter, "--", "--exact", "--nocapture"]).chain(how.iter().copied());
    match command("cargo", args).envs(sizes.iter().cloned()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("a promise was broken ({status})"), "")),
        Err(error) => Err(Failure::new(format!("cargo did not start: {error}"), "")),
    }
}

const TESTS: [(&str, &str); 4] =
    [("it", "crash::"), ("real", "fleet::"), ("real", "heap::"), ("cli", "paginate::memory::")];

const OPTIONS: &str = "\
--kills N      processes killed at random instants of a rotation (300)
--gateways N   members of the fleet (20)
--rounds N     how often everything happens to the fleet (3)
--refreshes N  refreshes before the memory of a gateway is read (1000)
--items N      items of the export whose memory is measured (1000000)
or, alone:
--worlds N [--first SEED]
               so many simulated worlds, from the first seed or from this one
--replay SEED  one simulated world, with everything that happens in it
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
}
