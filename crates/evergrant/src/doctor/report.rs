//! What an examination found, as data.
//!
//! The names are stable: `doctor --json` prints this. A [`Check`] always has evidence, also when all is well, because
//! "ok" without a number is worth little; a check that asks for something to be done says what.

use evergrant_core::evidence::Evidence;
use evergrant_core::verdict::{Cause, Confidence, Fault, diagnose};
use serde::Serialize;

/// The version of the report's shape. It grows when a field changes its meaning or goes away.
pub const FORMAT_VERSION: u32 = 1;

/// How a check ended, the gravest last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It could not be done, or there was nothing to do.
    Skipped,
    /// All is well.
    Ok,
    /// It works, and something about it will cost somebody time one day.
    Warning,
    /// It does not work.
    Fault,
}

impl State {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// The checks, in the order in which they depend on each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// The settings, and where each came from.
    Settings,
    /// The HTTP proxy on the way.
    Proxy,
    /// The discovery document of the issuer.
    Discovery,
    /// The address of the token endpoint's host.
    TokenDns,
    /// A connection to it.
    TokenTcp,
    /// TLS with it, and its certificates.
    TokenTls,
    /// The address of the API's host.
    ApiDns,
    /// A connection to it.
    ApiTcp,
    /// TLS with it, and its certificates.
    ApiTls,
    /// One token request.
    TokenEndpoint,
    /// What kind of token came, and what it says of itself.
    Token,
    /// The signature of a JWT.
    Signature,
    /// How long the token lives.
    Lifetime,
    /// How soon the API knows a new token.
    Propagation,
    /// Does the API take the token?
    Api,
    /// Who the token stands for.
    Identity,
    /// What it may do.
    Permissions,
    /// After how long without use it ends.
    IdleTimeout,
    /// How many requests the API takes.
    RateLimit,
    /// The limits of the organisation.
    OrgLimits,
    /// The clocks of this machine and of the provider.
    Clock,
    /// Where tokens are kept.
    Store,
    /// A running gateway.
    Gateway,
}

impl Name {
    /// Every check.
    pub const ALL: [Self; 23] = [
        Self::Settings,
        Self::Proxy,
        Self::Discovery,
        Self::TokenDns,
        Self::TokenTcp,
        Self::TokenTls,
        Self::ApiDns,
        Self::ApiTcp,
        Self::ApiTls,
        Self::TokenEndpoint,
        Self::Token,
        Self::Signature,
        Self::Lifetime,
        Self::Propagation,
        Self::Api,
        Self::Identity,
        Self::Permissions,
        Self::IdleTimeout,
        Self::RateLimit,
        Self::OrgLimits,
        Self::Clock,
        Self::Store,
        Self::Gateway,
    ];

    /// What people call it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Proxy => "HTTP proxy",
            Self::Discovery => "issuer's discovery document",
            Self::TokenDns => "name of the token endpoint's host",
            Self::TokenTcp => "connection to the token endpoint",
            Self::TokenTls => "TLS with the token endpoint",
            Self::ApiDns => "name of the API's host",
            Self::ApiTcp => "connection to the API",
            Self::ApiTls => "TLS with the API",
            Self::TokenEndpoint => "token request",
            Self::Token => "token",
            Self::Signature => "signature of the token",
            Self::Lifetime => "lifetime of the token",
            Self::Propagation => "propagation of a new token",
            Self::Api => "API takes the token",
            Self::Identity => "who the token stands for",
            Self::Permissions => "roles and permissions",
            Self::IdleTimeout => "idle timeout",
            Self::RateLimit => "rate limit",
            Self::OrgLimits => "limits of the organisation",
            Self::Clock => "clocks",
            Self::Store => "token store",
            Self::Gateway => "running gateway",
        }
    }
}

/// The cause of a refusal, as [`diagnose`] sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Ruling {
    /// Why.
    pub cause: Cause,
    /// How sure that is.
    pub confidence: Confidence,
    /// Who can change it.
    pub fault: Fault,
}

