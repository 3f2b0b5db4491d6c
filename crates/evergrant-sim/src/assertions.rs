//! JWT assertions: judged by their dates, their audience and their names, by the issuer's clock.
//!
//! Signatures are not checked: that a signature holds is shown against a real server. What a simulation is for is the
//! time. A strict server refuses an assertion whose `iat` is ahead of its clock by more than a small leeway or whose `exp`
//! is over, and one whose `jti` it has seen (RFC 7523 section 3).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use evergrant_core::time::{Boot, Span};
use serde_json::Value;

use crate::provider::Provider;

impl Provider {
    /// The client that a `private_key_jwt` names, if it may be believed now.
    pub(crate) fn client_of_assertion(&mut self, form: &BTreeMap<String, String>, now: Boot) -> Option<usize> {
        let claims = self.good_assertion(form.get("client_assertion")?, now)?;
        let named = claims["sub"].as_str().filter(|sub| claims["iss"] == **sub)?;
        self.config.clients.iter().position(|client| client.id == named)
    }

    /// May the assertion of a JWT bearer grant be believed now?
    pub(crate) fn accepts_assertion(&mut self, form: &BTreeMap<String, String>, now: Boot) -> bool {
        form.get("assertion").and_then(|text| self.good_assertion(text, now)).is_some()
    }

    fn good_assertion(&mut self, text: &str, now: Boot) -> Option<Value> {
        let payload = text.split('.').nth(1)?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        let shown = self.clock.read(now).as_unix_secs();
        let (iat, exp) = (claims["iat"].as_i64()?, claims["exp"].as_i64()?);
        let is_in_time = iat <= shown + LEEWAY.as_secs() && exp > shown && exp - iat <= LONGEST_LIFE.as_secs();
        let is_ours = claims["aud"].as_str()?.ends_with(&self.config.token_path);
        let is_new = self.jtis.insert(claims["jti"].as_str()?.to_owned());
        (is_in_time && is_ours && is_new).then_some(claims)
    }
}

/// What a strict server forgives of an `iat` in its future.
const LEEWAY: Span = Span::from_secs(2);
/// The longest that an assertion may hold.
const LONGEST_LIFE: Span = Span::from_secs(300);
