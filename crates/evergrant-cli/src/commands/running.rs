//! A running gateway, asked through its admin listener.
//!
//! Nothing is needed but the address, which has a default, and the caller secret where the gateway asks for one.

use std::time::Duration;

use evergrant::doctor::reachable;
use evergrant::tls::Tls;
use evergrant_core::Secret;
use evergrant_gateway::Address;
use http::StatusCode;

use crate::exit;
use crate::failure::Failure;
use crate::settings::catalog::Setting;
use crate::settings::layers::Layers;
use crate::settings::origin::{Found, Origin};
use crate::settings::values;

/// A gateway of which only the address is known.
pub(crate) struct Running {
    address: Address,
    client: reqwest::Client,
    secret: Option<Secret>,
}

impl Running {
    /// The gateway that the settings name.
    pub(crate) fn of(layers: &Layers) -> Result<Self, Failure> {
        let address = address(layers)?;
        let secret = layers.secret(Setting::CallerSecret)?.map(|found| found.value);
        let config = Tls::untrusting_config()
            .map_err(|error| Failure::new(exit::CONFIG, "cannot set TLS up").because(&error).hint(error.hint()))?;
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(config)
            .timeout(PATIENCE);
        if let Address::Unix(path) = &address {
            builder = builder.unix_socket(path.as_path());
        }
        let client = builder.build().map_err(|error| no_answer(&address, error.to_string()))?;
        Ok(Self { address, client, secret })
    }

    /// Where it should be.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// What its admin listener answers.
    pub(crate) async fn get(&self, path: &str) -> Result<(StatusCode, Vec<u8>), Failure> {
        let url = match &self.address {
            Address::Tcp(addr) => format!("http://{}{path}", reachable(*addr)),
            Address::Unix(_) => format!("http://localhost{path}"),
        };
        let mut request = self.client.get(url);
        if let Some(secret) = &self.secret {
            request = request.header("evergrant-caller-secret", secret.expose());
        }
        let no_answer = |error: reqwest::Error| no_answer(&self.address, root_of(&error));
        let mut answer = request.send().await.map_err(no_answer)?;
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(no_answer)? {
            body.extend_from_slice(&part);
            if body.len() > LONGEST_ANSWER {
                return Err(self.is_none("its answer has no end"));
            }
        }
        Ok((answer.status(), body))
    }

    /// Something answers, and it is no gateway.
    pub(crate) fn is_none(&self, cause: &str) -> Failure {
        Failure::new(exit::UNREACHABLE, "what answers there is no gateway of Evergrant")
            .at(&self.address)
            .because(cause)
            .hint("give the address of the admin listener, not that of the proxy, with --admin-listen")
    }
}

/// Where the gateway's admin listener is.
fn address(layers: &Layers) -> Result<Address, Failure> {
    let key = Setting::AdminListen;
    let default = || Found { value: key.spec().default.unwrap_or_default().to_owned(), origin: Origin::Default };
    let found = layers.plain(key).unwrap_or_else(default);
    let address = values::listen_addresses(key, &found)?.into_iter().next();
    match address {
        Some(address) if address.tcp().is_none_or(|addr| addr.port() != 0) => Ok(address),
        Some(_) | None => Err(Failure::new(exit::CONFIG, "the gateway's admin listener is not known")
            .at(&found.origin)
            .because("port 0 is another port at each start")
            .hint("the gateway's log names it: give it with --admin-listen")),
    }
}

fn no_answer(address: &Address, cause: String) -> Failure {
    Failure::new(exit::UNREACHABLE, "no gateway answers").at(address).because(cause).hint(
        "start one with `evergrant gateway`; if it listens elsewhere, give its admin listener with --admin-listen",
    )
}

/// The innermost reason: the outer ones repeat the URL.
fn root_of(error: &dyn std::error::Error) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    let text = root.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_ANSWER: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_means_all_is_asked_on_loopback() {
        for (bound, asked) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.1.2.3:1", "10.1.2.3:1")] {
            assert_eq!(reachable(bound.parse().unwrap()).to_string(), asked);
        }
    }
}
