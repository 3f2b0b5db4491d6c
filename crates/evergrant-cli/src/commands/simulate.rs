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

use evergrant_sim::comparison::steady;
use evergrant_sim::scenario::Scenario;
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
    let scenario = world(args.world.as_deref())?;
    let (strategies, seeds) = (args.strategies(), args.all_seeds());
    let runs: Vec<_> = strategies.iter().map(|strategy| (*strategy, &scenario)).collect();
    let tallies = jobs::tallies(&runs, &seeds);
    if args.json {
        render::json(&json!({
            "world": {"name": scenario.name, "about": scenario.about, "simulated_s": scenario.duration.as_secs_f64()},
            "seeds": seeds,
            "strategies": tallies,
        }))?;
    } else {
        render::data(text::table(&scenario, &seeds, &tallies).as_bytes())?;
    }
    Ok(exit::OK)
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
    Err(match nearest(name, all.iter().map(|scenario| scenario.name)) {
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
        let worlds: Vec<_> = scenarios.iter().map(|scenario| named(scenario.name, scenario.about)).collect();
        let strategies = evergrant_sim::strategy::Strategy::ALL;
        let strategies: Vec<_> = strategies.into_iter().map(|one| named(one.name(), one.about())).collect();
        render::json(&json!({"worlds": worlds, "strategies": strategies}))?;
    } else {
        render::data(text::list(&scenarios).as_bytes())?;
    }
    Ok(exit::OK)
}
