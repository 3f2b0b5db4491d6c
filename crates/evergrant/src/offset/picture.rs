//! What is known about all clocks at one moment, for people and programs.

use std::fmt;

use evergrant_core::offset::{OffsetState, Reading, Source};
use evergrant_core::time::{Now, OffsetInterval, SkewInterval, Span};

use super::place::{PlaceFailure, Remark};

/// How far a source can be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quality {
    /// All of its answers agree.
    Settled,
    /// They contradict each other, stand still, or come from a cache.
    Disturbed,
    /// There is none.
    Unknown,
}

impl Quality {
    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Disturbed => "disturbed",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One source at one moment.
#[derive(Clone, Debug)]
pub struct SourcePicture {
    /// Which source.
    pub source: Source,
    /// Host and port.
    pub address: String,
    /// What is known, with its assumptions.
    pub reading: Reading,
    /// This machine's calendar clock minus the source's, if it is bounded on both sides.
    pub skew: Option<SkewInterval>,
    /// This machine is at most this far ahead; known as soon as anything is.
    pub at_most: Option<Span>,
    /// How far it can be trusted.
    pub quality: Quality,
    /// How often it was asked.
    pub asked: u32,
    /// The shortest round trip.
    pub delay: Option<Span>,
    /// What takes something away from its answers.
    pub remark: Option<Remark>,
    /// By how much its answers contradict each other beyond what the assumptions allow.
    pub unevenness: Option<Span>,
    /// Does its date stand still?
    pub is_frozen: bool,
    /// Where the skew is if the server never writes a late date: narrower, and not promised.
    pub if_never_late: Option<SkewInterval>,
    /// Why there was no answer, if the last question had none.
    pub failure: Option<PlaceFailure>,
}

impl SourcePicture {
    pub(super) fn of(source: Source, address: String, reading: Reading, now: Now) -> Self {
        Self {
            source,
            address,
            skew: reading.skew(now),
            at_most: reading.at_least.map(|theta| now.skew(OffsetInterval { lo: theta, hi: theta }).hi),
            reading,
            quality: Quality::Unknown,
            asked: 0,
            delay: None,
            remark: None,
            unevenness: None,
            is_frozen: false,
            if_never_late: None,
            failure: None,
        }
    }

    /// Names how far the source can be trusted, from everything else that is known about it.
    pub(super) fn settle_quality(&mut self) {
        let is_one_sided = self.skew.is_none() && self.at_most.is_some();
        let is_disturbed = self.reading.state == OffsetState::Disturbed || self.is_frozen || is_one_sided;
        self.quality = match self.skew {
            _ if is_disturbed => Quality::Disturbed,
            Some(_) => Quality::Settled,
            None => Quality::Unknown,
        };
    }

    /// Why the source is not settled, or what else there is to say about it.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        if let Some(failure) = &self.failure {
            return Some(failure.to_string());
        }
        if self.is_frozen {
            return Some(
                "disturbed: its date stands still although time passes; a cache answers, or its clock hangs".into(),
            );
        }
        if let Some(gap) = self.unevenness {
            return Some(format!(
                "disturbed: its answers are {gap} apart; they come from clocks that differ, are written late, or the clock moved"
            ));
        }
        match (&self.remark, self.quality) {
            (Some(remark @ (Remark::Cached | Remark::Redirects(_))), Quality::Disturbed) => {
                Some(format!("disturbed: {remark}"))
            }
            (Some(remark), _) => Some(remark.to_string()),
            (None, Quality::Disturbed) => {
                Some("disturbed: its answers contradict each other; its clock steps, or nodes differ".into())
            }
            (None, Quality::Settled | Quality::Unknown) => None,
        }
    }

    /// This machine against this source, in words.
    #[must_use]
    pub fn words(&self) -> String {
        let address = host(&self.address);
        match (self.skew, self.at_most) {
            (Some(skew), _) if self.quality == Quality::Disturbed => format!("{}, disturbed", skew.against(address)),
            // Most servers write their dates in time, so the best guess is there, while the promise is the interval.
            (Some(skew), _) => skew.guessed_against(self.if_never_late.unwrap_or(skew).middle(), address),
            (None, Some(at_most)) => {
                format!("unknown: {address} is disturbed; this machine is at most {at_most} ahead of it")
            }
            (None, None) if self.is_frozen => format!("unknown: {address} is disturbed, its date stands still"),
            (None, None) => "unknown".to_owned(),
        }
    }
}

/// Everything that is known about the clocks at one moment.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The moment.
    pub now: Now,
    /// Every source that was asked.
    pub sources: Vec<SourcePicture>,
}

impl Picture {
    pub(super) fn new(now: Now, mut sources: Vec<SourcePicture>) -> Self {
        sources.sort_by_key(|picture| rank(picture.source));
        Self { now, sources }
    }

    /// The source that the result is taken from: the millisecond endpoint, else the API's dates, else the token
    /// endpoint's. Others stand for the provider only if none of these was asked.
    #[must_use]
    pub fn best(&self) -> Option<&SourcePicture> {
        let is_providers = |picture: &&SourcePicture| rank(picture.source) <= rank(Source::AuthDate);
        let providers = || self.sources.iter().filter(is_providers);
        if providers().next().is_none() {
            return self.sources.iter().find(|picture| picture.skew.is_some()).or_else(|| self.sources.first());
        }
        let bounded = providers().find(|picture| picture.skew.is_some());
        bounded.or_else(|| providers().find(|picture| picture.quality == Quality::Disturbed))
    }

    /// This machine's calendar clock minus the provider's.
    #[must_use]
    pub fn skew(&self) -> Option<SkewInterval> {
        self.best()?.skew
    }

    /// The result in words; `unknown` if there is none.
    #[must_use]
    pub fn words(&self) -> String {
        self.best().map_or_else(|| "unknown".to_owned(), SourcePicture::words)
    }

    /// How far the result can be trusted.
    #[must_use]
    pub fn quality(&self) -> Quality {
        self.best().map_or(Quality::Unknown, |best| best.quality)
    }

    /// The pairs of sources that cannot both be right: different clocks that differ.
    #[must_use]
    pub fn disagreements(&self) -> Vec<(&SourcePicture, &SourcePicture)> {
        let bounded: Vec<_> = self.sources.iter().filter(|picture| picture.skew.is_some()).collect();
        let pairs = bounded
            .iter()
            .enumerate()
            .flat_map(|(at, left)| bounded[at + 1..].iter().map(move |right| (*left, *right)));
        let apart = |(left, right): &(&SourcePicture, &SourcePicture)| {
            let both = left.reading.interval.zip(right.reading.interval);
            both.is_some_and(|(left, right)| left.intersection(right).is_none())
        };
        pairs.filter(apart).collect()
    }
}

/// Best first.
fn rank(source: Source) -> u8 {
    match source {
        Source::MsEndpoint => 0,
        Source::ApiDate => 1,
        Source::AuthDate => 2,
        Source::JwtMint => 3,
        Source::Reference => 4,
        Source::Ntp => 5,
    }
}

/// The host without the port that everybody knows.
fn host(address: &str) -> &str {
    address.strip_suffix(":443").unwrap_or(address)
}
