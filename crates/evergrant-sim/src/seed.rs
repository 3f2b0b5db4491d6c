//! Seeded randomness: the same seed gives the same provider.
//!
//! SplitMix64 is short enough to read and good enough to choose nodes, delays and token text. Nothing here is a
//! secret of value: a simulated token only has to be unique and hard to confuse with anything else in a log.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use evergrant_core::time::Span;

use crate::config::Delay;

/// A small deterministic generator.
#[derive(Clone)]
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `bound - 1`; 0 if the bound is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// Does an event of this chance, in thousandths, happen now?
    pub(crate) fn happens(&mut self, permille: u16) -> bool {
        permille >= 1000 || self.below(1000) < u64::from(permille)
    }

    /// A delay from the range, ends included.
    pub(crate) fn delay(&mut self, delay: Delay) -> Span {
        let width = u64::try_from((delay.max - delay.min).as_nanos()).unwrap_or(0);
        let extra = self.below(width.saturating_add(1));
        delay.min + Span::from_nanos(i64::try_from(extra).unwrap_or(0))
    }

    /// Unique text of `8 * words` random bytes in the alphabet of bearer tokens.
    pub(crate) fn text(&mut self, words: usize) -> String {
        let bytes: Vec<u8> = (0..words).flat_map(|_| self.next().to_be_bytes()).collect();
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Text in the form of a UUID, for correlation ids.
    pub(crate) fn uuid(&mut self) -> String {
        let (high, low) = (self.next(), self.next());
        let hex = format!("{high:016x}{low:016x}");
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_text() {
        assert_eq!(Seed::new(7).text(8), Seed::new(7).text(8));
        assert_ne!(Seed::new(7).text(8), Seed::new(8).text(8));
    }

    #[test]
    fn a_delay_stays_in_its_range() {
        let mut seed = Seed::new(1);
        let range = Delay::uniform(Span::from_millis(5), Span::from_millis(9));
        assert!((0..1000).map(|_| seed.delay(range)).all(|drawn| range.min <= drawn && drawn <= range.max));
        assert_eq!(seed.delay(Delay::fixed(Span::from_millis(3))), Span::from_millis(3));
    }

    #[test]
    fn never_and_always_are_exact() {
        let mut seed = Seed::new(1);
        assert!((0..1000).all(|_| seed.happens(1000)));
        assert!(!(0..1000).any(|_| seed.happens(0)));
    }
}
