//! The arguments of `evergrant simulate`.

use std::path::PathBuf;

use clap::Args;
use evergrant_sim::strategy::Strategy;

use crate::failure::nearest;

/// `evergrant simulate`.
#[derive(Args, Debug)]
pub(crate) struct SimulateArgs {
    /// The world: a TOML file, the name of one of the house's scenarios, or `drawn` for one of faults drawn from each seed;
    /// `steady` if not given
    #[arg(value_name = "WORLD")]
    pub(crate) world: Option<String>,
    /// The clients to run; all of them if not given; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = strategy)]
    pub(crate) strategy: Vec<Strategy>,
    /// Run this seed only
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    pub(crate) seed: Option<u64>,
    /// Run the seeds 1 to N
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) seeds: u64,
    /// Vary one thing after another, and write plots and their data into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "world")]
    pub(crate) plots: Option<PathBuf>,
    /// List the scenarios and the clients
    #[arg(long, conflicts_with_all = ["world", "strategy", "seed", "seeds", "plots"])]
    pub(crate) list: bool,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

impl SimulateArgs {
    /// The clients that run.
    pub(crate) fn strategies(&self) -> Vec<Strategy> {
        if self.strategy.is_empty() { Strategy::ALL.to_vec() } else { self.strategy.clone() }
    }

    /// The seeds that run.
    pub(crate) fn all_seeds(&self) -> Vec<u64> {
        self.seed.map_or_else(|| (1..=self.seeds).collect(), |seed| vec![seed])
    }
}

fn strategy(text: &str) -> Result<Strategy, String> {
    let names = || Strategy::ALL.into_iter().map(Strategy::name);
    Strategy::named(text).ok_or_else(|| match nearest(text, names()) {
        Some(name) => format!("no client has this name; did you mean `{name}`?"),
        None => format!("no client has this name; there are {}", names().collect::<Vec<_>>().join(", ")),
    })
}
