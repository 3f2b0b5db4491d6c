//! Who may call the gateway, and from where.
//!
//! A listener beyond loopback has callers whose user no system can tell. It needs a caller secret, or the word `any`,
//! before the gateway starts: nobody should learn from a stranger that it was open.

use evergrant_core::Secret;
use evergrant_gateway::{Address, Callers, GatewayConfig};
use url::Url;

use super::{Findings, Listen};
use crate::exit;
use crate::failure::{Failure, nearest};
use crate::settings::catalog::Setting;
use crate::settings::file::secret_hint;
use crate::settings::layers::Layers;
use crate::settings::origin::{Found, Origin};
use crate::settings::values::{self, bad_value};

const CALLERS: [Callers; 3] = [Callers::SameUser, Callers::Secret, Callers::Any];
/// A shorter secret could be guessed.
const SHORTEST_SECRET: usize = 16;

/// Who may call the gateway.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    callers: Callers,
    admin_callers: Callers,
    caller_secret: Option<Secret>,
    allowed_hosts: Vec<String>,
    allowed_origins: Vec<String>,
    verdict_header: bool,
}

impl Access {
    /// Puts these settings into a gateway's.
    pub(crate) fn apply(&self, config: &mut GatewayConfig) {
        let this = self.clone();
        config.callers = this.callers;
        config.admin_callers = this.admin_callers;
        config.caller_secret = this.caller_secret;
        config.allowed_hosts = this.allowed_hosts;
        config.allowed_origins = this.allowed_origins;
        config.verdict_header = this.verdict_header;
    }

    /// Refuses to start a gateway that would refuse every caller: only Linux tells whose process calls over loopback.
    pub(crate) fn check_system(&self, listen: &Listen) -> Result<(), Failure> {
        let by_user = (self.callers == Callers::SameUser).then_some(&listen.gateway);
        let port = by_user.and_then(|addresses| addresses.iter().find(|address| address.tcp().is_some()));
        match port {
            Some(port) if !cfg!(target_os = "linux") && self.caller_secret.is_none() => Err(Failure::new(
                exit::CONFIG,
                "nobody could call this gateway",
            )
            .because(format!("this system cannot tell which user calls {port}, and there is no caller secret"))
            .hint(secret_hint(Setting::CallerSecret.spec()))
            .hint("or listen on a Unix socket, as --listen unix:/PATH; --callers any lets everybody use the token")),
            Some(_) | None => Ok(()),
        }
    }
}

/// The access settings, if they fit the listeners.
pub(super) fn resolve(layers: &Layers, listen: Option<&Listen>, findings: &mut Findings) -> Option<Access> {
    let [callers, admin_callers] =
        [Setting::Callers, Setting::AdminCallers].map(|key| findings.keep(read_callers(layers, key)));
    let secret_is_named = layers.secret_origin(Setting::CallerSecret).is_some();
    let caller_secret = findings.keep(caller_secret(layers));
    let allowed_hosts = findings.keep(list(layers, Setting::AllowedHost, host));
    let allowed_origins = findings.keep(list(layers, Setting::AllowOrigin, origin));
    let verdict_header = findings.keep(verdict_header(layers));
    let access = Access {
        callers: callers?,
        admin_callers: admin_callers?,
        caller_secret: caller_secret?,
        allowed_hosts: allowed_hosts?,
        allowed_origins: allowed_origins?,
        verdict_header: verdict_header?,
    };
    for (callers, setting, addresses, key) in [
        (access.callers, Setting::Callers, listen.map(|listen| &listen.gateway), Setting::Listen),
        (access.admin_callers, Setting::AdminCallers, listen.map(|listen| &listen.admin), Setting::AdminListen),
    ] {
        let foreign = addresses.and_then(|addresses| addresses.iter().find(|address| !address.is_local()));
        match (callers, foreign) {
            (Callers::Secret, _) if !secret_is_named => findings.gap(no_secret(layers, setting)),
            (Callers::SameUser, Some(foreign)) if !secret_is_named => {
                findings.gap(unknown_callers(layers, foreign, key, setting));
            }
            (Callers::Any, Some(foreign)) => findings.warn(open_to_all(layers, foreign, key)),
            (Callers::SameUser | Callers::Secret | Callers::Any, _) => {}
        }
    }
    Some(access)
}

