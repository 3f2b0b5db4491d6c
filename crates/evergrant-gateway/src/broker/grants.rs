//! Grants of callers: a person's login through a caller, kept here with tokens of its own.
//!
//! A caller that comes back from a login page has a code that only the provider can redeem. The gateway redeems it,
//! keeps both tokens, and gives the caller a handle for each. Calls with the access handle carry the grant's token, not
//! the gateway's own; the refresh handle buys new access handles, while the real renewals happen in time by themselves.
//!
//! A grant is named by random text, which is also its label in the store. The name says as whom it was redeemed, because
//! it has to be renewed in the same way after a restart. Grants are few: beyond the bound the one whose handles were
//! unused for longest ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use evergrant::{RedeemAs, TokenSource};
use evergrant_core::keeper::{AcquireError, AcquireErrorKind};
use evergrant_core::wire::TokenFailureKind;

use super::login::Who;

/// The grants in use; others may rest in the store.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    awake: Mutex<HashMap<Arc<str>, TokenSource>>,
}

impl Grants {
    /// The tokens of a grant, taken up again if this process has not used it yet.
    pub(crate) fn source(&self, name: &Arc<str>, own: &TokenSource) -> Option<TokenSource> {
        let mut awake = self.awake.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = awake.get(name) {
            return Some(source.clone());
        }
        match own.resume(redeemed_as(name), name) {
            Ok(source) => {
                awake.insert(Arc::clone(name), source.clone());
                Some(source)
            }
            Err(error) => {
                tracing::error!(%error, "a caller's grant cannot be taken up again");
                None
            }
        }
    }

    pub(crate) fn add(&self, name: Arc<str>, source: TokenSource) {
        self.awake.lock().unwrap_or_else(PoisonError::into_inner).insert(name, source);
    }

    /// Takes a grant out of use.
    pub(crate) fn remove(&self, name: &str) {
        self.awake.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// A name for a new grant.
pub(crate) fn new_name(who: Who) -> Arc<str> {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).expect("the operating system provides random bytes");
    let random: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}{random}", if who == Who::Public { PUBLIC } else { CLIENT }).into()
}

/// As whom a grant of this name was redeemed.
pub(crate) fn redeemed_as(name: &str) -> RedeemAs {
    if name.starts_with(PUBLIC) { RedeemAs::Public } else { RedeemAs::Client }
}

/// Will this grant give no token any more, however long one waits?
pub(crate) fn is_over(error: &AcquireError) -> bool {
    let is_refused = error
        .failure
        .as_ref()
        .is_some_and(|failure| matches!(failure.kind, TokenFailureKind::InvalidGrant | TokenFailureKind::RotationLost));
    error.kind == AcquireErrorKind::LoginRequired || (error.kind == AcquireErrorKind::Rejected && is_refused)
}

const CLIENT: &str = "caller-client-";
const PUBLIC: &str = "caller-public-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_new_and_says_as_whom() {
        assert_ne!(new_name(Who::Client), new_name(Who::Client));
        assert_eq!(redeemed_as(&new_name(Who::Client)), RedeemAs::Client);
        assert_eq!(redeemed_as(&new_name(Who::Public)), RedeemAs::Public);
    }
}
