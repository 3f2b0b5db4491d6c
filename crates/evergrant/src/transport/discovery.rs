//! Fetching an issuer's discovery document.
//!
//! Source: OpenID Connect Discovery 1.0 section 4; RFC 8414 section 3.

use evergrant_core::profile::{Discovery, DiscoveryError, discovery_url, parse_discovery};
use reqwest::header::ACCEPT;

use super::{ConnectionFailure, Target, TransportError, TransportOptions, client, read_body};
use crate::tls::Tls;

/// Fetches and checks the discovery document of `issuer`.
///
/// # Errors
/// When the issuer cannot be reached, answers with something else, or the document does not fit the issuer.
pub async fn discover(issuer: &str, tls: &Tls, options: TransportOptions) -> Result<Discovery, DiscoverError> {
    let target = Target::parse("issuer URL", &discovery_url(issuer), options.allow_insecure_http)
        .map_err(TransportError::from)?;
    let client = client(&target, tls, options, 0)?;
    let failure = |error: reqwest::Error| ConnectionFailure::of(&error, &target, options.timeout);
    let request = client.get(target.url().clone()).timeout(options.timeout).header(ACCEPT, "application/json");
    let response = request.send().await.map_err(failure)?;
    let status = response.status().as_u16();
    if status != 200 {
        return Err(DiscoverError::Status { url: target.to_string(), status });
    }
    let (body, torn) = read_body(response, BODY_LIMIT).await;
    if let Some(error) = torn {
        return Err(failure(error).into());
    }
    let discovery =
        parse_discovery(issuer, &body).map_err(|cause| DiscoverError::Document { url: target.to_string(), cause })?;
    Target::parse("discovered token endpoint", &discovery.token_endpoint, options.allow_insecure_http)
        .map_err(TransportError::from)?;
    Ok(discovery)
}

/// Why there is no discovery document.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// No request could be made.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// No answer came.
    #[error(transparent)]
    Connection(#[from] ConnectionFailure),
    /// The answer was not 200; redirects are not followed.
    #[error("{url} answered with status {status}; check the issuer URL")]
    Status {
        /// The document's URL.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The document is not one, or not this issuer's.
    #[error("{url}: {cause}")]
    Document {
        /// The document's URL.
        url: String,
        /// What is wrong with it.
        cause: DiscoveryError,
    },
}

const BODY_LIMIT: usize = 1 << 20;
