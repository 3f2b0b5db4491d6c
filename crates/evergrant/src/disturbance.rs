//! What the kernel did to the clock that offsets are counted on: slewed it, or stopped the machine.
//!
//! Both are found by comparing the kernel's clocks from time to time. A slew counts once it has added up to a
//! millisecond, however slowly; a suspend counts from a tenth of a second, because less is the noise of two readings.

use evergrant_core::time::Span;

use crate::clock;

/// Watches the kernel's clocks.
#[derive(Debug, Default)]
pub(crate) struct Disturbances {
    slewed: Option<Span>,
    suspended: Option<Span>,
}

/// What happened since it was last told of.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Disturbance {
    /// How much the clock was slewed; positive gained.
    pub(crate) slewed: Option<Span>,
    /// How long the machine was suspended.
    pub(crate) suspended: Option<Span>,
}

impl Disturbances {
    /// Looks at the clocks.
    pub(crate) fn look(&mut self) -> Disturbance {
        self.compare(clock::slewed(), clock::suspended())
    }

    fn compare(&mut self, slewed: Option<Span>, suspended: Option<Span>) -> Disturbance {
        Disturbance {
            slewed: grown(&mut self.slewed, slewed, SLEW_WORTH_REPORTING),
            suspended: grown(&mut self.suspended, suspended, SUSPEND_WORTH_REPORTING),
        }
    }
}

/// By how much a total has changed since it was last told of, if that is worth telling.
fn grown(told: &mut Option<Span>, total: Option<Span>, least: Span) -> Option<Span> {
    let total = total?;
    let by = total - *told.get_or_insert(total);
    (by.abs() > least).then(|| {
        *told = Some(total);
        by
    })
}

const SLEW_WORTH_REPORTING: Span = Span::from_millis(1);
const SUSPEND_WORTH_REPORTING: Span = Span::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_slews_add_up_and_suspends_are_told_once() {
        let mut disturbances = Disturbances::default();
        let micros = |micros| Some(Span::from_micros(micros));
        assert_eq!(disturbances.compare(micros(-7_000), micros(0)), Disturbance::default());
        assert_eq!(disturbances.compare(micros(-6_400), micros(0)), Disturbance::default());
        assert_eq!(disturbances.compare(micros(-5_800), micros(0)).slewed, micros(1_200));
        assert_eq!(disturbances.compare(micros(-5_800), micros(8_000_000)).suspended, micros(8_000_000));
        assert_eq!(disturbances.compare(micros(-5_800), micros(8_000_000)), Disturbance::default());
        assert_eq!(disturbances.compare(None, None), Disturbance::default());
    }
}
