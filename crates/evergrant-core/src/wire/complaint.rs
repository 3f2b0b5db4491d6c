//! What a server's words say is wrong with a token, a grant or a client.
//!
//! RFC 6750 has one code, `invalid_token`, for a token that is "expired, revoked, malformed, or invalid for other
//! reasons", and RFC 6749 one, `invalid_grant`, for as many reasons. The reason, if there is one, is in the description,
//! which is free text. But few programs write it: the phrases of the common servers and libraries fit in a table.
//!
//! A complaint is taken from words only if they state one thing. Words that list alternatives ("expired or revoked",
//! "e.g., unknown client") repeat the standard's text and state nothing, and so do words that fit two rows.
//!
//! Limits: English only, and only phrases that a server was seen to send. Source: the error texts of ASP.NET Core's
//! JwtBearer, Spring Security, Envoy, jsonwebtoken, PyJWT, Auth0, Microsoft Entra, Google, Keycloak, Ory Hydra and
//! Genesys Cloud.

use serde::{Deserialize, Serialize};

/// One thing that a server states to be wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Complaint {
    /// The token's, or grant's, life is over.
    Expired,
    /// The token is not valid yet.
    NotYetValid,
    /// Somebody ended it.
    Revoked,
    /// It cannot be read.
    Malformed,
    /// Its signature does not fit its text.
    Signature,
    /// It is signed with a key that the server does not know.
    Key,
    /// It comes from an issuer that the server does not trust.
    Issuer,
    /// It is meant for somebody else.
    Audience,
    /// A refresh token or code was used before.
    Reused,
    /// A signed assertion is not within its validity.
    AssertionTime,
    /// The client id is not known there.
    UnknownClient,
    /// The client is known and switched off.
    DisabledClient,
}

impl Complaint {
    /// What a resource server's words state about an access token.
    #[must_use]
    pub fn of_token(words: &str) -> Option<Self> {
        read(words, &TOKEN)
    }

    /// What a token endpoint's words state about the grant or the client.
    #[must_use]
    pub fn of_grant(words: &str) -> Option<Self> {
        let lower = words.to_ascii_lowercase();
        let is_assertion = ["assertion", "jwt", "saml"].iter().any(|word| lower.contains(word));
        if is_assertion && !states_nothing(&lower) && ASSERTION_TIME.iter().any(|phrase| lower.contains(phrase)) {
            return Some(Self::AssertionTime);
        }
        read(words, &GRANT)
    }
}

/// The one complaint that the words state. A phrase that was found is taken out, so that it fits no shorter one.
fn read(words: &str, table: &[(&str, Complaint)]) -> Option<Complaint> {
    let mut text = words.to_ascii_lowercase();
    if states_nothing(&text) {
        return None;
    }
    let mut stated = None;
    for (phrase, complaint) in table {
        if text.contains(phrase) {
            if stated.is_some_and(|other| other != *complaint) {
                return None;
            }
            stated = Some(*complaint);
            text = text.replace(phrase, " ");
        }
    }
    stated
}

/// Alternatives and examples are a text for every case, not a statement about this one.
fn states_nothing(text: &str) -> bool {
    [" or ", "e.g."].iter().any(|word| text.contains(word))
}

/// Phrases about access tokens; a longer one stands before one that it contains.
const TOKEN: [(&str, Complaint); 27] = [
    ("signature has expired", Complaint::Expired),
    ("signature key was not found", Complaint::Key),
    ("\"exp\" claim", Complaint::Expired),
    ("expired", Complaint::Expired),
    ("not yet valid", Complaint::NotYetValid),
    ("not valid before", Complaint::NotYetValid),
    ("used before", Complaint::NotYetValid),
    ("jwt not active", Complaint::NotYetValid),
    ("\"nbf\" claim", Complaint::NotYetValid),
    ("issued in the future", Complaint::NotYetValid),
    ("revoked", Complaint::Revoked),
    ("invalidated", Complaint::Revoked),
    ("audience", Complaint::Audience),
    ("\"aud\" claim", Complaint::Audience),
    ("aud claim", Complaint::Audience),
    ("issuer", Complaint::Issuer),
    ("\"iss\" claim", Complaint::Issuer),
    ("iss claim", Complaint::Issuer),
    ("no matching key", Complaint::Key),
    ("no applicable key", Complaint::Key),
    ("unable to find a signing key", Complaint::Key),
    ("signature", Complaint::Signature),
    ("jwt verification fails", Complaint::Signature),
    ("malformed", Complaint::Malformed),
    ("not in the form of", Complaint::Malformed),
    ("not well-formed", Complaint::Malformed),
    ("not enough segments", Complaint::Malformed),
];

