//! When a page is asked for again, and after how long.
//!
//! A page that was not delivered is asked for again, if that can do no harm: a GET always, a query that is known to read
//! only, and whatever was certainly not executed, because no connection came about, there was no token, or a 429 said so.
//! A POST that may have been executed is never sent again: of its answers only a 4xx other than 408 says that it was not.
//! A 401 that the client passes on is final, unless pages came
//! before: then a token died, and whatever kept the client from a replay may pass.
//!
//! Waits double up to a bound and vary, so that many exports which one outage stopped do not come back together. A
//! `Retry-After` is waited out as it says. Both have a bound in time and none in tries: a server that restarts is back
//! after a minute or two, however often it was asked meanwhile.
//!
//! Source: RFC 9110 sections 9.2.2, 10.2.3 and 15.6; RFC 6585 section 4.

use evergrant_core::keeper::AcquireErrorKind;
use evergrant_core::time::Span;
use http::{Method, StatusCode};
use url::Url;

use crate::client::ClientError;
use crate::transport::ConnectionFailureKind;

/// How patient an export is with one page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retries {
    /// How long one page may be in trouble in all: with requests that fail, and the waits after them that nobody asked for.
    pub longest_trouble: Span,
    /// The wait after the first failure; each further one is twice as long.
    pub first_wait: Span,
    /// The longest wait that nobody asked for.
    pub longest_wait: Span,
    /// How long the 429s of one page, and each `Retry-After`, may have it wait in all.
    pub longest_asked_wait: Span,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            longest_trouble: Span::from_secs(5 * 60),
            first_wait: Span::from_millis(250),
            longest_wait: Span::from_secs(30),
            longest_asked_wait: Span::from_secs(15 * 60),
        }
    }
}

/// What happened to a request that did not bring its page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Setback {
    /// Too many requests; nothing was executed.
    RateLimited(Option<Span>),
    /// The server, or one in front of it, is in trouble; the request may have been executed.
    Trouble(Option<Span>),
    /// The request was certainly not executed.
    Unsent,
    /// The request may have been executed.
    Ambiguous,
    /// A 401 to a request that was good before: the token died, and its replay was not to be had.
    Refused,
    /// The server failed, and asking again changes nothing; the request may have been executed.
    Failed,
    /// Asking again changes nothing, and the request was certainly not executed.
    Final,
}

impl Setback {
    /// `was_good` says that earlier pages came: what is refused from the beginning will be refused again.
    pub(super) fn of_status(status: StatusCode, retry_after: Option<Span>, was_good: bool) -> Self {
        match status.as_u16() {
            401 if was_good => Self::Refused,
            429 => Self::RateLimited(retry_after),
            408 | 500 | 502..=504 => Self::Trouble(retry_after),
            400..=499 => Self::Final,
            _ => Self::Failed,
        }
    }

    pub(super) fn of_error(error: &ClientError) -> Self {
        match error {
            ClientError::NoAnswer(lost) if lost.kind == ConnectionFailureKind::Unreachable => Self::Unsent,
            ClientError::NoAnswer(_) | ClientError::Broken(_) => Self::Ambiguous,
            ClientError::NoToken { error, .. } => match error.kind {
                AcquireErrorKind::Unreachable
                | AcquireErrorKind::TimedOut
                | AcquireErrorKind::Unavailable
                | AcquireErrorKind::BudgetExhausted => Self::Unsent,
                AcquireErrorKind::Rejected | AcquireErrorKind::LoginRequired => Self::Final,
            },
            ClientError::ForeignOrigin(_)
            | ClientError::InvalidRequest(_)
            | ClientError::TwoAuthorizations
            | ClientError::NotJson { .. } => Self::Final,
        }
    }

    /// May the request have been executed, so that one which does more than read must not be repeated?
    pub(super) const fn is_in_doubt(self) -> bool {
        matches!(self, Self::Trouble(_) | Self::Ambiguous | Self::Failed)
    }
}

/// One page's setbacks so far.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Setbacks {
    /// Requests that failed, but for 429s.
    pub(super) tries: u32,
    /// The last one in words.
    pub(super) why: String,
    rate_limited: u32,
    /// How long it was waited because the server asked for it.
    asked: Span,
    /// How long requests failed, and were waited for otherwise.
    trouble: Span,
}

impl Setbacks {
    /// How long to wait before the page is asked for again, after a request that `took` so long; `None`: not at all. `luck`
    /// is random.
    pub(super) fn wait(
        &mut self,
        setback: Setback,
        took: Span,
        may_repeat: bool,
        retries: &Retries,
        luck: u8,
    ) -> Option<Span> {
        let needs_repeating = setback.is_in_doubt() || setback == Setback::Refused;
        if matches!(setback, Setback::Failed | Setback::Final) || (needs_repeating && !may_repeat) {
            self.tries += 1;
            return None;
        }
        let (count, asked) = match setback {
            Setback::RateLimited(asked) => {
                self.rate_limited += 1;
                (self.rate_limited, asked)
            }
            Setback::Trouble(asked) => {
                self.tries += 1;
                (self.tries, asked)
            }
            Setback::Unsent | Setback::Ambiguous | Setback::Refused | Setback::Failed | Setback::Final => {
                self.tries += 1;
                (self.tries, None)
            }
        };
        let doubled = retries.first_wait.scaled(1 << (count - 1).min(16), 1).min(retries.longest_wait);
        let own = doubled.scaled(256 + i64::from(luck), 512).max(SHORTEST_WAIT);
        let wait = own.max(asked.unwrap_or(Span::ZERO));
        let is_limit = matches!(setback, Setback::RateLimited(_));
        if !is_limit {
            self.trouble += took;
        }
        *(if asked.is_some() || is_limit { &mut self.asked } else { &mut self.trouble }) += wait;
        let is_bearable = self.asked <= retries.longest_asked_wait && self.trouble <= retries.longest_trouble;
        is_bearable.then_some(wait)
    }
}

