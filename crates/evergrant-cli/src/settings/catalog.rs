//! Every setting there is, once.
//!
//! A setting has one name in four spellings: `--token-url`, `EVERGRANT_TOKEN_URL`, `token_url` in a file, and its words
//! in messages. All of them, the help texts, the check for unknown keys and the file that `config init` writes are made
//! from the table below, so that they cannot disagree.
//!
//! Secrets are the exception: they come from the environment only, or from the file named by their `-file` companion,
//! which is no secret and therefore has all forms. A value on a command line is readable by every user of the machine;
//! a value in a settings file ends up in backups and in version control.
//!
//! `also` lists the variables of other tools that are read when ours is not set, strongest first: those of the Genesys
//! Cloud command line and Terraform provider, of the official samples, and of common scripts.

/// A setting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Setting {
    /// The kind of provider.
    Provider,
    /// The Genesys Cloud region.
    Region,
    /// The issuer of an `oidc` provider.
    Issuer,
    /// The token endpoint.
    TokenUrl,
    /// The API behind the gateway.
    Upstream,
    /// The OAuth client id.
    ClientId,
    /// The OAuth client secret.
    ClientSecret,
    /// The first refresh token of a rotating grant.
    RefreshToken,
    /// A ready access token of the provider's own tools, used as it is.
    AccessToken,
    /// The OAuth grant.
    Grant,
    /// How the client authenticates at the token endpoint.
    ClientAuth,
    /// Requested scopes.
    Scope,
    /// Requested audience.
    Audience,
    /// Requested resource.
    Resource,
    /// Where tokens are kept between runs.
    Store,
    /// The key of an encrypted store.
    StoreKey,
    /// How long a lease on a shared store lasts.
    LeaseTtl,
    /// Permission to keep a rotating refresh token in memory only.
    AllowVolatile,
    /// The gateway's address.
    Listen,
    /// The address of the gateway's status pages.
    AdminListen,
    /// Who may call the gateway.
    Callers,
    /// Who may read the gateway's status pages.
    AdminCallers,
    /// What callers of the gateway show where their user is not enough.
    CallerSecret,
    /// Further names of the gateway.
    AllowedHost,
    /// Origins of web pages that may call the gateway.
    AllowOrigin,
    /// Do refusals carry their verdict?
    VerdictHeader,
    /// Does the gateway answer logins of its callers?
    Broker,
    /// What happens to requests that a rate limit leaves no room for.
    RateLimited,
    /// The rate limit of a provider that names none.
    RateLimit,
    /// The parts of callers in a rate limit.
    CallerWeights,
    /// How early a token is refreshed.
    Slack,
    /// How long a new token rests before it is used.
    Settle,
    /// The clock offset from which on a warning is due.
    SkewWarn,
    /// The route that probes a token.
    ProbePath,
    /// The bound of one operation.
    Timeout,
    /// The bound of one token request.
    TokenTimeout,
    /// How long the upstream may take to answer.
    UpstreamTimeout,
    /// How many tokens may be requested in a time.
    MintBudget,
    /// Additional root certificates.
    CaFile,
    /// Permission to use plain text connections beyond loopback.
    AllowInsecureHttp,
    /// What is logged.
    Log,
}

/// What a setting's value looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Text with a meaning of its own.
    Text,
    /// Texts separated by commas; a flag may be repeated instead, a settings file may have an array.
    List,
    /// `true` or `false`; as a flag it needs no value.
    Switch,
    /// Never a flag and never in a settings file.
    Secret,
    /// A secret of another tool: read from that tool's variables only.
    ForeignSecret,
}

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Spec {
    /// The setting.
    pub(crate) key: Setting,
    /// Its name in kebab case, as in the flag without `--`.
    pub(crate) name: &'static str,
    /// What a value looks like.
    pub(crate) kind: Kind,
    /// The placeholder in help texts.
    pub(crate) placeholder: &'static str,
    /// An example, for the file that `config init` writes.
    pub(crate) example: &'static str,
    /// The value when nobody says otherwise, for help texts and `config check`.
    pub(crate) default: Option<&'static str>,
    /// Variables of other tools.
    pub(crate) also: &'static [&'static str],
    /// One line of help.
    pub(crate) help: &'static str,
}

