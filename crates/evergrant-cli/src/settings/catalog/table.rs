//! The table itself, one row for each setting.
//!
//! The order is that in which a person meets the settings: who, from where, kept where; the gateway; how long; the rest.

use evergrant::settings::{CLIENT_ID_ELSEWHERE, CLIENT_SECRET_ELSEWHERE, REGION_ELSEWHERE};

use super::{Kind, Setting, Spec};

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
        also: REGION_ELSEWHERE,
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
        also: CLIENT_ID_ELSEWHERE,
        ..text(Setting::ClientId, "client-id", "ID", "OAuth client id")
    },
    Spec { also: CLIENT_SECRET_ELSEWHERE, ..secret(Setting::ClientSecret, "client-secret", "the OAuth client secret") },
    secret(
        Setting::ClientSecretNext,
        "client-secret-next",
        "the client secret that is about to take its place; used where the provider refuses the other",
    ),
    Spec {
        example: "keyring",
        ..text(
            Setting::ClientSecretIn,
            "client-secret-in",
            "PLACE",
            "Where else the client secret is: keyring or keyring:NAME, where `secret set` puts it",
        )
    },
    Spec {
        example: "keyring:next",
        ..text(
            Setting::ClientSecretNextIn,
            "client-secret-next-in",
            "PLACE",
            "Where else the next client secret is: keyring:NAME, where `secret set --next` puts it",
        )
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
            "client_credentials, refresh_token (or authorization_code, after `login`), jwt_bearer or saml2_bearer; without \
             it a client that has only a refresh token uses that",
        )
    },
    Spec {
        example: "post",
        default: Some("basic"),
        ..text(
            Setting::ClientAuth,
            "client-auth",
            "METHOD",
            "Client authentication: basic, post, none, private_key_jwt or tls_client_auth",
        )
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
    secret(Setting::PrivateKey, "private-key", "the private key (PEM) that signs assertions"),
    Spec {
        example: "key-1",
        ..text(Setting::KeyId, "key-id", "ID", "Name by which the provider knows the private key (`kid`)")
    },
    Spec {
        example: "ES256",
        ..text(Setting::SigningAlg, "signing-alg", "ALG", "Algorithm to sign with; what fits the key if not given")
    },
    Spec {
        example: "ada@example.com",
        ..text(Setting::Subject, "subject", "NAME", "Whom a jwt_bearer assertion is about; the client if not given")
    },
    Spec {
        example: "https://id.example.com",
        ..text(
            Setting::AssertionAudience,
            "assertion-audience",
            "AUDIENCE",
            "For whom signed assertions are; the token URL if not given",
        )
    },
    secret(
        Setting::Assertion,
        "assertion",
        "an assertion made elsewhere, for jwt_bearer or saml2_bearer; read for each token request",
    ),
    secret(
        Setting::ClientAssertion,
        "client-assertion",
        "a JWT made elsewhere that stands for the client, for private_key_jwt; read for each token request",
    ),
    Spec {
        example: "/etc/evergrant/client.pem",
        ..text(Setting::ClientCert, "client-cert", "FILE", "Client certificate (PEM), for tls_client_auth")
    },
    Spec {
        example: "/etc/evergrant/client.key",
        ..text(Setting::ClientKey, "client-key", "FILE", "Private key (PEM) of the client certificate")
    },
    Spec {
        example: "orgName=acme",
        ..list(
            Setting::TokenField,
            "token-field",
            "NAME=VALUE",
            "Further field of token requests, as `orgName` for SAML at Genesys Cloud; may be repeated",
        )
    },
    Spec {
        example: "https://id.example.com/oauth/authorize",
        ..text(Setting::AuthorizeUrl, "authorize-url", "URL", "Where `login` sends the browser")
    },
    Spec {
        example: "https://id.example.com/oauth/device",
        ..text(Setting::DeviceUrl, "device-url", "URL", "Where `login --device` begins")
    },
    Spec {
        example: "http://127.0.0.1:8484/callback",
        default: Some("http://127.0.0.1:0/callback"),
        ..text(
            Setting::RedirectUri,
            "redirect-uri",
            "URL",
            "Where `login` comes back to, on loopback; port 0 takes a free one, if the provider allows any",
        )
    },
    Spec {
        example: "file:/var/lib/evergrant/tokens",
        default: Some("memory"),
        ..text(
            Setting::Store,
            "store",
            "STORE",
            "Where tokens are kept between runs: memory, file:PATH, file+plain:PATH, keyring, or redis://HOST, also with rediss, +sentinel and +cluster",
        )
    },
    secret(Setting::StoreKey, "store-key", "the key of an encrypted store: 32 bytes in base64"),
    Spec {
        example: "keyring",
        ..text(
            Setting::StoreKeyIn,
            "store-key-in",
            "PLACE",
            "Where the key of an encrypted store is kept: keyring, which makes one at the first use",
        )
    },
    secret(Setting::StorePassphrase, "store-passphrase", "the passphrase of an encrypted store file, instead of a key"),
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
            "Answer callers' logins with handles that work here alone; on for genesys, else off. Logouts are answered here \
             in any case",
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
            "Bound of `token`, of the start of `exec` and of one `api` request; only a refresh token on its way is waited \
             for longer, until its token request ends",
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
