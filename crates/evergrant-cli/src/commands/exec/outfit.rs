//! What a command's environment is given, and what is taken from it.
//!
//! Each tool reads names of its own, and a child that finds two truths under two names takes the one that we did not
//! think of. So every name that a tool reads is set or taken away here, from one list of facts, for the start of a
//! command and for `--dry-run` alike. What belongs to the user stays: no HTTP proxy is ever set, and `NO_PROXY` only
//! grows by loopback, without which a proxy of the user's would be asked for the way to the gateway.
//!
//! Sources: the settings that the Genesys Cloud CLI (`build/gc/config`), its Terraform provider (`provider_schema.go`)
//! and its tutorials read; curl's manual for the proxy variables.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use evergrant::settings::{CLIENT_ID_ELSEWHERE, CLIENT_SECRET_ELSEWHERE};
use evergrant_core::Secret;
use evergrant_core::profile::{ProfileKind, Region};

use crate::commands::token::{OUR_VARIABLE, provider_variable};
use crate::settings::env_names::secret_variables;

/// Names the file of `--token-file`.
const TOKEN_FILE_VARIABLE: &str = "EVERGRANT_ACCESS_TOKEN_FILE";
const GATEWAY_VARIABLE: &str = "EVERGRANT_GATEWAY_URL";
/// Names the folder of `--sdk-config`.
const SDK_CONFIG_VARIABLE: &str = "EVERGRANT_SDK_CONFIG";
const REGION_VARIABLE: &str = "GENESYSCLOUD_REGION";

/// What of another gateway must not be mixed with ours. Paths before the API's own are not needed.
const OF_ANOTHER_GATEWAY: [&str; 4] = [
    "GENESYSCLOUD_GATEWAY_PATH_NAME",
    "GENESYSCLOUD_GATEWAY_PATH_VALUE",
    "GENESYSCLOUD_GATEWAY_AUTH_USERNAME",
    "GENESYSCLOUD_GATEWAY_AUTH_PASSWORD",
];
const PROXIES: [&str; 6] = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Where a private gateway listens, as every tool wants it written.
pub(super) const GATEWAY_HOST: &str = "127.0.0.1";
/// How a host is written in `NO_PROXY`.
const LOOPBACK: [&str; 2] = [GATEWAY_HOST, "localhost"];

/// All that an environment depends on.
#[derive(Debug)]
pub(super) struct Facts {
    /// The provider.
    pub(super) kind: ProfileKind,
    /// Its region, if it has regions and this one is known.
    pub(super) region: Option<Region>,
    /// What the command sends as its access token.
    pub(super) access_token: Secret,
    /// The private gateway.
    pub(super) gateway: Option<Door>,
    /// The file that holds the token.
    pub(super) token_file: Option<PathBuf>,
    /// The folder with the settings files of SDKs.
    pub(super) sdk_config: Option<PathBuf>,
    /// Is that folder the command's home?
    pub(super) is_home: bool,
}

/// The way into a private gateway.
#[derive(Debug)]
pub(super) struct Door {
    /// The port on loopback.
    pub(super) port: String,
    /// Id and local secret for a tool that logs in.
    pub(super) login: Option<(String, Secret)>,
}

/// What a command's environment is given, and what is taken from it.
#[derive(Debug, Default)]
pub(super) struct Outfit {
    pub(super) set: Vec<Variable>,
    pub(super) taken: Vec<String>,
}

/// A variable of the command.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: &'static str,
    pub(super) value: Value,
}