/// Does this request only read, so that it can be sent again whatever happened to it?
pub(super) fn only_reads(method: &Method, url: &Url) -> bool {
    let path = url.path();
    let known = |(within, end): &(&str, &str)| path.contains(within) && path.ends_with(end);
    method == Method::GET || READING_POSTS.iter().any(known)
}

/// POSTs of Genesys Cloud that read: its analytics queries and its searches. Other POSTs that end in `/query` make jobs.
const READING_POSTS: [(&str, &str); 2] = [("/api/v2/analytics/", "/query"), ("/api/v2/", "/search")];

/// However short the caller wants the first wait to be.
const SHORTEST_WAIT: Span = Span::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    const LUCKY: u8 = 255;

    fn waits(setback: Setback, may_repeat: bool) -> Vec<i64> {
        waits_after(Span::ZERO, setback, may_repeat)
    }

    fn waits_after(took: Span, setback: Setback, may_repeat: bool) -> Vec<i64> {
        let (retries, mut setbacks) = (Retries::default(), Setbacks::default());
        std::iter::from_fn(|| setbacks.wait(setback, took, may_repeat, &retries, LUCKY))
            .map(Span::as_secs)
            .take(1_000)
            .collect()
    }

    #[test]
    fn trouble_is_waited_out_in_ever_longer_steps_for_five_minutes() {
        let steps = [0, 0, 0, 1, 3, 7, 15, 29, 29, 29, 29, 29, 29, 29, 29];
        for setback in [Setback::Ambiguous, Setback::Unsent, Setback::Trouble(None), Setback::Refused] {
            assert_eq!(waits(setback, true), steps, "{setback:?}");
        }
        assert_eq!(waits_after(Span::from_secs(30), Setback::Ambiguous, true), steps[..7], "requests take time too");
    }

    #[test]
    fn what_a_server_in_trouble_asks_for_is_waited_for_a_quarter_of_an_hour() {
        assert_eq!(waits(Setback::Trouble(Some(Span::from_secs(300))), true), [300; 3]);
        let shortly = waits(Setback::Trouble(Some(Span::from_secs(5))), true);
        assert!(shortly.starts_with(&[5, 5, 5, 5, 5, 7, 15, 29]), "{shortly:?}");
        assert!((800..=900).contains(&shortly.iter().sum::<i64>()), "{shortly:?}");
        assert_eq!(waits(Setback::Trouble(Some(Span::from_secs(3600))), true), [0; 0]);
    }

    #[test]
    fn failures_that_pass_are_waited_out_where_the_request_only_reads() {
        for status in [408, 500, 502, 503, 504] {
            let setback = Setback::of_status(StatusCode::from_u16(status).unwrap(), None, false);
            assert_eq!((waits(setback, true).len(), waits(setback, false).len()), (15, 0), "{status}");
        }
    }

    #[test]
    fn a_first_wait_of_nothing_is_no_loop_without_a_pause() {
        let retries = Retries { first_wait: Span::ZERO, ..Retries::default() };
        let wait = Setbacks::default().wait(Setback::Ambiguous, Span::ZERO, true, &retries, 0);
        assert_eq!(wait, Some(SHORTEST_WAIT));
    }

    #[test]
    fn what_may_have_been_executed_is_not_repeated_unless_it_only_reads() {
        for setback in [Setback::Ambiguous, Setback::Trouble(None), Setback::Refused] {
            assert_eq!(waits(setback, false).len(), 0);
        }
        assert_eq!(waits(Setback::Unsent, false).len(), 15);
        assert_eq!(waits(Setback::Final, true).len(), 0);
        let refused = |was_good| Setback::of_status(StatusCode::UNAUTHORIZED, None, was_good);
        assert_eq!((refused(true), refused(false)), (Setback::Refused, Setback::Final));
    }

    #[test]
    fn only_a_refusal_says_that_nothing_was_executed() {
        let is_in_doubt =
            |status: u16| Setback::of_status(StatusCode::from_u16(status).unwrap(), None, false).is_in_doubt();
        for status in [400, 401, 403, 404, 409, 422, 429] {
            assert!(!is_in_doubt(status), "{status}");
        }
        for status in [303, 408, 500, 501, 502, 503, 504, 505, 599] {
            assert!(is_in_doubt(status), "{status}");
        }
        assert_eq!(waits(Setback::Failed, true).len(), 0);
    }

    #[test]
    fn a_429_is_waited_out_as_it_says_for_a_quarter_of_an_hour() {
        assert_eq!(waits(Setback::RateLimited(Some(Span::from_secs(60))), false), [60; 15]);
        let unsaid = waits(Setback::RateLimited(None), false);
        assert!((30..=40).contains(&unsaid.len()) && unsaid.iter().sum::<i64>() <= 900, "{unsaid:?}");
        assert_eq!(waits(Setback::RateLimited(Some(Span::ZERO)), false).len(), unsaid.len());
    }

    #[test]
    fn only_posts_that_are_known_to_read_are_taken_for_reading() {
        let reads =
            |method: Method, path: &str| only_reads(&method, &Url::parse(&format!("https://api.x{path}")).unwrap());
        assert!(reads(Method::GET, "/anything"));
        assert!(reads(Method::POST, "/base/api/v2/analytics/conversations/details/query"));
        assert!(reads(Method::POST, "/api/v2/users/search"));
        assert!(!reads(Method::POST, "/api/v2/audits/query"));
        assert!(!reads(Method::POST, "/api/v2/analytics/conversations/details/jobs"));
        assert!(!reads(Method::POST, "/search"));
    }
}
