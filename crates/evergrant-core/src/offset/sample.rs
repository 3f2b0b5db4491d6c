//! One observation of a server's clock, and what must be assumed to believe it.

use std::fmt;

use super::evidence::Bounds;
use crate::time::{Boot, Server, Span};
use crate::wire::NtpAnswer;

/// Where a date came from. Different sources may be different clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A body with the server's time in milliseconds, such as Genesys Cloud's `/api/v2/date`.
    MsEndpoint,
    /// The `Date` of the token endpoint's answers.
    AuthDate,
    /// The `Date` of the API's answers.
    ApiDate,
    /// The `iat` of a JWT that was just minted.
    JwtMint,
    /// An NTP server.
    Ntp,
    /// The `Date` of a reference URL.
    Reference,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 6] =
        [Self::MsEndpoint, Self::AuthDate, Self::ApiDate, Self::JwtMint, Self::Ntp, Self::Reference];

    /// The stable snake_case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MsEndpoint => "ms_endpoint",
            Self::AuthDate => "auth_date",
            Self::ApiDate => "api_date",
            Self::JwtMint => "jwt_mint",
            Self::Ntp => "ntp",
            Self::Reference => "reference",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What must hold for a reported interval to hold the truth. Printed with every result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assumptions {
    /// How fast the two clocks may drift apart, in parts per million. 200 covers two ordinary crystals.
    pub drift_ppm: i64,
    /// How far any node behind the host's name may be from the offset that is meant.
    pub node_spread: Span,
    /// How old the server lets its date become before it writes a new one. Tomcat and others allow one second.
    pub date_lag: Span,
    /// How long evidence is used. It bounds how long a small step of the server can go unnoticed.
    pub ttl: Span,
}

impl Assumptions {
    /// The same assumptions for one source: a time written for the one answer does not lag.
    #[must_use]
    pub fn for_source(self, source: Source) -> Self {
        match source {
            Source::MsEndpoint => Self { date_lag: Span::ZERO, ..self },
            // One address is one machine.
            Source::Ntp => Self { date_lag: Span::ZERO, node_spread: Span::ZERO, ..self },
            Source::AuthDate | Source::ApiDate | Source::JwtMint | Source::Reference => self,
        }
    }
}

impl Default for Assumptions {
    fn default() -> Self {
        Self {
            drift_ppm: 200,
            node_spread: Span::from_millis(50),
            date_lag: Span::from_secs(1),
            ttl: Span::from_secs(600),
        }
    }
}

impl fmt::Display for Assumptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "drift up to {} ppm, nodes within {}, dates up to {} late, evidence up to {} old",
            self.drift_ppm, self.node_spread, self.date_lag, self.ttl
        )
    }
}

/// One date of a server, between two instants of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Before the first byte of the request was written.
    pub sent: Boot,
    /// After the answer's head was read.
    pub received: Boot,
    /// The server's date.
    pub server: Server,
    /// The step in which the server's date counts: one second for `Date`.
    pub resolution: Span,
    /// Was the date written for this very answer? Not if there was an `Age`, a redirect, or a GET that a cache may
    /// have answered. Without it the date bounds the offset only from below.
    pub bounds_above: bool,
}

impl Sample {
    /// The sample that a JWT gives when it is minted: its `iat` is the issuer's clock.
    ///
    /// Issuers may backdate `iat`, and may hand out a token they minted earlier. Both show in `exp - expires_in`, which
    /// is the issuer's present time; only if it is `iat` within a second does the date bound the offset from above.
    /// Give each token once: the same `iat` again would look like a clock that stands still.
    #[must_use]
    pub fn of_mint(iat: Server, exp: Option<Server>, expires_in: Option<Span>, sent: Boot, received: Boot) -> Self {
        let resolution = Span::from_secs(1);
        let present = exp.zip(expires_in).map(|(exp, expires_in)| exp - expires_in);
        let bounds_above = present.is_some_and(|present| (present - iat).abs() <= resolution);
        Self { sent, received, server: iat, resolution, bounds_above }
    }

    /// The sample that an NTP server's answer gives.
    ///
    /// The server says how long it kept the request, so that time is taken off: what is left was spent on the way. A
    /// server that kept it longer than the whole exchange took has a clock that cannot be believed, and gives none.
    #[must_use]
    pub fn of_ntp(answer: &NtpAnswer, sent: Boot, received: Boot) -> Option<Self> {
        let sent = sent + (answer.transmitted - answer.received);
        let sample =
            Self { sent, received, server: answer.transmitted, resolution: answer.precision, bounds_above: true };
        (sent <= received).then_some(sample)
    }

    /// Is the exchange possible and short enough to be worth anything?
    pub(super) fn is_usable(&self) -> bool {
        let delay = self.received - self.sent;
        !delay.is_negative() && delay <= LONGEST_DELAY
    }

