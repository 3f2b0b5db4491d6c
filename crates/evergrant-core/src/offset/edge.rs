//! When to ask so that one answer tells the most.
//!
//! A date in whole seconds tells most when it is read just as it turns: the answer says on which side of the turn the
//! server was. Aimed so that the turn falls into the middle of what is still possible, each request halves the
//! interval, until it is about one round trip wide. Random moments need ten times as many.

use crate::time::{Boot, Offset, OffsetInterval, Server, Span};

/// The next instant, not before `earliest`, at which to send a request that catches the turn of a second.
///
/// `delay` is the shortest round trip seen; half of it passes before the server looks at its clock.
#[must_use]
pub fn aim_at_edge(theta: OffsetInterval, delay: Span, earliest: Boot) -> Boot {
    let middle: Offset = theta.lo + theta.width().scaled(1, 2);
    let way = delay.scaled(1, 2);
    let arrival: Server = (earliest + way) + middle;
    let edge = Server::from_secs(arrival.as_unix_secs().saturating_add(1));
    (edge - middle) - way
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_request_arrives_as_the_second_turns() {
        let theta = |millis| Server::from_millis(millis) - Boot::from_secs(0);
        let interval = OffsetInterval::new(theta(1_000_200), theta(1_000_400)).unwrap();
        let at = aim_at_edge(interval, Span::from_millis(50), Boot::from_secs(10));
        // The server is 1000.3 s ahead: its second turns at 10.7 s of ours, and the way takes 25 ms.
        assert_eq!(at, Boot::from_millis(10_675));
    }

    proptest! {
        #[test]
        fn the_aim_is_within_the_next_second(lo in -1_000_000_000_000_i64..1_000_000_000_000, width in 0..3_000_000_000_i64, delay in 0..1_000_000_000_i64, now in 0..1_000_000_000_000_i64) {
            let lo = Offset::from_nanos(lo);
            let interval = OffsetInterval::new(lo, lo + Span::from_nanos(width)).unwrap();
            let now = Boot::from_nanos(now);
            let wait = aim_at_edge(interval, Span::from_nanos(delay), now) - now;
            prop_assert!(Span::ZERO < wait && wait <= Span::from_secs(1));
        }
    }
}