impl Spec {
    /// The variable, as `EVERGRANT_TOKEN_URL`.
    pub(crate) fn env(&self) -> String {
        format!("EVERGRANT_{}", self.file_key().to_uppercase())
    }

    /// The key in a settings file, as `token_url`.
    pub(crate) fn file_key(&self) -> String {
        self.name.replace('-', "_")
    }

    /// The flag, as `--token-url`.
    pub(crate) fn flag(&self) -> String {
        format!("--{}", self.name)
    }

    /// The name in messages, as `token url`.
    pub(crate) fn words(&self) -> String {
        self.name.replace('-', " ")
    }

    /// Is it one of the values that nobody may see?
    pub(crate) fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret | Kind::ForeignSecret)
    }

    /// The variables that may hold the value, strongest first.
    pub(crate) fn variables(&self) -> Vec<String> {
        let own = (self.kind != Kind::ForeignSecret).then(|| self.env());
        own.into_iter().chain(self.also.iter().map(|&name| name.to_owned())).collect()
    }
}

impl Setting {
    /// The setting's row.
    pub(crate) fn spec(self) -> &'static Spec {
        SPECS.iter().find(|spec| spec.key == self).expect("every setting has a row in the table")
    }
}

/// The setting that a key of a settings file names; dashes count as underscores.
pub(crate) fn by_file_key(key: &str) -> Option<&'static Spec> {
    SPECS.iter().find(|spec| spec.name == key.replace('_', "-"))
}

const fn text(key: Setting, name: &'static str, placeholder: &'static str, help: &'static str) -> Spec {
    Spec { key, name, kind: Kind::Text, placeholder, example: "", default: None, also: &[], help }
}

const fn list(key: Setting, name: &'static str, placeholder: &'static str, help: &'static str) -> Spec {
    Spec { kind: Kind::List, ..text(key, name, placeholder, help) }
}

const fn switch(key: Setting, name: &'static str, help: &'static str) -> Spec {
    Spec { kind: Kind::Switch, default: Some("false"), example: "true", ..text(key, name, "BOOL", help) }
}

const fn secret(key: Setting, name: &'static str, help: &'static str) -> Spec {
    Spec { kind: Kind::Secret, ..text(key, name, "FILE", help) }
}