    /// What the sample proves at the instant of its receipt.
    pub(super) fn bounds(&self, assumptions: &Assumptions) -> Bounds {
        let drift = (self.received - self.sent).drift(assumptions.drift_ppm);
        let pad = drift + assumptions.node_spread;
        let latest = self.server + self.resolution + assumptions.date_lag;
        Bounds { lo: (self.server - self.received) - pad, hi: self.bounds_above.then(|| (latest - self.sent) + pad) }
    }
}

/// Longer exchanges were probably stopped in the middle, by a suspend or a lost packet, and say almost nothing.
const LONGEST_DELAY: Span = Span::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_has_the_documented_ends() {
        let sample = Sample {
            sent: Boot::from_millis(10_000),
            received: Boot::from_millis(10_200),
            server: Server::from_secs(1_000_010),
            resolution: Span::from_secs(1),
            bounds_above: true,
        };
        let none = Assumptions { drift_ppm: 0, node_spread: Span::ZERO, date_lag: Span::ZERO, ttl: Span::MAX };
        let secs = |millis| Server::from_millis(millis) - Boot::from_secs(0);
        assert_eq!(sample.bounds(&none), Bounds { lo: secs(999_999_800), hi: Some(secs(1_000_001_000)) });
        let padded = Assumptions { node_spread: Span::from_millis(50), date_lag: Span::from_secs(1), ..none };
        assert_eq!(sample.bounds(&padded), Bounds { lo: secs(999_999_750), hi: Some(secs(1_000_002_050)) });
        let drifting = Assumptions { drift_ppm: 1_000, ..none };
        let drift = Span::from_micros(200) + Span::from_nanos(1);
        assert_eq!(
            sample.bounds(&drifting),
            Bounds { lo: secs(999_999_800) - drift, hi: Some(secs(1_000_001_000) + drift) }
        );
        let cached = Sample { bounds_above: false, ..sample };
        assert_eq!(cached.bounds(&none).hi, None);
    }

    #[test]
    fn a_negative_or_endless_delay_is_no_sample() {
        let sample = |sent, received| Sample {
            sent: Boot::from_millis(sent),
            received: Boot::from_millis(received),
            server: Server::from_secs(0),
            resolution: Span::ZERO,
            bounds_above: true,
        };
        assert!(sample(5, 5).is_usable() && sample(0, 30_000).is_usable());
        assert!(!sample(5, 4).is_usable() && !sample(0, 30_001).is_usable());
    }

    #[test]
    fn a_backdated_or_older_mint_bounds_only_from_below() {
        let at = Boot::from_secs(10);
        let bounds_above = |iat, exp: Option<i64>, expires_in: Option<i64>| {
            let (exp, expires_in) = (exp.map(Server::from_secs), expires_in.map(Span::from_secs));
            Sample::of_mint(Server::from_secs(iat), exp, expires_in, at, at).bounds_above
        };
        assert!(bounds_above(1_000, Some(4_600), Some(3_600)));
        assert!(bounds_above(1_000, Some(4_600), Some(3_599)), "whole seconds may differ by one");
        assert!(!bounds_above(940, Some(4_600), Some(3_600)), "backdated by a minute");
        assert!(!bounds_above(1_000, Some(4_600), Some(1_200)), "minted earlier");
        assert!(!bounds_above(1_000, None, Some(3_600)) && !bounds_above(1_000, Some(4_600), None));
    }

    #[test]
    fn an_ntp_servers_own_time_is_taken_off_the_delay() {
        let answer = NtpAnswer {
            received: Server::from_millis(50_000),
            transmitted: Server::from_millis(50_030),
            precision: Span::from_nanos(1),
            stratum: 2,
            root_distance: Span::ZERO,
        };
        let (sent, received) = (Boot::from_millis(1_000), Boot::from_millis(1_040));
        let sample = Sample::of_ntp(&answer, sent, received).unwrap();
        let none = Assumptions { drift_ppm: 0, ..Assumptions::default().for_source(Source::Ntp) };
        let bounds = sample.bounds(&none);
        assert_eq!(bounds.lo, answer.transmitted - received);
        assert_eq!(bounds.hi, Some((answer.received - sent) + answer.precision));
        assert_eq!(Sample::of_ntp(&answer, sent, Boot::from_millis(1_029)), None, "a negative delay");
    }

    #[test]
    fn assumptions_read_as_words() {
        assert_eq!(
            Assumptions::default().to_string(),
            "drift up to 200 ppm, nodes within 50 ms, dates up to 1.0 s late, evidence up to 600.0 s old"
        );
        assert_eq!(Assumptions::default().for_source(Source::MsEndpoint).date_lag, Span::ZERO);
    }
}
