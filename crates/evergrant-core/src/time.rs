//! Three clocks that do not mix.
//!
//! Most token bugs are one subtraction between two different clocks. Here each clock is its own type:
//!
//! - [`Boot`] counts from the machine's start, also through suspend, and never steps. Every deadline and age is on it.
//! - [`Wall`] is this machine's calendar clock. It may step at any time and is shown to people, never compared.
//! - [`Server`] is the calendar clock of one provider host. It reaches us only inside answers.
//!
//! `Server - Boot` is an [`Offset`]; it is the only bridge between a server's dates and our deadlines, because the
//! boot clock cannot step under it. What people call skew, this machine's wall clock minus the server's, is a
//! [`SkewInterval`] and is derived at read time by [`Now::skew`], the one place where the ends swap.
//!
//! [`Now`] is read once at the edge and passed in. Arithmetic saturates: a hostile `expires_in` must not panic.
//! All values are nanoseconds in an `i64`, which reaches 292 years either way.
//!
//! Source: `clock_gettime(2)` (CLOCK_BOOTTIME); RFC 5905 section 4 for the words offset, delay and dispersion.

use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

const NANOS_PER_MICRO: i64 = 1_000;
const NANOS_PER_MILLI: i64 = 1_000_000;
const NANOS_PER_SEC: i64 = 1_000_000_000;

