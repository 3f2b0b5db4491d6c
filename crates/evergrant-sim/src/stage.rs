//! A provider and a virtual clock, for tests.

use evergrant_core::time::{Boot, Now, Span, Wall};
use http::Response;
use serde_json::Value;

use crate::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig};
use crate::faults::Event;
use crate::provider::{Answer, Payload, Provider, Reply, Request};

/// One provider and the time it believes.
pub(crate) struct Stage {
    pub(crate) provider: Provider,
    pub(crate) now: Boot,
}

impl Stage {
    pub(crate) fn new(config: ProviderConfig) -> Self {
        let now = Now { boot: Boot::from_secs(1_000), wall: Wall::from_secs(1_792_567_591) };
        Self { provider: Provider::new(config, now), now: now.boot }
    }

    pub(crate) fn pass_ms(&mut self, millis: i64) {
        self.now = self.now + Span::from_millis(millis);
    }

    pub(crate) fn apply(&mut self, event: Event) {
        self.provider.apply(event, self.now);
    }

    pub(crate) fn send(&mut self, request: &Request) -> Reply {
        self.provider.handle(request, self.now)
    }

    /// The answer to a request that is answered whole.
    pub(crate) fn answer(&mut self, request: &Request) -> Response<Payload> {
        match self.send(request).answer {
            Answer::Response(response) => response,
            other @ (Answer::Torn { .. } | Answer::Reset { .. }) => panic!("not answered whole: {other:?}"),
        }
    }

    /// Status and JSON body of a token request with the default client's Basic credentials.
    pub(crate) fn ask(&mut self, form: &[(&str, &str)]) -> (u16, Value) {
        let response = self.answer(&Request::token(form).basic(CLIENT_ID, CLIENT_SECRET));
        (response.status().as_u16(), json(&response))
    }

    pub(crate) fn refresh(&mut self, refresh_token: &str) -> (u16, Value) {
        self.ask(&[("grant_type", "refresh_token"), ("refresh_token", refresh_token)])
    }

    /// A new token by client credentials.
    pub(crate) fn mint(&mut self) -> String {
        let (status, body) = self.ask(&[("grant_type", "client_credentials")]);
        assert_eq!(status, 200, "{body}");
        text(&body, "access_token")
    }

    /// The status of a GET at a node.
    pub(crate) fn call_at(&mut self, token: &str, node: usize) -> u16 {
        let request = Request::get("/api/v2/users").bearer(token);
        self.answer(&request.header(crate::api::NODE_HEADER, &node.to_string())).status().as_u16()
    }

    /// The status of a GET at the first node.
    pub(crate) fn call(&mut self, token: &str) -> u16 {
        self.call_at(token, 0)
    }
}

pub(crate) fn json(response: &Response<Payload>) -> Value {
    let Payload::Bytes(bytes) = response.body() else { panic!("a short body") };
    serde_json::from_slice(bytes).unwrap_or_default()
}

pub(crate) fn text(body: &Value, key: &str) -> String {
    body[key].as_str().unwrap_or_else(|| panic!("no {key} in the answer")).to_owned()
}