/// The table, in the order in which a person meets the settings.
pub(crate) const SPECS: &[Spec] = &[
    Spec {
        example: "genesys",
        ..text(
            Setting::Provider,
            "provider",
            "PROVIDER",
            "genesys, oauth2 or oidc; without it a region means genesys, a token URL oauth2, an issuer oidc",
        )
    },
    Spec {
        example: "eu-central-1",
        also: &["GENESYSCLOUD_REGION", "GENESYS_CLOUD_REGION", "GENESYS_REGION", "GENESYS_ENV"],
        ..text(
            Setting::Region,
            "region",
            "REGION",
            "Genesys Cloud region: an AWS name or a domain; needed only for a URL that is not given",
        )
    },
    Spec {
        example: "https://id.example.com",
        ..text(
            Setting::Issuer,
            "issuer",
            "URL",
            "Issuer of an oidc provider; its discovery document names the token endpoint",
        )
    },
    Spec {
        example: "https://id.example.com/oauth/token",
        ..text(Setting::TokenUrl, "token-url", "URL", "Token endpoint")
    },
    Spec {
        example: "https://api.example.com",
        ..text(
            Setting::Upstream,
            "upstream",
            "URL",
            "API that the tokens are for; the gateway and `api` send requests to it",
        )
    },
    Spec {
        example: "my-client",
        also: &["GENESYSCLOUD_OAUTHCLIENT_ID", "GENESYS_CLOUD_CLIENT_ID", "GENESYS_CLIENT_ID"],
        ..text(Setting::ClientId, "client-id", "ID", "OAuth client id")
    },
    Spec {
        also: &["GENESYSCLOUD_OAUTHCLIENT_SECRET", "GENESYS_CLOUD_CLIENT_SECRET", "GENESYS_CLIENT_SECRET"],
        ..secret(Setting::ClientSecret, "client-secret", "the OAuth client secret")
    },
    secret(Setting::RefreshToken, "refresh-token", "the first refresh token; the store keeps its successors"),
    Spec {
        kind: Kind::ForeignSecret,
        also: &["GENESYSCLOUD_ACCESS_TOKEN"],
        ..text(Setting::AccessToken, "access-token", "", "Ready access token, used only without a client id")
    },
    Spec {
        example: "client_credentials",
        ..text(
            Setting::Grant,
            "grant",
            "GRANT",
            "client_credentials or refresh_token; without it a client that has only a refresh token uses that",
        )
    },
    Spec {
        example: "post",
        default: Some("basic"),
        ..text(Setting::ClientAuth, "client-auth", "METHOD", "Client authentication: basic, post or none")
    },
    Spec { example: "read write", ..text(Setting::Scope, "scope", "SCOPES", "Scopes to ask for, separated by spaces") },
    Spec {
        example: "https://api.example.com",
        ..text(Setting::Audience, "audience", "AUDIENCE", "Audience to ask for")
    },
    Spec {
        example: "https://api.example.com",
        ..text(Setting::Resource, "resource", "URI", "Resource to ask for (RFC 8707)")
    },
    Spec {
        example: "file:/var/lib/evergrant/tokens",
        default: Some("memory"),
        ..text(
            Setting::Store,
            "store",
            "STORE",
            "Where tokens are kept between runs: memory, file:PATH or file+plain:PATH",
        )
    },
    secret(Setting::StoreKey, "store-key", "the key of an encrypted store: 32 bytes in base64"),
    Spec {
        example: "6s",
        default: Some("6s"),
        ..text(Setting::LeaseTtl, "lease-ttl", "DURATION", "Lease on a shared store; shorter than the provider's grace")
    },
    switch(Setting::AllowVolatile, "allow-volatile", "Let a rotating refresh token live in memory only"),
    Spec {
        example: "127.0.0.1:7070",
        default: Some("127.0.0.1:7070"),
        ..list(
            Setting::Listen,
            "listen",
            "ADDRESS",
            "Address of the gateway, or several with commas; port 0 takes a free one, unix:/PATH is a Unix socket",
        )
    },
    Spec {
        example: "127.0.0.1:7071",
        default: Some("127.0.0.1:7071"),
        ..list(
            Setting::AdminListen,
            "admin-listen",
            "ADDRESS",
            "Address of the gateway's status pages, or several with commas",
        )
    },
    Spec {
        example: "same-user",
        default: Some("same-user"),
        ..text(
            Setting::Callers,
            "callers",
            "WHO",
            "Who may call the gateway: same-user (callers whose user is not known show the caller secret), secret or any",
        )
    },
    Spec {
        example: "same-user",
        default: Some("same-user"),
        ..text(Setting::AdminCallers, "admin-callers", "WHO", "Who may read the gateway's status pages: as for callers")
    },
    secret(Setting::CallerSecret, "caller-secret", "the caller secret, at least 16 characters"),
    Spec {
        example: "gateway.internal",
        ..list(
            Setting::AllowedHost,
            "allowed-host",
            "HOST",
            "Host name besides the gateway's own that requests may name; may be repeated",
        )
    },
    Spec {
        example: "https://app.example.com",
        ..list(
            Setting::AllowOrigin,
            "allow-origin",
            "ORIGIN",
            "Origin whose web pages may call the gateway; may be repeated",
        )
    },
    Spec {
        example: "on",
        default: Some("on"),
        ..text(Setting::VerdictHeader, "verdict-header", "on|off", "Say in `evergrant-verdict` why a refusal is one")
    },
    Spec {
        example: "on",
        ..text(
            Setting::Broker,
            "broker",
            "on|off",
            "Answer callers' logins with handles that work here alone; on for genesys, else off",
        )
    },
    Spec {
        example: "wait",
        default: Some("wait"),
        ..text(
            Setting::RateLimited,
            "rate-limited",
            "wait|answer",
            "What the gateway does with requests beyond the provider's rate limit: wait, or answer with 429 at once",
        )
    },
    Spec {
        example: "300/60s",
        ..text(
            Setting::RateLimit,
            "rate-limit",
            "N/60s",
            "Rate limit of a provider whose answers name none; without it only a 429 holds requests",
        )
    },
    Spec {
        example: "nightly=3, ui=1",
        ..list(
            Setting::CallerWeights,
            "caller-weights",
            "NAME=N",
            "Part of a caller in the rate limit, by the name in its `evergrant-caller` field; 1 if not given",
        )
    },
    Spec {
        example: "5m",
        ..text(
            Setting::Slack,
            "slack",
            "DURATION",
            "How long before its end a token is refreshed; a fifth of its life if not given",
        )
    },
    Spec {
        example: "10s",
        ..text(
            Setting::Settle,
            "settle",
            "DURATION",
            "How long a new token rests while the old one serves; learned if not given",
        )
    },
    Spec {
        example: "10s",
        default: Some("10s"),
        ..text(Setting::SkewWarn, "skew-warn", "DURATION", "Clock offset from which on a warning is due")
    },
    Spec {
        example: "/api/v2/tokens/me",
        ..text(Setting::ProbePath, "probe-path", "PATH", "Route of the upstream that shows whether a token works")
    },
    Spec {
        example: "30s",
        default: Some("30s"),
        ..text(
            Setting::Timeout,
            "timeout",
            "DURATION",
            "Bound of `token`, of the start of `exec` and of one `api` request",
        )
    },
    Spec {
        example: "10s",
        default: Some("10s"),
        ..text(Setting::TokenTimeout, "token-timeout", "DURATION", "Bound of one try at the token endpoint")
    },
    Spec {
        example: "5m",
        default: Some("5m"),
        ..text(
            Setting::UpstreamTimeout,
            "upstream-timeout",
            "DURATION",
            "How long the gateway waits for the head of an answer once the request was sent whole",
        )
    },
    Spec {
        example: "10/10m",
        ..text(Setting::MintBudget, "mint-budget", "N/10m", "How many tokens may be requested in 10 minutes")
    },
    Spec {
        example: "/etc/ssl/company.pem",
        ..text(Setting::CaFile, "ca-file", "FILE", "Root certificates (PEM) to trust besides the system's")
    },
    switch(Setting::AllowInsecureHttp, "allow-insecure-http", "Let http:// URLs point beyond this machine"),
    Spec {
        example: "info",
        ..text(Setting::Log, "log", "LEVEL", "Log level or filter on standard error: error, warn, info, debug or trace")
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_has_three_spellings() {
        let spec = Setting::TokenUrl.spec();
        assert_eq!(
            (spec.env().as_str(), spec.flag().as_str(), spec.file_key().as_str()),
            ("EVERGRANT_TOKEN_URL", "--token-url", "token_url")
        );
        assert_eq!(by_file_key("token_url").map(|spec| spec.key), Some(Setting::TokenUrl));
        assert_eq!(by_file_key("token-url").map(|spec| spec.key), Some(Setting::TokenUrl));
        assert!(by_file_key("token_uri").is_none());
    }

    #[test]
    fn every_name_and_key_occurs_once() {
        for (index, spec) in SPECS.iter().enumerate() {
            let twin = SPECS[index + 1..].iter().find(|other| other.name == spec.name || other.key == spec.key);
            assert!(twin.is_none(), "{} occurs twice", spec.name);
        }
    }

    #[test]
    fn foreign_secrets_have_no_variable_of_ours() {
        assert_eq!(Setting::AccessToken.spec().variables(), ["GENESYSCLOUD_ACCESS_TOKEN"]);
    }
}
