//! One test for each scenario of the simulator, so that names show in the list of tests and run side by side.

use std::collections::BTreeSet;

use evergrant_sim::Scenario;

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                crate::run::scenario(stringify!($name));
            }
        )*

        /// The names of the tests above.
        const PLAYED: &[&str] = &[$(stringify!($name)),*];
    };
}

scenarios! {
    no_fault
    no_fault_rfc
    no_fault_minus_one
    no_fault_jwt
    offset_plus_7s
    offset_minus_7s
    offset_plus_5min
    offset_minus_5min
    offset_plus_5min_jwt
    offset_minus_5min_jwt
    drift_fast
    drift_slow
    server_step_forward
    server_step_backward
    server_step_forward_jwt
    server_step_backward_jwt
    nodes_disagree
    nodes_disagree_jwt
    propagation
    propagation_3s
    propagation_10s
    propagation_slow_api
    revoke_on_refresh
    revoke_on_refresh_propagation
    early_revocation_short
    early_revocation_half_life
    early_revocation_long
    eviction
    eviction_of_own
    idle_timeout
    mint_limit_400
    mint_limit_429
    mint_limit_429_date
    endpoint_down_before_expiry
    endpoint_503_before_expiry
    endpoint_down_across_expiry
    endpoint_hangs_across_expiry
    slow_endpoint
    flaky_endpoint
    flaky_endpoint_pages
    torn_answer
    empty_answer
    rotation
    rotation_revokes_old
    lost_refresh_answer
    lost_refresh_answer_new_pair
    torn_refresh_answer
    burst_at_expiry
    burst_at_early_revocation
    cold_start
    all_at_once
    cold_start_propagation
}

#[test]
fn every_scenario_of_the_simulator_is_played() {
    let all: BTreeSet<_> = Scenario::all().iter().map(|scenario| scenario.name).collect();
    assert_eq!(PLAYED.iter().copied().collect::<BTreeSet<_>>(), all);
}
