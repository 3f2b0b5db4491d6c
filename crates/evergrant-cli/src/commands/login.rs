//! `evergrant login`: a person logs in, in a browser or on another device, and the store keeps what comes of it.
//!
//! The browser is opened if there is one; its URL is printed in any case, because it may be wanted in another browser or
//! on another machine whose port is forwarded here. Nothing bounds the wait but `--wait`: people look for passwords.

mod callback;

use std::process::Stdio;

use evergrant::Credential;
use evergrant::core::time::Span;
use evergrant::login::{DeviceStep, LoggedIn, Login, LoginError};
use evergrant::store::StoreUrl;
use evergrant_core::wire::TokenFailureKind;
use serde_json::json;
use tokio::sync::mpsc;
use url::{Host, Url};

use self::callback::{Arrival, Callback, Page};
use crate::args::LoginArgs;
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::launch;
use crate::render;
use crate::settings::catalog::Setting;
use crate::settings::env_names::secret_variables;
use crate::settings::layers::Layers;
use crate::settings::origin::{Found, Origin};
use crate::settings::resolve::{Identity, Settings};
use crate::settings::values::bad_value;

/// Logs a person in.
pub(crate) fn run(args: &LoginArgs, layers: &Layers) -> Result<u8, Failures> {
    let says_grant = layers.plain(Setting::Grant).is_some();
    let settings = Settings::for_tokens(&layers.with_grant_of_a_login())?;
    let redirect_uri = redirect_uri(layers)?;
    let logged_in = launch::small_runtime()?.block_on(async {
        let credential = credential(&settings).await?;
        let login = prepare(&settings, credential, layers).await?;
        let work = async {
            if args.device {
                on_device(&login).await
            } else {
                in_browser(&login, &redirect_uri, !args.no_browser).await
            }
        };
        match tokio::time::timeout(args.wait.to_duration(), work).await {
            Ok(done) => done,
            Err(_) => Err(failure(&LoginError::Expired)),
        }
    })?;
    tell(args, &settings, &logged_in, says_grant)?;
    Ok(exit::OK)
}

async fn prepare(settings: &Settings, credential: Credential, layers: &Layers) -> Result<Login, Failure> {
    if settings.store.url == StoreUrl::Memory {
        return Err(Failure::new(exit::CONFIG, "a login needs a store that lasts")
            .at("store = memory")
            .because("what comes of it would be gone when this command ends")
            .hint("set --store file:PATH or redis://HOST (with EVERGRANT_STORE_KEY), or --store file+plain:PATH"));
    }
    let store = settings.store.open()?;
    let device_url = layers.plain(Setting::DeviceUrl).map(|found| found.value.trim().to_owned());
    let http = launch::http(settings);
    let login = Login::new(&settings.profile, credential, store, &http, device_url);
    login.await.map_err(|error| failure(&error))
}

async fn credential(settings: &Settings) -> Result<Credential, Failure> {
    match &settings.identity {
        Identity::Client(client) => launch::credential(client, settings).await,
        Identity::ReadyToken(_) => Err(Failure::new(exit::CONFIG, "`login` needs a client id")
            .hint("set EVERGRANT_CLIENT_ID to the id of an OAuth client that people may log in for")),
    }
}

/// The redirect URI, if the browser can come back to it here.
fn redirect_uri(layers: &Layers) -> Result<Url, Failure> {
    let key = Setting::RedirectUri;
    let default = || Found { value: key.spec().default.unwrap_or_default().to_owned(), origin: Origin::Default };
    let found = layers.plain(key).unwrap_or_else(default);
    let bad = |cause: &str| bad_value(key, &found.origin, cause).hint(format!("write {}", key.spec().example));
    let url = Url::parse(found.value.trim()).map_err(|error| bad(&format!("it is no URL: {error}")))?;
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address == std::net::Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(address)) => address == std::net::Ipv6Addr::LOCALHOST,
        None => false,
    };
    if url.scheme() != "http" || !is_local {
        return Err(bad("the browser comes back to this command, so it is http:// on 127.0.0.1, [::1] or localhost"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("it has a query or a fragment, which the answer would be mixed up with"));
    }
    Ok(url)
}

