//! What the API tells about the token that asks, its client and its organisation, shaped like Genesys Cloud.
//!
//! | route | answer |
//! |---|---|
//! | `/api/v2/tokens/me` | client and organisation; when the token would idle out, if it can |
//! | `/api/v2/tokens/timeout` | the organisation's idle timeout |
//! | `/api/v2/authorization/subjects/me` | the roles of the client |
//! | `/api/v2/organizations/limits/namespaces/platform.api` | limits of the API |

use evergrant_core::time::{Server, Span};
use serde_json::{Value, json};

use crate::clock::iso_millis;
use crate::config::{ProviderConfig, RateLimit};

/// What `path` tells the client with this id at this moment; `None` for any other path.
pub(crate) fn about(path: &str, client: &str, config: &ProviderConfig, now: Server) -> Option<Value> {
    let idle = config.tokens.idle_timeout;
    Some(match path {
        "/api/v2/tokens/me" => json!({
            "OAuthClient": {"id": client, "name": "sim"},
            "organization": {"id": "sim-org", "name": "sim"},
            "dateTokenIdles": idle.map(|after| iso_millis(now + after)),
        }),
        "/api/v2/tokens/timeout" => json!({
            "enableIdleTokenTimeout": idle.is_some(),
            "idleTokenTimeoutSeconds": idle.unwrap_or(SHORTEST_IDLE).as_secs(),
        }),
        "/api/v2/authorization/subjects/me" => json!({
            "id": client,
            "name": "sim",
            "grants": [{"division": {"name": "Home"}, "role": {"id": "sim-role", "name": "Sim Reader"}}],
        }),
        "/api/v2/organizations/limits/namespaces/platform.api" => {
            let value = config.rate_limit.unwrap_or(RateLimit::GENESYS).count;
            let key = "client.credentials.token.rate.per.minute";
            json!({"entities": [{"namespace": "platform.api", "key": key, "value": value}]})
        }
        _ => return None,
    })
}

/// What an organisation that has set nothing is told.
const SHORTEST_IDLE: Span = Span::from_secs(300);