fn read_callers(layers: &Layers, key: Setting) -> Result<Callers, Failure> {
    let Some(found) = layers.plain(key) else { return Ok(Callers::SameUser) };
    let word = found.value.trim();
    CALLERS.into_iter().find(|callers| callers.as_str() == word).ok_or_else(|| {
        let words = CALLERS.map(Callers::as_str);
        let failure = bad_value(key, &found.origin, format!("`{word}` is none of {}", words.join(", ")));
        match nearest(word, words) {
            Some(name) => failure.hint(format!("did you mean {name}?")),
            None => failure.hint("write same-user, secret or any"),
        }
    })
}

fn caller_secret(layers: &Layers) -> Result<Option<Secret>, Failure> {
    let Some(found) = layers.secret(Setting::CallerSecret)? else { return Ok(None) };
    let text = found.value.expose();
    let cause = if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        "it has white space or characters that are not ASCII, which cannot be sent in a header field"
    } else if text.len() < SHORTEST_SECRET {
        "it has fewer than 16 characters, so it could be guessed"
    } else {
        return Ok(Some(found.value));
    };
    Err(Failure::new(exit::CONFIG, "cannot use the caller secret")
        .at(&found.origin)
        .because(cause)
        .hint("make one with `head -c 24 /dev/urandom | base64`"))
}

/// The parts of a list that are not empty, each checked.
fn list(layers: &Layers, key: Setting, read: fn(&str) -> Result<String, &'static str>) -> Result<Vec<String>, Failure> {
    let Some(found) = layers.plain(key) else { return Ok(Vec::new()) };
    let parts = found.value.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| read(part).map_err(|cause| bad_part(key, &found, part, cause))).collect()
}

fn bad_part(key: Setting, found: &Found<String>, part: &str, cause: &str) -> Failure {
    bad_value(key, &found.origin, format!("`{part}` {cause}")).hint(format!("write {}", key.spec().example))
}

fn host(text: &str) -> Result<String, &'static str> {
    if text.contains('*') {
        return Err("is a pattern; each name is listed by itself, so that no other name can be made to lead here");
    }
    let authority = text.parse::<http::uri::Authority>().map_err(|_| "is no host name with an optional port")?;
    let is_plain = !authority.host().is_empty() && !text.contains('@');
    is_plain.then(|| text.to_owned()).ok_or("is no host name with an optional port")
}

fn origin(text: &str) -> Result<String, &'static str> {
    if text == "*" || text == "null" {
        return Err("would let every web page use the token");
    }
    let url = Url::parse(text).map_err(|_| "is no origin of the form https://HOST[:PORT]")?;
    let origin = url.origin();
    let is_bare = text.trim_end_matches('/').eq_ignore_ascii_case(&origin.ascii_serialization());
    match origin.is_tuple() && is_bare {
        true => Ok(origin.ascii_serialization()),
        false => Err("is no origin of the form https://HOST[:PORT]; an origin has no path and no default port"),
    }
}

fn verdict_header(layers: &Layers) -> Result<bool, Failure> {
    let Some(found) = layers.plain(Setting::VerdictHeader) else { return Ok(true) };
    values::on_or_off(Setting::VerdictHeader, &found)
}

fn no_secret(layers: &Layers, key: Setting) -> Failure {
    let failure = Failure::new(exit::CONFIG, "there is no caller secret");
    let failure = match layers.origin(key) {
        Some(origin) => failure.at(origin),
        None => failure,
    };
    failure
        .because(format!("`{}` is `secret`, and nothing says which", key.spec().file_key()))
        .hint(secret_hint(Setting::CallerSecret.spec()))
}

fn unknown_callers(layers: &Layers, foreign: &Address, listen: Setting, callers: Setting) -> Failure {
    let cause =
        format!("{foreign} is not loopback, so nobody can tell which user calls, and there is no caller secret");
    bad_value(listen, &layers.origin(listen).unwrap_or(Origin::Default), cause)
        .hint(secret_hint(Setting::CallerSecret.spec()))
        .hint(format!("or listen on 127.0.0.1 or [::1]; {} any lets everybody use the token", callers.spec().flag()))
}

fn open_to_all(layers: &Layers, foreign: &Address, listen: Setting) -> Failure {
    Failure::new(exit::CONFIG, "everybody who can connect may call")
        .at(layers.origin(listen).unwrap_or(Origin::Default))
        .because(format!("{foreign} is not loopback, and any caller is let in"))
        .hint(format!("a caller secret keeps strangers out: {}", secret_hint(Setting::CallerSecret.spec())))
}