/// Phrases about refresh tokens, codes and clients.
const GRANT: [(&str, Complaint); 17] = [
    ("already used", Complaint::Reused),
    ("already been used", Complaint::Reused),
    ("already redeemed", Complaint::Reused),
    ("has been used", Complaint::Reused),
    ("previously used", Complaint::Reused),
    ("refresh token reuse", Complaint::Reused),
    ("reuse detected", Complaint::Reused),
    ("expired", Complaint::Expired),
    ("revoked", Complaint::Revoked),
    ("client not found", Complaint::UnknownClient),
    ("unknown client", Complaint::UnknownClient),
    ("no such client", Complaint::UnknownClient),
    ("client does not exist", Complaint::UnknownClient),
    ("was not found in the directory", Complaint::UnknownClient),
    ("disabled", Complaint::DisabledClient),
    ("deactivated", Complaint::DisabledClient),
    ("client is inactive", Complaint::DisabledClient),
];

/// Words that make a complaint about an assertion one about its dates.
const ASSERTION_TIME: [&str; 10] = [
    "expired",
    "not yet valid",
    "valid time range",
    "reasonable timeframe",
    "in the future",
    "too far",
    "notonorafter",
    "notbefore",
    "\"exp\"",
    "\"iat\"",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_words_of_common_servers_are_understood() {
        use Complaint::{Audience, Expired, Issuer, Key, Malformed, NotYetValid, Revoked, Signature};
        for (words, complaint) in [
            ("The token expired at '11/28/2026 10:00:00'", Some(Expired)),
            ("Jwt is expired", Some(Expired)),
            ("Signature has expired", Some(Expired)),
            ("\"exp\" claim timestamp check failed", Some(Expired)),
            ("The supplied credentials are expired and cannot be used.", Some(Expired)),
            ("jwt not active", Some(NotYetValid)),
            ("The token is not yet valid (nbf)", Some(NotYetValid)),
            ("Jwt used before 2026-11-28T10:00:00Z", Some(NotYetValid)),
            ("Token has been revoked", Some(Revoked)),
            ("The audience 'https://other' is invalid", Some(Audience)),
            ("Audiences in Jwt are not allowed", Some(Audience)),
            ("The aud claim is not valid", Some(Audience)),
            ("The issuer 'https://x' is invalid", Some(Issuer)),
            ("The iss claim is not valid", Some(Issuer)),
            ("The signature key was not found", Some(Key)),
            ("The signature is invalid", Some(Signature)),
            ("jwt malformed", Some(Malformed)),
            ("Not enough segments", Some(Malformed)),
            ("Invalid login credentials.", None),
            ("Unauthorized", None),
            ("", None),
        ] {
            assert_eq!(Complaint::of_token(words), complaint, "{words}");
        }
    }

    #[test]
    fn words_that_list_alternatives_state_nothing() {
        for words in [
            "The access token provided is expired, revoked, malformed, or invalid for other reasons.",
            "The token is expired or revoked",
            "token expired, signature invalid",
        ] {
            assert_eq!(Complaint::of_token(words), None, "{words}");
        }
        let generic = "Client authentication failed (e.g., unknown client, no client authentication included)";
        assert_eq!(Complaint::of_grant(generic), None);
    }

    #[test]
    fn the_words_of_token_endpoints_are_understood() {
        use Complaint::{AssertionTime, DisabledClient, Expired, Reused, Revoked, UnknownClient};
        for (words, complaint) in [
            ("Invalid Refresh Token: Already Used", Some(Reused)),
            ("refresh token already used", Some(Reused)),
            ("The refresh token has been used", Some(Reused)),
            ("Refresh token expired", Some(Expired)),
            ("Token has been revoked", Some(Revoked)),
            ("client not found", Some(UnknownClient)),
            ("AADSTS700016: Application with identifier 'x' was not found in the directory 'y'", Some(UnknownClient)),
            ("Client disabled", Some(DisabledClient)),
            ("AADSTS700024: Client assertion is not within its valid time range.", Some(AssertionTime)),
            ("Invalid JWT: Token must be short-lived and in a reasonable timeframe", Some(AssertionTime)),
            ("The SAML assertion has expired", Some(AssertionTime)),
            ("Invalid JWT signature", None),
            ("authentication failed", None),
        ] {
            assert_eq!(Complaint::of_grant(words), complaint, "{words}");
        }
    }

    #[test]
    fn no_row_of_a_table_hides_a_later_one() {
        for table in [TOKEN.as_slice(), &GRANT] {
            for (phrase, complaint) in table {
                assert_eq!(read(phrase, table), Some(*complaint), "{phrase}");
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_words_never_panic(words: String) {
            let _ = (Complaint::of_token(&words), Complaint::of_grant(&words));
        }
    }
}
