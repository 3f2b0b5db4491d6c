//! `cargo xtask soak`: the tests of crashes, fleets and memory with larger numbers, for an hour that nobody waits for.
//!
//! The same tests run small in `cargo xtask test`; this task only tells them how much to do. They run without the test
//! runner's limit of time, and what they print is shown.

use crate::setup;
use crate::shell::{Failure, command};

/// Runs the tests with these numbers.
pub(crate) fn run(options: &[&str]) -> Result<(), Failure> {
    let mut sizes = [
        ("--kills", "EVERGRANT_SOAK_KILLS", 300),
        ("--gateways", "EVERGRANT_SOAK_GATEWAYS", 20),
        ("--rounds", "EVERGRANT_SOAK_ROUNDS", 3),
        ("--refreshes", "EVERGRANT_SOAK_REFRESHES", 1_000),
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

const TESTS: [(&str, &str); 3] = [("it", "crash::"), ("real", "fleet::"), ("real", "heap::")];

const OPTIONS: &str = "\
--kills N      processes killed at random instants of a rotation (300)
--gateways N   members of the fleet (20)
--rounds N     how often everything happens to the fleet (3)
--refreshes N  refreshes before the memory of a gateway is read (1000)
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_without_a_number_is_refused_before_anything_runs() {
        for wrong in [&["--kills"][..], &["--kills", "0"], &["--kills", "many"], &["--hours", "1"]] {
            assert!(run(wrong).unwrap_err().to_string().contains("--gateways"), "{wrong:?}");
        }
    }
}
