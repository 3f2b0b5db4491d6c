//! Did a scenario's fault happen at all?
//!
//! A run in which nothing went wrong proves nothing. What is asked for here happens to every client, however good: the
//! first refusal of a revoked token, for instance, is how anybody learns of the revocation.

use super::Scenario;
use crate::ledger::{Ledger, TokenOutcome};
use crate::tokens::Refusal;

impl Scenario {
    /// Did what this scenario is named for happen in the run that this ledger tells of? Yes for those without a fault.
    #[must_use]
    pub fn struck(&self, ledger: &Ledger) -> bool {
        let name = self.name;
        let ended = |outcome| ledger.token_requests_ended(outcome) > 0;
        let refused = |why| ledger.refused_as(why) > 0;
        let begins = |start: &str| name.starts_with(start);
        match name {
            _ if begins("propagation") || begins("cold_start_propagation") => refused(Refusal::Propagating),
            "revoke_on_refresh_propagation" => refused(Refusal::Propagating) && refused(Refusal::RevokedByRefresh),
            "nodes_disagree_jwt" | "server_step_backward_jwt" => refused(Refusal::NotYetValid),
            _ if begins("server_step_forward") => refused(Refusal::Expired),
            _ if begins("early_revocation") || begins("burst_at_early") => refused(Refusal::Revoked),
            "all_at_once" => {
                ended(TokenOutcome::NotReached)
                    && [Refusal::Expired, Refusal::Revoked, Refusal::Propagating].map(refused) == [true; 3]
            }
            "revoke_on_refresh" | "rotation_revokes_old" => refused(Refusal::RevokedByRefresh),
            "eviction" | "eviction_of_own" => refused(Refusal::Evicted),
            "idle_timeout" => refused(Refusal::Idle),
            _ if begins("mint_limit") => ended(TokenOutcome::RateLimited),
            _ if begins("endpoint") || begins("flaky") => ended(TokenOutcome::NotReached),
            "torn_answer" | "empty_answer" => ledger.token.events.iter().any(|event| event.fault.is_some()),
            "lost_refresh_answer" | "torn_refresh_answer" => ended(TokenOutcome::IssuedAgain),
            "lost_refresh_answer_new_pair" => ledger.token.events.iter().any(|event| event.fault.is_some()),
            _ => true,
        }
    }
}
