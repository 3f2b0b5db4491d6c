//! Reads one thing from an API, with a token that works: `cargo run -p evergrant --example library`.
//!
//! It takes `EVERGRANT_TOKEN_URL`, `EVERGRANT_UPSTREAM`, `EVERGRANT_CLIENT_ID` and `EVERGRANT_CLIENT_SECRET` from the
//! environment.

use std::error::Error;

use evergrant::core::Secret;
use evergrant::core::profile::Profile;
use evergrant::{Client, Credential, TokenSource};

/// Reads the settings and prints the answer.
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let setting = |name: &str| std::env::var(name).map_err(|_| format!("set {name}"));
    let secret = Secret::new(setting("EVERGRANT_CLIENT_SECRET")?);
    let credential = Credential::client_credentials(setting("EVERGRANT_CLIENT_ID")?, secret);
    let answer = read(setting("EVERGRANT_TOKEN_URL")?, setting("EVERGRANT_UPSTREAM")?, credential).await?;
    std::io::Write::write_all(&mut std::io::stdout(), answer.as_bytes())?;
    Ok(())
}

/// The answer to one request.
pub(crate) async fn read(token_url: String, api: String, credential: Credential) -> Result<String, Box<dyn Error>> {
    let profile = Profile { token_url: Some(token_url), ..Profile::oauth2() };
    // One source for the whole program: clones share its token.
    let source = TokenSource::builder(profile, credential).build()?;
    let client = Client::builder(source).origin(api).build()?;

    let answer = client.get("/api/v2/users").query(&[("pageSize", "25")]).send().await?;
    if let Some(verdict) = answer.verdict() {
        return Err(format!("refused, {}: {}", verdict.cause.name(), verdict.remedy).into());
    }
    Ok(answer.text().await?)
}