/// A signed length of time in nanoseconds.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(i64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The longest span, about 292 years.
    pub const MAX: Self = Self(i64::MAX);

    /// A span of whole seconds.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(NANOS_PER_SEC))
    }

    /// A span of whole milliseconds.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(NANOS_PER_MILLI))
    }

    /// A span of whole microseconds.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros.saturating_mul(NANOS_PER_MICRO))
    }

    /// A span of nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The span of a standard duration, at most [`Span::MAX`].
    #[must_use]
    pub fn from_duration(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }

    /// The span as a standard duration; a negative span is zero.
    #[must_use]
    pub fn to_duration(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    /// Nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Whole milliseconds, rounded toward negative infinity.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(NANOS_PER_MILLI)
    }

    /// Whole seconds, rounded toward negative infinity.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(NANOS_PER_SEC)
    }

    /// Seconds as a float, for output only.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / NANOS_PER_SEC as f64
    }

    /// Is the span below zero?
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// The span without its sign.
    #[must_use]
    pub const fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }

    /// The span times `numerator / denominator`, exact in 128 bits and rounded toward zero.
    #[must_use]
    pub fn scaled(self, numerator: i64, denominator: i64) -> Self {
        let exact = i128::from(self.0) * i128::from(numerator) / i128::from(denominator.max(1));
        Self(i64::try_from(exact).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX }))
    }

    /// What a clock that is off by at most `ppm` parts per million can gain or lose over this span, rounded up.
    #[must_use]
    pub fn drift(self, ppm: i64) -> Self {
        self.abs().scaled(ppm, 1_000_000) + Self(i64::from(ppm != 0))
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Span {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Span {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Neg for Span {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let abs = self.abs().0;
        let sign = if self.0 < 0 { "-" } else { "" };
        if abs < NANOS_PER_SEC {
            write!(f, "{sign}{} ms", abs / NANOS_PER_MILLI)
        } else {
            let tenths = abs / (NANOS_PER_SEC / 10);
            write!(f, "{sign}{}.{} s", tenths / 10, tenths % 10)
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}s", self.as_secs_f64())
    }
}

/// Defines one clock's instant: arithmetic with [`Span`] and with itself, and nothing else.
macro_rules! instant {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(i64);

        impl $name {
            /// The instant this many nanoseconds after the clock's zero.
            #[must_use]
            pub const fn from_nanos(nanos: i64) -> Self {
                Self(nanos)
            }

            /// The instant this many milliseconds after the clock's zero.
            #[must_use]
            pub const fn from_millis(millis: i64) -> Self {
                Self(millis.saturating_mul(NANOS_PER_MILLI))
            }

            /// The instant this many seconds after the clock's zero.
            #[must_use]
            pub const fn from_secs(secs: i64) -> Self {
                Self(secs.saturating_mul(NANOS_PER_SEC))
            }

            /// Nanoseconds after the clock's zero.
            #[must_use]
            pub const fn as_nanos(self) -> i64 {
                self.0
            }
        }

        impl Add<Span> for $name {
            type Output = Self;
            fn add(self, span: Span) -> Self {
                Self(self.0.saturating_add(span.0))
            }
        }

        impl Sub<Span> for $name {
            type Output = Self;
            fn sub(self, span: Span) -> Self {
                Self(self.0.saturating_sub(span.0))
            }
        }

        impl Sub for $name {
            type Output = Span;
            fn sub(self, earlier: Self) -> Span {
                Span(self.0.saturating_sub(earlier.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:.6}s)", stringify!($name), self.0 as f64 / NANOS_PER_SEC as f64)
            }
        }
    };
}

instant! {
    /// An instant on the suspend-proof, step-free clock that starts with this machine.
    Boot
}
instant! {
    /// An instant on this machine's calendar clock, counted from the Unix epoch. For people, never for decisions.
    Wall
}
instant! {
    /// An instant on a provider host's calendar clock, counted from the Unix epoch.
    Server
}

impl Boot {
    /// Later than every instant that occurs.
    pub const FAR: Self = Self(i64::MAX);
}

impl Server {
    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_unix_secs(self) -> i64 {
        self.0.div_euclid(NANOS_PER_SEC)
    }
}

/// A provider's calendar clock minus this machine's boot clock. Larger means the server is further ahead.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(i64);

impl Offset {
    /// The offset of this many nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }
}

impl Add<Span> for Offset {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Offset {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Sub for Offset {
    type Output = Span;
    fn sub(self, other: Self) -> Span {
        Span(self.0.saturating_sub(other.0))
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offset({:.6}s)", self.0 as f64 / NANOS_PER_SEC as f64)
    }
}

impl Sub<Boot> for Server {
    type Output = Offset;
    fn sub(self, boot: Boot) -> Offset {
        Offset(self.0.saturating_sub(boot.0))
    }
}

impl Sub<Offset> for Server {
    type Output = Boot;
    fn sub(self, offset: Offset) -> Boot {
        Boot(self.0.saturating_sub(offset.0))
    }
}

impl Add<Offset> for Boot {
    type Output = Server;
    fn add(self, offset: Offset) -> Server {
        Server(self.0.saturating_add(offset.0))
    }
}

/// Both ends between which a provider's [`Offset`] lies, with `lo <= hi`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OffsetInterval {
    /// The server is at least this far ahead of the boot clock.
    pub lo: Offset,
    /// The server is at most this far ahead of the boot clock.
    pub hi: Offset,
}

impl OffsetInterval {
    /// The interval with these ends; `None` if `lo > hi`.
    #[must_use]
    pub fn new(lo: Offset, hi: Offset) -> Option<Self> {
        (lo <= hi).then_some(Self { lo, hi })
    }

    /// The common part of both intervals, if any.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.lo.max(other.lo), self.hi.min(other.hi))
    }

    /// The smallest interval that holds both.
    #[must_use]
    pub fn hull(self, other: Self) -> Self {
        Self { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) }
    }

    /// The interval with both ends moved outward by `by`.
    #[must_use]
    pub fn widened(self, by: Span) -> Self {
        Self { lo: self.lo - by, hi: self.hi + by }
    }

    /// The distance between the ends.
    #[must_use]
    pub fn width(self) -> Span {
        self.hi - self.lo
    }

    /// The earliest moment of the boot clock at which the server's clock can have shown this.
    #[must_use]
    pub fn earliest(self, time: Server) -> Boot {
        time - self.hi
    }

    /// The latest moment of the boot clock at which the server's clock can have shown this.
    #[must_use]
    pub fn latest(self, time: Server) -> Boot {
        time - self.lo
    }

    /// Is the offset inside, ends included?
    #[must_use]
    pub fn contains(self, offset: Offset) -> bool {
        self.lo <= offset && offset <= self.hi
    }
}

/// This moment on both local clocks, read together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// The boot clock.
    pub boot: Boot,
    /// The calendar clock.
    pub wall: Wall,
}

impl Now {
    /// The skew as people mean it: this machine's calendar clock minus the server's.
    ///
    /// Subtracting an interval swaps its ends: the furthest server gives the smallest skew.
    #[must_use]
    pub fn skew(self, theta: OffsetInterval) -> SkewInterval {
        let local = self.wall.0.saturating_sub(self.boot.0);
        SkewInterval { lo: Span(local.saturating_sub(theta.hi.0)), hi: Span(local.saturating_sub(theta.lo.0)) }
    }
}