async fn in_browser(login: &Login, redirect_uri: &Url, open: bool) -> Result<LoggedIn, Failure> {
    let callback = Callback::bind(redirect_uri).await?;
    let begun = login.begin(&callback.redirect_uri).map_err(|error| failure(&error))?;
    anstream::eprintln!("Log in here:\n\n  {}\n", begun.url());
    if open && let Err(error) = open_browser(begun.url()) {
        anstream::eprintln!("no browser could be opened ({error}); open the address yourself");
    }
    let (sender, mut arrivals) = mpsc::channel(1);
    let serving = callback.serve(sender);
    let finishing = async {
        while let Some(Arrival { redirect, reply }) = arrivals.recv().await {
            let result = login.finish(&begun, redirect).await;
            let page = match &result {
                Ok(_) => Page::Done,
                Err(LoginError::NotOurs) => Page::NotOurs,
                Err(error) => Page::Failed(error.to_string()),
            };
            // A browser that has gone away sees nothing; the login stands all the same.
            let _ = reply.send(page);
            match result {
                Err(LoginError::NotOurs) => {
                    tracing::warn!("something that belongs to no login arrived and was ignored")
                }
                Ok(logged_in) => return Ok(logged_in),
                Err(error) => return Err(failure(&error)),
            }
        }
        Err(failure(&LoginError::Expired))
    };
    let result = tokio::select! {
        result = finishing => result,
        () = serving => Err(failure(&LoginError::Expired)),
    };
    callback.close().await;
    result
}

/// Starts the person's browser, without our secrets in its environment.
fn open_browser(url: &Url) -> std::io::Result<()> {
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for mut command in open::commands(url.as_str()) {
        secret_variables().for_each(|name| _ = command.env_remove(name));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn on_device(login: &Login) -> Result<LoggedIn, Failure> {
    let mut begun = login.begin_device().await.map_err(|error| failure(&error))?;
    anstream::eprintln!(
        "On any device, open\n\n  {}\n\nand enter the code\n\n  {}\n",
        begun.verification_uri,
        begun.user_code
    );
    if let Some(complete) = &begun.verification_uri_complete {
        anstream::eprintln!("or open {complete}");
    }
    loop {
        match login.ask_device(&mut begun).await.map_err(|error| failure(&error))? {
            DeviceStep::Done(logged_in) => return Ok(logged_in),
            DeviceStep::Wait(span) => tokio::time::sleep(span.to_duration()).await,
        }
    }
}

fn tell(args: &LoginArgs, settings: &Settings, logged_in: &LoggedIn, says_grant: bool) -> Result<(), Failure> {
    if !logged_in.has_refresh_token {
        anstream::eprintln!(
            "warning: the provider gave no refresh token; the login ends with its access token\n\
             hint: ask for offline access with --scope, or allow refresh tokens for the client"
        );
    }
    if !says_grant {
        anstream::eprintln!(
            "hint: let later commands use this login: EVERGRANT_GRANT=authorization_code, and the same store"
        );
    }
    if args.json {
        return render::json(&json!({
            "logged_in": true,
            "renewable": logged_in.has_refresh_token,
            "expires_in": logged_in.expires_in.map(Span::as_secs),
            "scope": logged_in.scope,
            "store": settings.store.url.to_string(),
        }));
    }
    anstream::eprintln!("Logged in. The store {} keeps it.", settings.store.url);
    Ok(())
}

fn failure(error: &LoginError) -> Failure {
    let (code, hint) = match error {
        LoginError::NoTokenUrl => (exit::CONFIG, "set EVERGRANT_TOKEN_URL, EVERGRANT_REGION or EVERGRANT_ISSUER"),
        LoginError::NoAuthorizeUrl => (exit::CONFIG, "set EVERGRANT_AUTHORIZE_URL, or an issuer that names it"),
        LoginError::NoDeviceUrl => {
            (exit::CONFIG, "set EVERGRANT_DEVICE_URL, or log in with a browser, without --device")
        }
        LoginError::Target(_) | LoginError::Transport(_) => {
            (exit::CONFIG, "`evergrant config check` shows where each setting comes from")
        }
        LoginError::Discover(_) => (exit::UNREACHABLE, "check the issuer and the network"),
        LoginError::NotOurs | LoginError::ForeignIssuer | LoginError::NoCode => {
            (exit::BAD_ANSWER, "run `evergrant login` again, and close other login windows")
        }
        LoginError::Refused(_) => (exit::REJECTED, "log in again, and allow what the client asks for"),
        LoginError::Expired => (exit::LOGIN_REQUIRED, "run `evergrant login` again, or give more time with --wait"),
        LoginError::Token(failure) if NO_ANSWER.contains(&failure.kind) => {
            (exit::UNREACHABLE, "check the token URL and the network, and log in again: a code is good for one use")
        }
        LoginError::Token(failure) if failure.kind == TokenFailureKind::InvalidGrant => {
            (exit::REJECTED, "the code was spent, too old, or not meant for this client and redirect URI: log in again")
        }
        LoginError::Token(_) => {
            (exit::REJECTED, "check the client id, its secret, --client-auth, and the redirect URI at the provider")
        }
        LoginError::Store(error) => return launch::store_failure(error),
    };
    Failure::new(code, "nobody is logged in").because(error).hint(hint)
}

const NO_ANSWER: [TokenFailureKind; 3] =
    [TokenFailureKind::Unreachable, TokenFailureKind::TimedOut, TokenFailureKind::Lost];