/// What a variable holds.
#[derive(Debug)]
pub(super) enum Value {
    /// It may be shown.
    Plain(OsString),
    /// It may not; the words say what it is.
    Secret(Secret, &'static str),
}

impl Outfit {
    /// The outfit for a command that would inherit these variables.
    pub(super) fn of(facts: &Facts, inherited: impl Fn(&str) -> Option<OsString>) -> Self {
        let mut outfit = Self::default();
        outfit.give_token(facts);
        if let Some(door) = &facts.gateway {
            outfit.open(door, facts.kind);
            outfit.keep_loopback_off_proxies(&inherited);
        }
        if let Some(region) = facts.region {
            outfit.plain(REGION_VARIABLE, region.aws_name());
        }
        if let Some(folder) = &facts.sdk_config {
            outfit.plain(SDK_CONFIG_VARIABLE, folder);
            if facts.is_home {
                outfit.plain("HOME", folder);
            }
        }
        let is_gone = |name: &String| {
            let is_set = outfit.set.iter().any(|variable| variable.name == name);
            !is_set && inherited(name).is_some()
        };
        outfit.taken = unwanted(facts.gateway.is_some(), &inherited).filter(is_gone).collect();
        outfit
    }

    fn give_token(&mut self, facts: &Facts) {
        let what = if facts.gateway.is_some() { "a handle, good at the gateway only" } else { "an access token" };
        for name in [Some(OUR_VARIABLE), provider_variable(facts.kind)].into_iter().flatten() {
            self.secret(name, &facts.access_token, what);
        }
        if let Some(path) = &facts.token_file {
            self.plain(TOKEN_FILE_VARIABLE, path);
        }
    }

    fn open(&mut self, door: &Door, kind: ProfileKind) {
        self.plain(GATEWAY_VARIABLE, format!("http://{GATEWAY_HOST}:{}", door.port));
        match kind {
            ProfileKind::Genesys => {}
            ProfileKind::Oauth2 | ProfileKind::Oidc => return,
        }
        self.plain("GENESYSCLOUD_GATEWAY_HOST", GATEWAY_HOST);
        self.plain("GENESYSCLOUD_GATEWAY_PORT", &door.port);
        self.plain("GENESYSCLOUD_GATEWAY_PROTOCOL", "http");
        let Some((id, secret)) = &door.login else { return };
        for name in CLIENT_ID_ELSEWHERE {
            self.plain(name, id);
        }
        for name in CLIENT_SECRET_ELSEWHERE {
            self.secret(name, secret, "a local secret, good at the gateway only");
        }
    }

    /// A proxy of the user's must not be asked for the way to loopback. Some tools read the one spelling of the list of
    /// exceptions and some the other, so both get what either had.
    fn keep_loopback_off_proxies(&mut self, inherited: impl Fn(&str) -> Option<OsString>) {
        let given = |name: &str| inherited(name).filter(|value| !value.is_empty());
        if !PROXIES.iter().any(|name| given(name).is_some()) {
            return;
        }
        let known = NO_PROXY.map(given);
        for (name, own) in NO_PROXY.into_iter().zip(&known) {
            let before = own.as_ref().or_else(|| known.iter().flatten().next()).cloned().unwrap_or_default();
            let text = before.to_string_lossy();
            let names = |host: &str| text.split(',').any(|entry| entry.trim() == host || entry.trim() == "*");
            let missing: Vec<_> = LOOPBACK.into_iter().filter(|host| !names(host)).collect();
            if missing.is_empty() && own.is_some() {
                continue;
            }
            let mut value = before.clone();
            for host in missing {
                if !value.is_empty() {
                    value.push(",");
                }
                value.push(host);
            }
            self.plain(name, value);
        }
    }

    fn plain(&mut self, name: &'static str, value: impl AsRef<OsStr>) {
        self.set.push(Variable { name, value: Value::Plain(value.as_ref().to_owned()) });
    }