/// How far this machine's calendar clock is ahead of a server's: positive means this machine is fast.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SkewInterval {
    /// At least this far ahead.
    pub lo: Span,
    /// At most this far ahead.
    pub hi: Span,
}

impl SkewInterval {
    /// The middle of the interval.
    #[must_use]
    pub fn middle(self) -> Span {
        self.lo + (self.hi - self.lo).scaled(1, 2)
    }
}

impl SkewInterval {
    /// Says in words who is ahead of whom, with exactly one of FAST and SLOW unless the interval holds zero.
    #[must_use]
    pub fn against(self, server: &str) -> String {
        self.guessed_against(self.middle(), server)
    }

    /// The same for a best guess inside the interval that is not its middle.
    #[must_use]
    pub fn guessed_against(self, guess: Span, server: &str) -> String {
        match self.direction() {
            Some(_) => format!("{} against {server}", self.words(guess)),
            None => format!("this machine agrees with {server} ({})", self.range()),
        }
    }

    /// `Some("FAST")` or `Some("SLOW")`, and `None` if the interval holds zero.
    #[must_use]
    pub fn direction(self) -> Option<&'static str> {
        if self.lo > Span::ZERO { Some("FAST") } else { (self.hi < Span::ZERO).then_some("SLOW") }
    }

    /// Both ends, rounded outward to as many digits as the width is worth; without a sign if there is a direction.
    #[must_use]
    pub fn range(self) -> String {
        let (near, far) = match self.direction() {
            Some("SLOW") => (-self.hi, -self.lo),
            Some(_) | None => (self.lo, self.hi),
        };
        let step = self.step();
        let (near, far) = (near.as_nanos().div_euclid(step), -(-far.as_nanos()).div_euclid(step));
        format!("{} to {} s", in_secs(near, step), in_secs(far, step))
    }

    fn words(self, guess: Span) -> String {
        let Some(word) = self.direction() else {
            return format!("this machine agrees with the server ({})", self.range());
        };
        let step = self.step();
        let guess = guess.max(self.lo).min(self.hi).abs().as_nanos().saturating_add(step / 2) / step;
        format!("this machine is {} s {word} ({})", in_secs(guess, step), self.range())
    }

    /// The unit of the last digit that is worth showing.
    fn step(self) -> i64 {
        match self.hi - self.lo {
            wide if wide >= Span::from_millis(500) => NANOS_PER_SEC / 10,
            narrow if narrow >= Span::from_millis(50) => NANOS_PER_SEC / 100,
            _ => NANOS_PER_MILLI,
        }
    }
}

impl fmt::Display for SkewInterval {
    /// Says in words who is ahead, with exactly one of FAST and SLOW unless the interval holds zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words(self.middle()))
    }
}