/// One check and how it ended.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Check {
    /// Which one.
    pub name: Name,
    /// What people call it.
    pub title: &'static str,
    /// How it ended.
    pub state: State,
    /// What was seen, in sentences with numbers.
    pub evidence: Vec<String>,
    /// What to do, if anything.
    pub remedy: Option<String>,
    /// Why a server refused, if one did.
    pub verdict: Option<Ruling>,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
}

impl Check {
    /// A check that went well, with nothing seen yet.
    #[must_use]
    pub fn ok(name: Name) -> Self {
        let (title, evidence) = (name.title(), Vec::new());
        Self { name, title, state: State::Ok, evidence, remedy: None, verdict: None, took_ms: 0.0 }
    }

    /// A check that was not done, and why.
    #[must_use]
    pub fn skipped(name: Name, why: impl Into<String>) -> Self {
        Self { state: State::Skipped, ..Self::ok(name) }.saw(why)
    }

    /// The same check with one more thing seen.
    #[must_use]
    pub fn saw(mut self, fact: impl Into<String>) -> Self {
        self.evidence.push(fact.into());
        self
    }

    /// The same check as a warning, unless it is worse already.
    #[must_use]
    pub fn warning(self, remedy: impl Into<String>) -> Self {
        self.at_least(State::Warning, remedy.into())
    }

    /// The same check as a fault.
    #[must_use]
    pub fn fault(self, remedy: impl Into<String>) -> Self {
        self.at_least(State::Fault, remedy.into())
    }

    /// The same check with the cause that the evidence shows, its facts and its remedy.
    #[must_use]
    pub fn judged(self, state: State, evidence: &Evidence) -> Self {
        let verdict = diagnose(evidence);
        let ruling = Ruling { cause: verdict.cause, confidence: verdict.confidence, fault: verdict.fault };
        let mut check = self.at_least(state, verdict.remedy.to_owned());
        check.evidence.extend(verdict.evidence);
        check.verdict = Some(ruling);
        check
    }

    /// The gravest finding's remedy is the one to follow first.
    fn at_least(mut self, state: State, remedy: String) -> Self {
        if state > self.state || self.remedy.is_none() {
            self.remedy = Some(remedy);
        }
        self.state = self.state.max(state);
        self
    }

    /// Did it find something to do?
    #[must_use]
    pub fn is_finding(&self) -> bool {
        self.state >= State::Warning
    }
}

/// How far an examination has come.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// A check has begun.
    Began(Name),
    /// A check has ended.
    Ended(&'a Check),
}

/// How many checks ended in which state.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize)]
pub struct Counts {
    /// All is well.
    pub ok: usize,
    /// It works, and something should be changed.
    pub warning: usize,
    /// It does not work.
    pub fault: usize,
    /// Not done.
    pub skipped: usize,
}

/// One answer and how long it took.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct LatencyPoint {
    /// `token_endpoint` or `api`.
    pub what: &'static str,
    /// Seconds from the start of the examination to the request.
    pub at_s: f64,
    /// Milliseconds from the request to the head of the answer.
    pub ms: f64,
    /// The answer's status.
    pub status: u16,
}

/// This machine's clock minus the provider's, in seconds: positive is FAST.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Skew {
    /// At least.
    pub lo: f64,
    /// At most.
    pub hi: f64,
}

/// What was known of one source's clock at one moment.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct OffsetPoint {
    /// The source's stable name.
    pub source: &'static str,
    /// Seconds from the start of the examination.
    pub at_s: f64,
    /// What was known then.
    pub local_minus_server_s: Skew,
}

/// The life of the token, in seconds from the moment at which it was asked for.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct TokenLine {
    /// When the report was made.
    pub now_s: f64,
    /// From here on a refresh runs behind the callers' backs.
    pub soft_s: f64,
    /// From here on callers wait; absent if the end is not known, like the two below.
    pub hard_s: Option<f64>,
    /// The earliest end.
    pub dead_s: Option<f64>,
    /// The latest end.
    pub gone_s: Option<f64>,
}

