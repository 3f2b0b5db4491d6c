//! The one place where the library reads clocks.
//!
//! [`boot`] is read on every use of a token, so it is one vDSO call and nothing else. [`now`] reads both clocks
//! together: the wall clock is taken between two readings of the boot clock, so that a thread that was descheduled in
//! between cannot pair two moments that lie far apart. Whatever needs the time takes it from here as a value.
//!
//! What is read:
//!
//! - Linux and Android: `CLOCK_BOOTTIME`, which counts through suspend and never steps. It is read by a raw vDSO call
//!   rather than through the C library, so a tool that fakes the C library's clocks (libfaketime) moves the wall clock
//!   and leaves the boot clock real, which is also what a step of the wall clock does.
//! - Other Unix: `CLOCK_MONOTONIC`. On macOS it counts through sleep; on the BSDs it may stop there, and every timer
//!   in this library is a hint for that reason.
//! - Elsewhere: [`std::time::Instant`] since the first reading in this process. On Windows it counts through sleep.
//!
//! A boot clock reading means nothing on another boot; [`boot_id`] tells two boots apart.
//!
//! Source: `clock_gettime(2)`, `random(4)` (`/proc/sys/kernel/random/boot_id`).

use std::fmt;
use std::sync::OnceLock;
#[cfg(not(all(test, feature = "shuttle")))]
use std::time::{SystemTime, UNIX_EPOCH};

use evergrant_core::time::{Boot, Now, Span, Wall};
use serde::{Deserialize, Serialize};

#[cfg(all(test, feature = "shuttle"))]
use crate::sync::clocks::{self as platform, wall};

/// The boot clock alone.
#[inline]
#[must_use]
pub fn boot() -> Boot {
    platform::boot()
}

/// Both clocks, read together.
///
/// The boot instant is the middle of the narrowest bracket around the wall reading, so it is never later than the
/// return of this call.
#[must_use]
pub fn now() -> Now {
    let (boot, wall) = bracketed(boot, wall);
    Now { boot, wall }
}

/// What the kernel's clock discipline has added to the monotonic clock since boot, where that can be read.
///
/// Only differences between two readings mean something: the amount by which the clock was slewed in between.
#[must_use]
pub fn slewed() -> Option<Span> {
    platform::slewed()
}

/// How long this machine has been suspended since boot, where that can be read.
#[must_use]
pub fn suspended() -> Option<Span> {
    platform::suspended()
}

/// Names one boot of one machine.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(String);

impl BootId {
    /// The identifier with this text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The identifier of the current boot; `None` where the system does not tell, and then no stored boot instant may be
/// trusted.
#[must_use]
pub fn boot_id() -> Option<&'static BootId> {
    static BOOT_ID: OnceLock<Option<BootId>> = OnceLock::new();
    BOOT_ID.get_or_init(platform::boot_id).as_ref()
}

#[cfg(not(all(test, feature = "shuttle")))]
fn wall() -> Wall {
    let nanos = |duration: std::time::Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    Wall::from_nanos(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => nanos(after),
        Err(before) => -nanos(before.duration()),
    })
}

/// Reads `inner` between two readings of `outer`, again while the bracket is wide, and keeps the narrowest.
fn bracketed<T>(mut outer: impl FnMut() -> Boot, mut inner: impl FnMut() -> T) -> (Boot, T) {
    let mut read = || {
        let before = outer();
        let inner = inner();
        let width = outer() - before;
        (width, (before + width.scaled(1, 2), inner))
    };
    let (mut narrowest, mut found) = read();
    for _ in 1..BRACKET_TRIES {
        if narrowest <= BRACKET_LIMIT {
            break;
        }
        let (width, candidate) = read();
        if width < narrowest {
            (narrowest, found) = (width, candidate);
        }
    }
    found
}

const BRACKET_LIMIT: Span = Span::from_millis(1);
const BRACKET_TRIES: u32 = 3;

#[cfg(all(unix, not(all(test, feature = "shuttle"))))]
mod platform {
    use evergrant_core::time::{Boot, Span};
    use rustix::time::{ClockId, Timespec, clock_gettime};

