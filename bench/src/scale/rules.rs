//! What the rules bring that keep replicas from doing the same at the same moment: the day once more with each of them replaced.
//!
//! Members do what those that ship do, but for the one rule (`evergrant_sim::fleet::Rules`). The order of those who take over is
//! made for a holder that dies while many wait for its lease, and in the day nobody dies; so there is another start of
//! all, in which the first of each fleet that asks for a token is killed while it waits for the answer.

use evergrant_core::time::Span;
use evergrant_sim::fleet::{Fleet, Jitter, Rules, Trouble};

use super::{DAY, ENDPOINT_DOWN, MOMENT, Sum, a_day, total};
use crate::Failure;
use crate::table::{Sheet, number_text};

/// The day, and the start with a death, under one set of rules.
struct Run<'a> {
    day: &'a Sum,
    start: Sum,
}

/// What is told of a run: in which words, in which unit, and how much it is.
type Line = (&'static str, &'static str, fn(&Run<'_>) -> f64);

/// Puts the other rules beside those that ship.
pub(super) fn compare(fleets: u64, shipped: &Sum) -> Result<Sheet, Failure> {
    let jitter = |jitter| Rules { jitter, ..Rules::default() };
    let others = [jitter(Jitter::OfReplica), jitter(Jitter::OfLook), Rules { takes_turns: false, ..Rules::default() }];
    let mut days = Vec::new();
    for rules in others {
        days.push(total(fleets, |seed| a_day(rules, seed))?);
    }
    let mut runs = Vec::new();
    for (rules, day) in std::iter::once(Rules::default()).chain(others).zip(std::iter::once(shipped).chain(&days)) {
        runs.push(Run { day, start: total(fleets, |seed| a_death(rules, seed))? });
    }
    let cells = |(what, unit, of): &Line| {
        let numbers = runs.iter().map(|run| number_text(of(run), unit));
        std::iter::once((*what).to_owned()).chain(numbers).collect()
    };
    Ok(Sheet {
        heads: vec![
            "what",
            "as shipped",
            "drawn once by each replica",
            "drawn anew at each look",
            "no order to take over",
        ],
        is_number: vec![false, true, true, true, true],
        lines: LINES.iter().map(cells).collect(),
    })
}

const LINES: [Line; 12] = [
    ("tokens issued for each hour that one lives", "", |run| run.day.a_lifetime(run.day.issued())),
    ("token requests, with those that failed", "", |run| run.day.a_lifetime(run.day.requests)),
    ("most tokens issued in one second, in the hours after the start", "", |run| run.day.peak(MOMENT, ENDPOINT_DOWN.0)),
    ("the same when the token endpoint is back", "", |run| run.day.peak(ENDPOINT_DOWN.1, ENDPOINT_DOWN.1 + MOMENT)),
    ("the same in the rest of the day", "", |run| run.day.peak(ENDPOINT_DOWN.1 + MOMENT, DAY)),
    ("times that a lease was somebody else's, for each token", "", |run| {
        run.day.refusals as f64 / run.day.issued() as f64
    }),
    ("commands for a replica and minute", "", |run| run.day.commands_a_minute()),
    ("most commands in one second: the start of all", "", |run| run.day.most_commands()[0]),
    ("the same later", "", |run| run.day.most_commands()[1]),
    ("a start with a death: times that a lease was somebody else's, for each fleet", "", |run| {
        run.start.refusals as f64 / run.start.fleets as f64
    }),
    ("the same start: most commands in one second", "", |run| run.start.most_commands()[0]),
    ("the same start: the first token of the last fleet", "s", |run| run.start.first_token.as_secs_f64()),
];

/// All start, and in each fleet the first that asks for a token is killed.
fn a_death(rules: Rules, seed: u64) -> Fleet {
    let duration = Span::from_secs(MOMENT);
    let troubles = vec![(Span::ZERO, Trouble::KilledWhileAsking(duration.scaled(1, 2)))];
    Fleet { troubles, events: Vec::new(), duration, ..a_day(rules, seed) }
}
