//! `evergrant explain --last [N]`: the last verdicts of a running gateway.
//!
//! The gateway keeps its last verdicts with their evidence; this asks its admin listener for them and puts them into
//! words, oldest first, so that the newest stands where the reader looks.

use evergrant_core::time::Span;
use http::StatusCode;
use serde_json::{Value, json};

use super::shape;
use crate::args::ExplainArgs;
use crate::commands::running::Running;
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::launch;
use crate::render;
use crate::settings::layers::Layers;

/// Prints the last verdicts.
pub(crate) fn run(args: &ExplainArgs, last: usize, layers: &Layers) -> Result<u8, Failures> {
    let running = Running::of(layers)?;
    let (status, address) = (launch::small_runtime()?.block_on(ask(&running))?, running.address());
    let filter = Filter { last, causes: &args.cause, route: args.route.as_deref(), since: args.since };
    let verdicts = last_verdicts(&status, &filter);
    if args.json {
        render::json(&json!({ "version": shape::VERSION, "verdicts": verdicts }))?;
    } else if verdicts.is_empty() {
        let refused = last_verdicts(&status, &Filter { last: usize::MAX, ..Filter::default() }).len();
        match refused {
            0 => anstream::eprintln!("nothing was refused since the gateway at {address} started"),
            1 => anstream::eprintln!("the one verdict that the gateway at {address} keeps is not what was asked for"),
            kept => {
                anstream::eprintln!("none of the {kept} verdicts that the gateway at {address} keeps was asked for")
            }
        }
    } else {
        let texts: Vec<String> = verdicts.iter().map(in_words).collect();
        render::data(texts.join("\n").as_bytes())?;
    }
    Ok(exit::OK)
}

/// The status of the gateway.
async fn ask(running: &Running) -> Result<Value, Failure> {
    let (status, body) = running.get("/status").await?;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status != StatusCode::OK {
        let said = body["detail"].as_str().unwrap_or("it gives no reason");
        return Err(Failure::new(exit::FAILED, format!("the gateway refuses to answer: {status}"))
            .at(running.address())
            .because(said)
            .hint("run this as the user of the gateway, or give the caller secret: EVERGRANT_CALLER_SECRET"));
    }
    if !body["recent_verdicts"].is_array() {
        return Err(running.is_none("its answer is no status of a gateway"));
    }
    Ok(body)
}

/// Which verdicts are asked for.
#[derive(Default)]
struct Filter<'a> {
    last: usize,
    causes: &'a [String],
    route: Option<&'a str>,
    since: Option<Span>,
}

impl Filter<'_> {
    fn takes(&self, verdict: &Value) -> bool {
        let text = |key: &str| verdict[key].as_str().unwrap_or_default();
        let age = verdict["age_s"].as_f64().unwrap_or_default();
        (self.causes.is_empty() || self.causes.iter().any(|cause| cause == text("cause")))
            && self.route.is_none_or(|part| text("route").contains(part))
            && self.since.is_none_or(|since| age <= since.as_secs_f64())
    }
}

/// The last verdicts of all profiles that the filter takes, oldest first, each with its profile.
fn last_verdicts(status: &Value, filter: &Filter<'_>) -> Vec<Value> {
    let mut verdicts = Vec::new();
    for listener in status["listeners"].as_array().into_iter().flatten() {
        let recent = listener["recent_verdicts"].as_array().into_iter().flatten();
        verdicts.extend(recent.filter(|verdict| filter.takes(verdict)).map(|verdict| {
            let mut verdict = verdict.clone();
            verdict["profile"] = listener["profile"].clone();
            verdict
        }));
    }
    let age = |verdict: &Value| verdict["age_s"].as_f64().unwrap_or_default();
    // Of one age, the later one of a listener is the newer one.
    verdicts.reverse();
    verdicts.sort_by(|left, right| age(left).total_cmp(&age(right)));
    verdicts.truncate(filter.last);
    verdicts.reverse();
    verdicts
}

fn in_words(verdict: &Value) -> String {
    let text = |key: &str| verdict[key].as_str().unwrap_or_default().to_owned();
    let when = verdict["age_s"].as_f64().map(|age| format!(", {} ago", in_time_words(age))).unwrap_or_default();
    let fault = text("fault").replace('_', " ");
    let head = format!(
        "{} ({}, fault: {fault}){when}, {}, {}\n",
        text("cause"),
        text("confidence"),
        text("profile"),
        text("id")
    );
    let evidence = verdict["evidence"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let evidence: String = evidence.map(|fact| format!("  {fact}\n")).collect();
    format!("{head}{evidence}  what to do: {}\n", text("remedy"))
}

fn in_time_words(seconds: f64) -> String {
    match seconds {
        short if short < 120.0 => format!("{short:.0} s"),
        longer if longer < 7200.0 => format!("{:.0} min", longer / 60.0),
        long => format!("{:.0} h", long / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Value {
        let verdict = |id: &str, cause: &str, route: &str, age_s: f64| json!({ "id": id, "cause": cause, "route": route, "age_s": age_s });
        json!({
            "listeners": [
                { "profile": "a", "recent_verdicts": [verdict("1", "expired", "GET /x", 20.0), verdict("2", "revoked", "GET /y", 1.0)] },
                { "profile": "b", "recent_verdicts": [verdict("3", "expired", "POST /x", 9.0)] },
            ],
        })
    }

    fn ids(filter: &Filter<'_>) -> String {
        last_verdicts(&status(), filter).iter().filter_map(|found| found["id"].as_str().map(str::to_owned)).collect()
    }

    #[test]
    fn the_last_verdicts_of_all_profiles_stand_in_their_order() {
        for (last, expected) in [(9, "132"), (2, "32"), (0, "")] {
            assert_eq!(ids(&Filter { last, ..Filter::default() }), expected);
        }
    }

    #[test]
    fn cause_route_and_time_are_filters_that_hold_together() {
        let all = || Filter { last: 9, ..Filter::default() };
        let causes = ["expired".to_owned()];
        assert_eq!(ids(&Filter { causes: &causes, ..all() }), "13");
        assert_eq!(ids(&Filter { route: Some("GET /"), ..all() }), "12");
        assert_eq!(ids(&Filter { since: Some(Span::from_secs(9)), ..all() }), "32");
        assert_eq!(ids(&Filter { since: Some(Span::from_secs(9)), causes: &causes, ..all() }), "3");
        assert_eq!(ids(&Filter { last: 1, causes: &causes, ..all() }), "3", "the newest of those that fit");
    }
}