    fn secret(&mut self, name: &'static str, value: &Secret, what: &'static str) {
        self.set.push(Variable { name, value: Value::Secret(value.clone(), what) });
    }
}

impl Variable {
    /// The value as the command gets it.
    pub(super) fn exposed(&self) -> &OsStr {
        match &self.value {
            Value::Plain(text) => text,
            Value::Secret(secret, _) => OsStr::new(secret.expose()),
        }
    }
}

/// Every variable that no command may inherit: our secrets, and what an `exec` around this one has set.
fn unwanted(has_gateway: bool, inherited: impl Fn(&str) -> Option<OsString>) -> impl Iterator<Item = String> {
    let of_exec = [OUR_VARIABLE, TOKEN_FILE_VARIABLE, GATEWAY_VARIABLE, SDK_CONFIG_VARIABLE];
    let other_gateway = if has_gateway { &OF_ANOTHER_GATEWAY[..] } else { &[] };
    let has_password = inherited("EVERGRANT_STORE").is_some_and(|store| store.to_string_lossy().contains('@'));
    let store = has_password.then_some("EVERGRANT_STORE");
    let named = of_exec.into_iter().chain(other_gateway.iter().copied()).chain(store).map(str::to_owned);
    secret_variables().chain(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(kind: ProfileKind) -> Facts {
        Facts {
            kind,
            region: None,
            access_token: Secret::from("t0ken"),
            gateway: None,
            token_file: None,
            sdk_config: None,
            is_home: false,
        }
    }

    fn with_gateway(kind: ProfileKind) -> Facts {
        let login = Some(("my-id".to_owned(), Secret::from("l0cal")));
        Facts { gateway: Some(Door { port: "4711".to_owned(), login }), ..facts(kind) }
    }

    fn outfit(facts: &Facts, inherited: &[(&str, &str)]) -> Outfit {
        let find = |name: &str| inherited.iter().find(|(known, _)| *known == name);
        Outfit::of(facts, |name| find(name).map(|(_, value)| OsString::from(value)))
    }

    fn set(outfit: &Outfit) -> Vec<(&str, &str)> {
        outfit.set.iter().map(|variable| (variable.name, variable.exposed().to_str().unwrap())).collect()
    }

    #[test]
    fn a_command_of_genesys_without_a_gateway_gets_token_and_region() {
        let facts = Facts { region: Region::parse("mypurecloud.ie").ok(), ..facts(ProfileKind::Genesys) };
        let outfit = outfit(&facts, &[("GENESYSCLOUD_REGION", "mypurecloud.ie"), ("HTTP_PROXY", "http://p")]);
        let wanted = [
            ("EVERGRANT_ACCESS_TOKEN", "t0ken"),
            ("GENESYSCLOUD_ACCESS_TOKEN", "t0ken"),
            ("GENESYSCLOUD_REGION", "eu-west-1"),
        ];
        assert_eq!(set(&outfit), wanted);
    }

    #[test]
    fn every_family_of_names_leads_to_the_gateway() {
        let outfit = outfit(&with_gateway(ProfileKind::Genesys), &[]);
        let wanted = [
            ("EVERGRANT_ACCESS_TOKEN", "t0ken"),
            ("GENESYSCLOUD_ACCESS_TOKEN", "t0ken"),
            ("EVERGRANT_GATEWAY_URL", "http://127.0.0.1:4711"),
            ("GENESYSCLOUD_GATEWAY_HOST", "127.0.0.1"),
            ("GENESYSCLOUD_GATEWAY_PORT", "4711"),
            ("GENESYSCLOUD_GATEWAY_PROTOCOL", "http"),
            ("GENESYSCLOUD_OAUTHCLIENT_ID", "my-id"),
            ("GENESYS_CLOUD_CLIENT_ID", "my-id"),
            ("GENESYS_CLIENT_ID", "my-id"),
            ("GENESYSCLOUD_OAUTHCLIENT_SECRET", "l0cal"),
            ("GENESYS_CLOUD_CLIENT_SECRET", "l0cal"),
            ("GENESYS_CLIENT_SECRET", "l0cal"),
        ];
        assert_eq!(set(&outfit), wanted);
        assert!(!format!("{outfit:?}").contains("l0cal"));
    }

    #[test]
    fn other_providers_have_no_names_of_their_own() {
        for kind in [ProfileKind::Oauth2, ProfileKind::Oidc] {
            let outfit = outfit(&with_gateway(kind), &[]);
            let wanted = [("EVERGRANT_ACCESS_TOKEN", "t0ken"), ("EVERGRANT_GATEWAY_URL", "http://127.0.0.1:4711")];
            assert_eq!(set(&outfit), wanted);
        }
    }

    #[test]
    fn secrets_and_what_another_exec_set_are_taken_away_and_nothing_else() {
        let inherited = [
            ("EVERGRANT_CLIENT_SECRET", "s"),
            ("GENESYS_CLIENT_SECRET_FILE", "/s"),
            ("EVERGRANT_GATEWAY_URL", "http://127.0.0.1:1"),
            ("EVERGRANT_STORE", "redis://:pw@host"),
            ("EVERGRANT_CLIENT_ID", "i"),
            ("GENESYSCLOUD_GATEWAY_PATH_VALUE", "p"),
            ("GENESYSCLOUD_GATEWAY_HOST", "their.gateway"),
        ];
        let alone = outfit(&facts(ProfileKind::Genesys), &inherited);
        let mut taken = alone.taken;
        taken.sort();
        let wanted =
            ["EVERGRANT_CLIENT_SECRET", "EVERGRANT_GATEWAY_URL", "EVERGRANT_STORE", "GENESYS_CLIENT_SECRET_FILE"];
        assert_eq!(taken, wanted);
        let with_ours = outfit(&with_gateway(ProfileKind::Genesys), &inherited);
        assert!(with_ours.taken.iter().any(|name| name == "GENESYSCLOUD_GATEWAY_PATH_VALUE"));
        assert!(!with_ours.taken.iter().any(|name| name == "EVERGRANT_GATEWAY_URL"), "it is set anew");
    }

    #[test]
    fn loopback_is_no_matter_of_a_proxy() {
        let exceptions = |inherited: &[(&str, &str)]| {
            let outfit = outfit(&with_gateway(ProfileKind::Oauth2), inherited);
            let of =
                |wanted| set(&outfit).iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
            [of("NO_PROXY"), of("no_proxy")]
        };
        let both = |value: &str| [Some(value.to_owned()), Some(value.to_owned())];
        assert_eq!(exceptions(&[]), [None, None]);
        assert_eq!(exceptions(&[("NO_PROXY", "a"), ("HTTP_PROXY", "")]), [None, None]);
        for proxy in PROXIES {
            assert_eq!(exceptions(&[(proxy, "http://p")]), both("127.0.0.1,localhost"));
        }
        let proxy = ("HTTPS_PROXY", "http://p");
        assert_eq!(exceptions(&[proxy, ("NO_PROXY", "a,.b")]), both("a,.b,127.0.0.1,localhost"));
        assert_eq!(exceptions(&[proxy, ("no_proxy", "localhost")]), both("localhost,127.0.0.1"));
        let [upper, lower] = exceptions(&[proxy, ("NO_PROXY", "a"), ("no_proxy", "b")]);
        assert_eq!(
            [upper.as_deref(), lower.as_deref()],
            [Some("a,127.0.0.1,localhost"), Some("b,127.0.0.1,localhost")]
        );
        assert_eq!(exceptions(&[proxy, ("NO_PROXY", "*")]), [None, Some("*".to_owned())]);
        assert_eq!(exceptions(&[proxy, ("no_proxy", "127.0.0.1, localhost"), ("NO_PROXY", "*")]), [None, None]);
    }

    #[test]
    fn home_is_changed_for_the_one_who_asks() {
        let sdk_config = Some(PathBuf::from("/p/home"));
        let folder = Facts { sdk_config, ..with_gateway(ProfileKind::Genesys) };
        assert!(set(&outfit(&folder, &[])).contains(&("EVERGRANT_SDK_CONFIG", "/p/home")));
        assert!(!set(&outfit(&folder, &[])).iter().any(|(name, _)| *name == "HOME"));
        let home = Facts { is_home: true, ..folder };
        assert!(set(&outfit(&home, &[])).contains(&("HOME", "/p/home")));
    }
}
