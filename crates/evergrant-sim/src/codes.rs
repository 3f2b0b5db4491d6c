//! Authorization codes: what a person's sign-in leaves with a client.
//!
//! The sign-in itself, with its pages and its consent, is not simulated; [`Provider::authorize`] stands for it. A code is
//! good for one use within a minute, by the client and for the redirect URI it was made for (RFC 6749 section 4.1.3), and
//! with the verifier behind its challenge, if it has one (RFC 7636 section 4.6). A second use fails; that it should end
//! the tokens of the first is left out.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use evergrant_core::time::{Boot, Span};
use sha2::{Digest as _, Sha256};

use crate::provider::Provider;

/// An authorization code.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    client: usize,
    redirect_uri: String,
    challenge: Option<String>,
    made: Boot,
}

impl Provider {
    /// A person signs in and lets the client act: the code that the redirect carries. `challenge` is the PKCE challenge
    /// of method S256.
    pub fn authorize(&mut self, client_id: &str, redirect_uri: &str, challenge: Option<&str>, now: Boot) -> String {
        let client = self.config.clients.iter().position(|client| client.id == client_id).unwrap_or(usize::MAX);
        let text = format!("code-{}", self.seed.text(4));
        let (redirect_uri, challenge) = (redirect_uri.to_owned(), challenge.map(str::to_owned));
        self.codes.insert(text.clone(), Code { client, redirect_uri, challenge, made: now });
        text
    }

    /// Spends the code of a token request. Was it good?
    pub(crate) fn spend_code(&mut self, client: usize, form: &BTreeMap<String, String>, now: Boot) -> bool {
        let field = |name: &str| form.get(name).map(String::as_str);
        let Some(code) = field("code").and_then(|text| self.codes.remove(text)) else { return false };
        let proven = field("code_verifier").map(|verifier| URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)));
        code.client == client
            && now - code.made < CODE_LIFE
            && field("redirect_uri") == Some(&code.redirect_uri)
            && (code.challenge.is_none() || code.challenge == proven)
    }
}

const CODE_LIFE: Span = Span::from_secs(60);

#[cfg(test)]
mod tests {
    use crate::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig};
    use crate::provider::Request;
    use crate::stage::{Stage, json};

    use super::*;

    const HERE: &str = "http://127.0.0.1/callback";
    const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters-length";

    fn code(stage: &mut Stage, challenge: Option<&str>) -> String {
        let now = stage.now;
        stage.provider.authorize(CLIENT_ID, HERE, challenge, now)
    }

    fn redeem(stage: &mut Stage, form: &[(&str, &str)], with_secret: bool) -> (u16, serde_json::Value) {
        let form: Vec<_> = [("grant_type", "authorization_code")].into_iter().chain(form.iter().copied()).collect();
        let request = Request::token(&form);
        let request = if with_secret { request.basic(CLIENT_ID, CLIENT_SECRET) } else { request };
        let response = stage.answer(&request);
        (response.status().as_u16(), json(&response))
    }

    #[test]
    fn a_code_is_good_once_for_its_client_and_redirect() {
        let mut stage = Stage::new(ProviderConfig::rfc());
        let good = code(&mut stage, None);
        assert_eq!(redeem(&mut stage, &[("code", "code-unknown"), ("redirect_uri", HERE)], true).0, 400);
        let (status, body) = redeem(&mut stage, &[("code", &good), ("redirect_uri", HERE)], true);
        assert_eq!(status, 200, "{body}");
        assert!(body["refresh_token"].is_string(), "{body}");
        assert_eq!(redeem(&mut stage, &[("code", &good), ("redirect_uri", HERE)], true).0, 400, "a second use");
        let other = code(&mut stage, None);
        assert_eq!(redeem(&mut stage, &[("code", &other), ("redirect_uri", "http://evil.example")], true).0, 400);
    }

    #[test]
    fn a_public_client_shows_its_verifier_and_gets_no_refresh_token() {
        let mut stage = Stage::new(ProviderConfig::genesys());
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
        let (good, other) = (code(&mut stage, Some(&challenge)), code(&mut stage, Some(&challenge)));
        let form = |code, verifier| {
            [("client_id", CLIENT_ID), ("code", code), ("redirect_uri", HERE), ("code_verifier", verifier)]
        };
        let (status, body) = redeem(&mut stage, &form(&good, VERIFIER), false);
        assert_eq!((status, body["refresh_token"].is_null()), (200, true), "{body}");
        assert_eq!(redeem(&mut stage, &form(&other, "wrong"), false).0, 400);
    }
}
