//! The library's client as the settings describe it, and its failures in words.
//!
//! `api` adds nothing to how a request is sent: what a dying token breaks is repaired by the client, a 429 that ends in
//! time is waited out there, and redirects come back as answers.

use evergrant::core::time::Span;
use evergrant::transport::ConnectionFailureKind;
use evergrant::{Client, ClientError, TokenSource};
use url::Url;

use crate::exit;
use crate::failure::Failure;
use crate::launch;
use crate::settings::resolve::Settings;
use crate::settings::values;

/// A client for the upstream, whose requests wait out a 429 for so long.
pub(super) fn client(source: TokenSource, settings: &Settings, longest_rate_wait: Span) -> Result<Client, Failure> {
    let network = &settings.network;
    let mut builder = Client::builder(source)
        .origin(settings.upstream()?.as_str())
        .allow_insecure_http(network.allow_insecure_http)
        .timeout(settings.timing.timeout.to_duration())
        .longest_rate_wait(longest_rate_wait.to_duration());
    if let Some(ca_file) = &network.ca_file {
        builder = builder.ca_file(ca_file);
    }
    if let Some(identity) = &network.identity {
        builder = builder.identity(identity.clone());
    }
    builder.build().map_err(|error| {
        Failure::new(exit::CONFIG, "cannot set the HTTP client up")
            .because(error)
            .hint("check --ca-file, the client certificate, and HTTPS_PROXY")
    })
}

/// Why there is no answer, for a person.
pub(super) fn unanswered(error: &ClientError, url: &Url, settings: &Settings) -> Failure {
    let failure = |code, what: &str| Failure::new(code, what).at(values::shown(url)).because(error);
    match error {
        ClientError::NoToken { error, .. } => launch::acquire_failure(error, settings),
        ClientError::NoAnswer(lost) if lost.kind == ConnectionFailureKind::Unreachable => {
            failure(exit::UNREACHABLE, "the API cannot be reached")
                .hint("check the upstream or region, the network, and HTTPS_PROXY")
        }
        ClientError::NoAnswer(_) => failure(exit::UNREACHABLE, "the API did not answer")
            .hint("the request may have been executed: look before you send it again"),
        ClientError::Broken(_) => failure(exit::UNREACHABLE, "the answer is not complete")
            .hint("what was printed is only a part; send the request again if it may be sent twice"),
        ClientError::ForeignOrigin(_) | ClientError::InvalidRequest(_) | ClientError::TwoAuthorizations => {
            failure(exit::USAGE, "the request cannot be sent")
        }
        ClientError::NotJson { .. } => failure(exit::FAILED, "the answer is no JSON"),
    }
}