/// So many steps of a second's decimal fraction as seconds, with the digits that the step has.
fn in_secs(steps: i64, step: i64) -> String {
    let per_sec = NANOS_PER_SEC / step;
    let digits = usize::try_from(per_sec.ilog10()).unwrap_or(0);
    let (sign, steps) = (if steps < 0 { "-" } else { "" }, steps.unsigned_abs());
    let per_sec = per_sec.unsigned_abs();
    format!("{sign}{}.{:0digits$}", steps / per_sec, steps % per_sec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn theta(lo_s: i64, hi_s: i64) -> OffsetInterval {
        OffsetInterval {
            lo: Server::from_secs(lo_s) - Boot::from_secs(0),
            hi: Server::from_secs(hi_s) - Boot::from_secs(0),
        }
    }

    #[test]
    fn a_slow_server_makes_this_machine_fast() {
        let now = Now { boot: Boot::from_secs(100), wall: Wall::from_secs(1_000_100) };
        let skew = now.skew(theta(1_000_000 - 5, 1_000_000 - 4));
        assert_eq!((skew.lo, skew.hi), (Span::from_secs(4), Span::from_secs(5)));
        assert_eq!(skew.to_string(), "this machine is 4.5 s FAST (4.0 to 5.0 s)");
        assert_eq!(skew.against("api.example"), "this machine is 4.5 s FAST (4.0 to 5.0 s) against api.example");
    }

    #[test]
    fn a_fast_server_makes_this_machine_slow() {
        let now = Now { boot: Boot::from_secs(100), wall: Wall::from_secs(1_000_100) };
        let skew = now.skew(theta(1_000_000 + 4, 1_000_000 + 5));
        assert_eq!((skew.lo, skew.hi), (Span::from_secs(-5), Span::from_secs(-4)));
        assert_eq!(skew.to_string(), "this machine is 4.5 s SLOW (4.0 to 5.0 s)");
    }

    #[test]
    fn an_interval_that_holds_zero_names_no_direction() {
        let now = Now { boot: Boot::from_secs(0), wall: Wall::from_secs(10) };
        let words = now.skew(theta(9, 11)).to_string();
        assert_eq!(words, "this machine agrees with the server (-1.0 to 1.0 s)");
    }

    #[test]
    fn a_narrow_interval_is_worth_more_digits_and_is_rounded_outward() {
        let skew = |lo, hi| SkewInterval { lo: Span::from_micros(lo), hi: Span::from_micros(hi) };
        assert_eq!(skew(4_151_100, 4_262_100).range(), "4.15 to 4.27 s");
        assert_eq!(skew(-4_262_100, -4_251_100).range(), "4.251 to 4.263 s");
        assert_eq!(skew(-50, 1_000_050).range(), "-0.1 to 1.1 s");
        assert_eq!(skew(4_151_100, 4_262_100).to_string(), "this machine is 4.21 s FAST (4.15 to 4.27 s)");
        let guess = skew(3_100_000, 4_300_000).guessed_against(Span::from_micros(4_196_000), "a");
        assert_eq!(guess, "this machine is 4.2 s FAST (3.1 to 4.3 s) against a");
        assert_eq!(skew(1, 2).to_string(), "this machine is 0.000 s FAST (0.000 to 0.001 s)");
        let far = SkewInterval { lo: -Span::MAX, hi: Span::MAX };
        assert!(far.range().starts_with("-92"), "{}", far.range());
    }

    #[test]
    fn hostile_spans_saturate() {
        assert_eq!(Boot::from_secs(5) + Span::MAX, Boot::FAR);
        assert_eq!(Span::from_secs(i64::MAX), Span::MAX);
        assert_eq!(Span::MAX.scaled(3, 1), Span::MAX);
        assert_eq!((-Span::MAX).scaled(3, 1).abs(), Span::MAX);
    }

    const CENTURY_NS: i64 = 100 * 365 * 86_400 * NANOS_PER_SEC;

    proptest! {
        #[test]
        fn server_dates_and_boot_instants_convert_both_ways(boot in 0..CENTURY_NS, offset in -CENTURY_NS..CENTURY_NS) {
            let (boot, offset) = (Boot::from_nanos(boot), Offset::from_nanos(offset));
            let server = boot + offset;
            prop_assert_eq!(server - boot, offset);
            prop_assert_eq!(server - offset, boot);
        }

        #[test]
        fn a_server_further_ahead_has_the_larger_offset(boot in 0..CENTURY_NS, server in 0..CENTURY_NS, ahead in 1..NANOS_PER_SEC) {
            let (boot, server) = (Boot::from_nanos(boot), Server::from_nanos(server));
            prop_assert!((server + Span::from_nanos(ahead)) - boot > server - boot);
        }

        #[test]
        fn skew_holds_the_true_difference(
            boot in 0..CENTURY_NS, wall in 0..CENTURY_NS, server in 0..CENTURY_NS,
            below in 0..NANOS_PER_SEC, above in 0..NANOS_PER_SEC,
        ) {
            let now = Now { boot: Boot::from_nanos(boot), wall: Wall::from_nanos(wall) };
            let truth = Server::from_nanos(server) - now.boot;
            let interval = OffsetInterval { lo: truth - Span::from_nanos(below), hi: truth + Span::from_nanos(above) };
            let skew = now.skew(interval);
            let true_skew = Span::from_nanos(wall - server);
            prop_assert!(skew.lo <= true_skew && true_skew <= skew.hi);
            prop_assert_eq!(skew.hi - skew.lo, interval.width());
        }

        #[test]
        fn drift_covers_the_exact_product(span in 0..CENTURY_NS, ppm in 0_i64..1_000) {
            let exact = i128::from(span) * i128::from(ppm);
            prop_assert!(i128::from(Span::from_nanos(span).drift(ppm).as_nanos()) * 1_000_000 >= exact);
        }
    }
}
