//! `evergrant simulate`: clients in a simulated world, side by side.
//!
//! A world is one of the house's scenarios or a file of one's own. Every client meets the same callers, network, clocks
//! and provider in it, in virtual time, so hours take seconds and the result depends on the arguments alone. With
//! `--plots` one thing after another is varied, and what came of it is drawn and written beside its data.

mod file;
mod jobs;
mod plots;
mod svg;
mod text;

use std::path::Path;

use evergrant_sim::comparison::{Place, Tally, steady};
use evergrant_sim::scenario::Scenario;
use evergrant_sim::world::check::Broken;
use serde_json::json;

use crate::args::SimulateArgs;
use crate::exit;
use crate::failure::{Failure, nearest};
use crate::render;

/// Runs what was asked for and prints what came of it.
pub(crate) fn run(args: &SimulateArgs) -> Result<u8, Failure> {
    if args.list {
        return list(args.json);
    }
    if let Some(folder) = &args.plots {
        return plots::run(args, folder);
    }
    let scenario = match args.world.as_deref() {
        Some(DRAWN) => None,
        named => Some(world(named)?),
    };
    let place = scenario.as_ref().map_or(Place::Drawn, Place::World);
    let (strategies, seeds) = (args.strategies(), args.all_seeds());
    let runs: Vec<_> = strategies.iter().map(|strategy| (*strategy, place)).collect();
    let sums = jobs::sums(&runs, &seeds);
    let tallies: Vec<_> = strategies.iter().zip(&sums).map(|(strategy, sum)| sum.tally(*strategy)).collect();
    let told = Told {
        name: scenario.as_ref().map_or(DRAWN, |scenario| scenario.name),
        about: scenario.as_ref().map_or("a world of faults drawn from each seed", |scenario| scenario.about),
        simulated_secs: sums.first().map_or(0, |sum| sum.simulated_secs),
        seeds: &seeds,
        tallies: &tallies,
        broken: sums.iter().flat_map(|sum| &sum.broken).collect(),
    };
    if args.json {
        render::json(&told.json())?;
    } else {
        render::data(text::table(&told).as_bytes())?;
    }
    Ok(if told.broken.is_empty() { exit::OK } else { exit::PROMISE_BROKEN })
}

/// What is told of a comparison.
struct Told<'a> {
    name: &'a str,
    about: &'a str,
    simulated_secs: u64,
    seeds: &'a [u64],
    tallies: &'a [Tally],
    broken: Vec<&'a (u64, Broken)>,
}

impl Told<'_> {
    fn json(&self) -> serde_json::Value {
        let broken: Vec<_> = self
            .broken
            .iter()
            .map(
                |(seed, broken)| json!({"seed": seed, "promise": broken.promise.number(), "words": broken.to_string()}),
            )
            .collect();
        json!({
            "world": {"name": self.name, "about": self.about},
            "seeds": self.seeds,
            "simulated_s": self.simulated_secs,
            "strategies": self.tallies,
            "broken_promises": broken,
        })
    }
}

/// The world of this name, or of this file.
fn world(named: Option<&str>) -> Result<Scenario, Failure> {
    let Some(name) = named else { return Ok(steady()) };
    if let Some(scenario) = built_in(name) {
        return Ok(scenario);
    }
    if name.contains(['/', '.']) || Path::new(name).exists() {
        return file::read(Path::new(name));
    }
    let failure = Failure::new(exit::USAGE, format!("there is no world `{name}`"))
        .because("it is neither a file nor one of the house's scenarios");
    let all = Scenario::all();
    let names = all.iter().map(|scenario| scenario.name).chain(["steady", DRAWN]);
    Err(match nearest(name, names) {
        Some(name) => failure.hint(format!("did you mean `{name}`?")),
        None => failure.hint("`evergrant simulate --list` names them all"),
    })
}

fn built_in(name: &str) -> Option<Scenario> {
    if name == "steady" { Some(steady()) } else { Scenario::named(name) }
}

fn list(as_json: bool) -> Result<u8, Failure> {
    let mut scenarios = vec![steady()];
    scenarios.extend(Scenario::all());
    if as_json {
        let named = |name: &str, about: &str| json!({"name": name, "about": about});
        let mut worlds: Vec<_> = scenarios.iter().map(|scenario| named(scenario.name, scenario.about)).collect();
        worlds.push(named(DRAWN, "a world of faults drawn from each seed"));
        let strategies = evergrant_sim::strategy::Strategy::ALL;
        let strategies: Vec<_> = strategies.into_iter().map(|one| named(one.name(), one.about())).collect();
        render::json(&json!({"worlds": worlds, "strategies": strategies}))?;
    } else {
        render::data(text::list(&scenarios).as_bytes())?;
    }
    Ok(exit::OK)
}

/// The name of the world that every seed draws anew.
const DRAWN: &str = "drawn";
