//! Who takes over when the process that refreshes is gone.
//!
//! All who wait for a lease see it end at the same moment. If all of them asked for it then, a fleet of fifty would send
//! fifty commands at once, and every death would make one more herd. So they go one after the other, in an order on which
//! they agree without talking: each member gets a weight from its name and the occasion, the highest goes first, and each
//! later one waits a step longer. The occasion is the fence of the lease that ended, so the turn goes round. A member that
//! is first and dead is overtaken one step later.
//!
//! Whoever does not know all the others is at worst too early, and finds the lease taken: the order saves work, the lease
//! keeps the peace.
//!
//! Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998): rendezvous hashing, where
//! losing one member moves nobody else.

use crate::time::Span;

/// The place of `own` among the members, itself included: 0 goes first. The order of `members` does not matter.
#[must_use]
pub fn rank<'a>(members: impl IntoIterator<Item = &'a str>, own: &str, occasion: u64) -> usize {
    let ours = (weight(own, occasion), own);
    members.into_iter().filter(|member| *member != own && (weight(member, occasion), *member) > ours).count()
}

/// How long the member of this rank waits after the end of a lease with this time to live.
#[must_use]
pub fn turn(rank: usize, ttl: Span) -> Span {
    let rank = i64::try_from(rank).unwrap_or(i64::MAX).min(LAST_STEP);
    ttl.scaled(rank, STEPS_PER_TTL)
}

/// A number that every build on every machine computes alike.
fn weight(member: &str, occasion: u64) -> u64 {
    // FNV-1a, then the finish of splitmix64: without it similar names would have similar weights.
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let start = occasion.to_be_bytes().into_iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    let hash = member.bytes().fold(start, fnv);
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// A step of the default lease is 100 ms: longer than a command to the store takes, and not felt.
const STEPS_PER_TTL: i64 = 60;
/// A third of the time to live; whoever comes later has twenty dead before it.
const LAST_STEP: i64 = 20;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn names() -> impl Strategy<Value = BTreeSet<String>> {
        proptest::collection::btree_set("[a-z0-9]{1,16}", 1..60)
    }

    fn order(members: &BTreeSet<String>, occasion: u64) -> Vec<&str> {
        let mut order: Vec<&str> = members.iter().map(String::as_str).collect();
        order.sort_by_key(|own| rank(members.iter().map(String::as_str), own, occasion));
        order
    }

    #[test]
    fn the_weights_never_change() {
        assert_eq!(weight("", 0), 0x813f_0174_a236_7c13);
        assert_eq!(weight("9f86d081884c7d65", 42), 0xf4b1_dd28_1f59_91ca);
    }

    #[test]
    fn the_first_goes_at_once_and_a_dead_one_is_overtaken_a_step_later() {
        let ttl = Span::from_secs(6);
        assert_eq!([0, 1, 2].map(|rank| turn(rank, ttl)), [0, 100, 200].map(Span::from_millis));
        assert_eq!(turn(20, ttl), Span::from_secs(2));
        assert_eq!(turn(usize::MAX, ttl), Span::from_secs(2), "nobody waits longer than a third of the time to live");
    }

    #[test]
    fn the_turn_goes_round() {
        let members: Vec<String> = (0..8).map(|number| format!("member-{number}")).collect();
        let first = |occasion| {
            members.iter().position(|own| rank(members.iter().map(String::as_str), own, occasion) == 0).unwrap()
        };
        let mut times = [0_u32; 8];
        (0..8_000).for_each(|occasion| times[first(occasion)] += 1);
        assert!(times.iter().all(|times| (850..1_150).contains(times)), "{times:?}");
    }

    #[test]
    fn who_is_alone_or_not_listed_is_first() {
        assert_eq!(rank([], "a", 1), 0);
        assert_eq!(rank(["a"], "a", 1), 0);
        assert_eq!(rank(["a", "a", "a"], "a", 1), 0, "twice on the list is once");
    }

    proptest! {
        #[test]
        fn every_member_has_a_place_of_its_own_and_all_agree(members in names(), occasion: u64) {
            let mut ranks: Vec<_> =
                members.iter().map(|own| rank(members.iter().rev().map(String::as_str), own, occasion)).collect();
            ranks.sort_unstable();
            prop_assert_eq!(ranks, (0..members.len()).collect::<Vec<_>>());
        }

        #[test]
        fn a_member_that_leaves_changes_the_order_of_nobody_else(members in names(), gone: prop::sample::Index, occasion: u64) {
            let gone = gone.get(&members.iter().collect::<Vec<_>>()).to_string();
            let mut left = members.clone();
            left.remove(&gone);
            let before: Vec<_> = order(&members, occasion).into_iter().filter(|member| *member != gone).collect();
            prop_assert_eq!(order(&left, occasion), before);
        }

        #[test]
        fn however_many_are_dead_the_first_alive_has_its_turn_in_a_third_of_the_time_to_live(
            members in names(),
            dead in 0_usize..60,
            occasion: u64,
            ttl_ms in 600_i64..300_000,
        ) {
            let ttl = Span::from_millis(ttl_ms);
            let alive = order(&members, occasion).into_iter().nth(dead);
            if let Some(alive) = alive {
                let wait = turn(rank(members.iter().map(String::as_str), alive, occasion), ttl);
                prop_assert!(wait <= ttl.scaled(1, 3));
                prop_assert!(wait <= ttl.scaled(i64::try_from(dead).unwrap(), 60));
            }
        }
    }
}