    use super::BootId;

    #[cfg(any(target_os = "linux", target_os = "android"))]
    const BOOT_CLOCK: ClockId = ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const BOOT_CLOCK: ClockId = ClockId::Monotonic;

    #[inline]
    pub(super) fn boot() -> Boot {
        Boot::from_nanos(nanos(clock_gettime(BOOT_CLOCK)))
    }

    #[inline]
    fn nanos(time: Timespec) -> i64 {
        time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn slewed() -> Option<Span> {
        Some(difference(ClockId::Monotonic, ClockId::MonotonicRaw))
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn suspended() -> Option<Span> {
        Some(difference(BOOT_CLOCK, ClockId::Monotonic))
    }

    /// One clock minus another, read so that a thread that was descheduled in between does not look like a difference.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn difference(left: ClockId, right: ClockId) -> Span {
        let read = || Boot::from_nanos(nanos(clock_gettime(left)));
        let (left, right) = super::bracketed(read, || Boot::from_nanos(nanos(clock_gettime(right))));
        left - right
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(super) fn slewed() -> Option<Span> {
        None
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(super) fn suspended() -> Option<Span> {
        None
    }

    pub(super) fn boot_id() -> Option<BootId> {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| BootId::new(text.to_owned()))
    }
}

#[cfg(all(not(unix), not(all(test, feature = "shuttle"))))]
mod platform {
    use std::sync::OnceLock;
    use std::time::Instant;

    use evergrant_core::time::{Boot, Span};

    use super::BootId;

    pub(super) fn boot() -> Boot {
        static START: OnceLock<Instant> = OnceLock::new();
        let elapsed = START.get_or_init(Instant::now).elapsed();
        Boot::from_nanos(i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX))
    }

    pub(super) fn slewed() -> Option<Span> {
        None
    }

    pub(super) fn suspended() -> Option<Span> {
        None
    }

    pub(super) fn boot_id() -> Option<BootId> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_never_runs_backward() {
        let mut last = boot();
        for _ in 0..1_000 {
            let next = now().boot;
            assert!(next >= last, "{next:?} is before {last:?}");
            last = next;
        }
        assert!(boot() >= last);
    }

    #[test]
    fn the_wall_clock_is_after_the_year_2020() {
        assert!(now().wall > Wall::from_secs(1_577_836_800));
    }

    #[test]
    fn a_narrow_bracket_is_read_once_and_halved() {
        let mut boots = [100, 110, 0, 0].into_iter().map(Boot::from_nanos);
        let mut walls = [7, 8].into_iter().map(Wall::from_nanos);
        let (boot, wall) = bracketed(|| boots.next().unwrap(), || walls.next().unwrap());
        assert_eq!((boot, wall), (Boot::from_nanos(105), Wall::from_nanos(7)));
    }

    #[test]
    fn an_interrupted_reading_is_repeated_until_the_bracket_is_narrow() {
        let mut boots = [0, 9_000, 9_001, 9_001].into_iter().map(Boot::from_millis);
        let mut walls = [1, 2].into_iter().map(Wall::from_secs);
        let (boot, wall) = bracketed(|| boots.next().unwrap(), || walls.next().unwrap());
        assert_eq!((boot, wall), (Boot::from_millis(9_001), Wall::from_secs(2)));
    }

    #[test]
    fn when_every_bracket_is_wide_the_narrowest_wins() {
        let mut boots = [0, 90, 100, 104, 200, 250].into_iter().map(Boot::from_millis);
        let mut walls = [1, 2, 3].into_iter().map(Wall::from_secs);
        let (boot, wall) = bracketed(|| boots.next().unwrap(), || walls.next().unwrap());
        assert_eq!((boot, wall), (Boot::from_millis(102), Wall::from_secs(2)));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_names_its_boot_and_its_slew() {
        assert_eq!(boot_id(), boot_id());
        assert!(boot_id().is_some());
        assert!(slewed().is_some());
    }
}