/// The numbers behind the plots.
#[derive(Clone, Default, PartialEq, Debug, Serialize)]
pub struct Measured {
    /// Answers, in the order of their requests.
    pub latency: Vec<LatencyPoint>,
    /// The clocks, as knowledge of them grew.
    pub offset: Vec<OffsetPoint>,
    /// Under what assumptions the intervals hold.
    pub assumptions: String,
    /// The token's life, if one was issued.
    pub token: Option<TokenLine>,
}

/// Everything that an examination found.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// The version of this shape.
    pub version: u32,
    /// The program's version.
    pub evergrant: &'static str,
    /// When it was made, by this machine's clock, in UTC.
    pub at: String,
    /// Which facts about the provider were used.
    pub provider: String,
    /// The token endpoint, without its query.
    pub token_url: Option<String>,
    /// The API, without its query.
    pub api_url: Option<String>,
    /// The gravest state of all checks.
    pub state: State,
    /// How many checks ended in which state.
    pub counts: Counts,
    /// How many token requests were sent.
    pub token_requests: u32,
    /// How long everything took, in milliseconds.
    pub took_ms: f64,
    /// Every check, in its order.
    pub checks: Vec<Check>,
    /// The numbers behind the plots.
    pub measured: Measured,
}

impl Report {
    /// A report about nothing but these checks.
    #[must_use]
    pub fn of(checks: Vec<Check>) -> Self {
        let mut report = Self {
            version: FORMAT_VERSION,
            evergrant: env!("CARGO_PKG_VERSION"),
            at: super::words::utc(crate::clock::now().wall),
            provider: String::new(),
            token_url: None,
            api_url: None,
            state: State::Ok,
            counts: Counts::default(),
            token_requests: 0,
            took_ms: 0.0,
            checks: Vec::new(),
            measured: Measured::default(),
        };
        report.add(checks);
        report
    }

    /// Adds checks made elsewhere, and counts again.
    pub fn add(&mut self, checks: impl IntoIterator<Item = Check>) {
        self.checks.extend(checks);
        self.checks.sort_by_key(|check| check.name);
        let count = |state| self.checks.iter().filter(|check| check.state == state).count();
        self.counts = Counts {
            ok: count(State::Ok),
            warning: count(State::Warning),
            fault: count(State::Fault),
            skipped: count(State::Skipped),
        };
        self.state = self.checks.iter().map(|check| check.state).max().unwrap_or(State::Skipped);
    }

    /// The checks that found something, the gravest first.
    #[must_use]
    pub fn findings(&self) -> Vec<&Check> {
        let mut findings: Vec<_> = self.checks.iter().filter(|check| check.is_finding()).collect();
        findings.sort_by_key(|check| std::cmp::Reverse(check.state));
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_finding_decides_state_and_remedy() {
        let check = Check::ok(Name::Token).warning("later").fault("now").warning("perhaps");
        assert_eq!((check.state, check.remedy.as_deref()), (State::Fault, Some("now")));
    }

    #[test]
    fn a_report_sorts_counts_and_puts_faults_first() {
        let mut report = Report::of(vec![Check::ok(Name::Clock).warning("w"), Check::ok(Name::Store).fault("f")]);
        report.add([Check::skipped(Name::Settings, "nothing to see")]);
        assert_eq!(report.counts, Counts { ok: 0, warning: 1, fault: 1, skipped: 1 });
        assert_eq!(report.state, State::Fault);
        assert_eq!(report.checks[0].name, Name::Settings);
        let order: Vec<_> = report.findings().iter().map(|check| check.name).collect();
        assert_eq!(order, [Name::Store, Name::Clock]);
    }

    #[test]
    fn every_name_is_listed_once_in_order() {
        assert!(Name::ALL.is_sorted());
        let mut titles: Vec<_> = Name::ALL.iter().map(|name| name.title()).collect();
        titles.sort_unstable();
        titles.dedup();
        assert_eq!(titles.len(), Name::ALL.len());
    }
}
