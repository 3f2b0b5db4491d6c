//! How the demo ended: the numbers of both lanes, as JSON and in words.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use evergrant_core::verdict::Cause;
use evergrant_sim::tokens::Refusal;
use serde::Serialize;

use super::screen::{self, Paint};
use crate::exit;

/// One lane's numbers.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LaneReport {
    /// Its name.
    pub(super) name: &'static str,
    /// Calls that came to an end.
    pub(super) calls: u64,
    /// Calls that ended in a 401.
    pub(super) visible_401: u64,
    /// Requests that arrived at the token endpoint during the demo and for the first token.
    pub(super) token_requests: u64,
    /// The time that 99 of 100 calls stayed within.
    pub(super) p99_ms: f64,
    /// Calls that failed in another way.
    pub(super) other_failures: u64,
    /// 401s that the provider sent, by its own account of the reason, whether a caller saw them or not.
    pub(super) refused: BTreeMap<Refusal, u64>,
    /// What Evergrant took for the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verdicts: Option<BTreeMap<Cause, u64>>,
    /// When and how much failed.
    #[serde(skip)]
    pub(super) course: String,
}

/// The whole demo.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// How long calls were sent.
    pub(super) seconds: f64,
    /// Did it run to its end?
    pub(super) complete: bool,
    /// The snippet's lane, then Evergrant's.
    pub(super) lanes: [LaneReport; 2],
}

impl Report {
    /// The exit code: a 401 that got through Evergrant is a failure of the demo.
    pub(super) fn exit_code(&self) -> u8 {
        if self.lanes[1].visible_401 == 0 { exit::OK } else { exit::DEMO_401 }
    }

    /// One line of JSON.
    pub(super) fn json(&self) -> String {
        // Only maps with keys that are no text cannot be written, and there are none.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// The summary for a person.
    pub(super) fn text(&self, paint: &Paint) -> String {
        let mut text = String::new();
        if !self.complete {
            let _ = writeln!(text, "stopped after {:.1} s; so far:\n", self.seconds);
        }
        for line in screen::who_is_who().into_iter().chain(screen::table(&self.lanes, paint)) {
            let _ = writeln!(text, "{line}");
        }
        text.push('\n');
        text.push_str(&self.reasons());
        text.push('\n');
        text.push_str(&self.in_words());
        text
    }

    /// Why the provider said 401, and what Evergrant made of it.
    fn reasons(&self) -> String {
        let mut text = String::from("401s that the provider sent, seen by a caller or not:\n");
        for lane in &self.lanes {
            let _ = writeln!(text, "{:<10} {}", lane.name, counts(&lane.refused));
            if let Some(verdicts) = &lane.verdicts {
                let _ = writeln!(text, "{:<10} its verdicts: {}", "", counts(verdicts));
            }
        }
        text
    }

    /// The outcome as a sentence.
    fn in_words(&self) -> String {
        let failed = |lane: &LaneReport| match lane.visible_401 + lane.other_failures {
            0 => format!("none of {} calls", lane.calls),
            count => format!("{count} of {} calls", lane.calls),
        };
        let [snippet, evergrant] = &self.lanes;
        format!(
            "Under the same load and the same faults, the snippet let {} fail\n\
             and made {} token requests; evergrant let {} fail and made {}.\n",
            failed(snippet),
            snippet.token_requests,
            failed(evergrant),
            evergrant.token_requests,
        )
    }
}

fn counts<K: Serialize>(counts: &BTreeMap<K, u64>) -> String {
    let name = |key: &K| serde_json::to_value(key).ok().and_then(|value| value.as_str().map(str::to_owned));
    let listed: Vec<String> =
        counts.iter().map(|(key, count)| format!("{} {count}", name(key).unwrap_or_default())).collect();
    if listed.is_empty() { "none".to_owned() } else { listed.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(name: &'static str, visible_401: u64, other_failures: u64) -> LaneReport {
        LaneReport {
            name,
            calls: 500,
            visible_401,
            token_requests: 1 + visible_401,
            p99_ms: 12.3,
            other_failures,
            refused: BTreeMap::from([(Refusal::Propagating, 9), (Refusal::Revoked, 2)]),
            verdicts: (name == "evergrant").then(BTreeMap::new),
            course: String::new(),
        }
    }

    fn report(snippet: (u64, u64), evergrant: (u64, u64)) -> Report {
        let lanes = [lane("snippet", snippet.0, snippet.1), lane("evergrant", evergrant.0, evergrant.1)];
        Report { seconds: 4.2, complete: false, lanes }
    }

    #[test]
    fn a_401_in_the_second_lane_alone_fails_the_demo() {
        assert_eq!(report((7, 7), (0, 0)).exit_code(), exit::OK);
        assert_eq!(report((0, 0), (0, 3)).exit_code(), exit::OK);
        assert_eq!(report((7, 7), (1, 0)).exit_code(), exit::DEMO_401);
    }

    #[test]
    fn json_is_one_line_that_ends_with_the_lanes() {
        insta::assert_snapshot!(report((7, 1), (0, 0)).json(), @r#"
        {"seconds":4.2,"complete":false,"lanes":[{"name":"snippet","calls":500,"visible_401":7,"token_requests":8,"p99_ms":12.3,"other_failures":1,"refused":{"propagating":9,"revoked":2}},{"name":"evergrant","calls":500,"visible_401":0,"token_requests":1,"p99_ms":12.3,"other_failures":0,"refused":{"propagating":9,"revoked":2},"verdicts":{}}]}
        "#);
    }

    #[test]
    fn the_sentence_tells_what_happened_to_whom() {
        insta::assert_snapshot!(report((7, 2), (0, 0)).in_words(), @r"
        Under the same load and the same faults, the snippet let 9 of 500 calls fail
        and made 8 token requests; evergrant let none of 500 calls fail and made 1.
        ");
        assert!(report((0, 0), (1, 2)).in_words().contains("evergrant let 3 of 500 calls fail and made 2"));
    }

    #[test]
    fn a_demo_that_was_stopped_says_so() {
        assert!(report((0, 0), (0, 0)).text(&Paint::NONE).starts_with("stopped after 4.2 s; so far:"));
    }
}
