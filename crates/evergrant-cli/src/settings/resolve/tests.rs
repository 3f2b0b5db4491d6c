use super::*;
use crate::settings::env_names::Environment;
use crate::settings::flags::Flags;
use evergrant::assertion::Assertion;
use evergrant::grant::{ClientAuth, Credential, Grant};
use evergrant::store::{KeyringName, KeyringSecret};
use evergrant::{SecretPlace, SecretPlaces};
use evergrant_core::Secret;
use evergrant_core::pace::WhenLimited;
use evergrant_core::profile::ProfileKind;

const CLIENT: &[(&str, &str)] = &[("EVERGRANT_CLIENT_ID", "id"), ("EVERGRANT_CLIENT_SECRET", "s3cr3t")];

fn layers(pairs: &[(&str, &str)]) -> Layers {
    let pairs = pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    Layers::read(Flags::default(), Environment::from_pairs(pairs)).unwrap()
}

fn resolve(pairs: &[(&str, &str)]) -> (Option<Settings>, Findings) {
    Settings::resolve(&layers(pairs))
}

/// Settings of a client with these variables besides.
fn good(pairs: &[(&str, &str)]) -> Settings {
    let all = [CLIENT, pairs].concat();
    let (settings, findings) = resolve(&all);
    assert!(findings.errors.is_empty() && findings.gaps.is_empty(), "{findings:?}");
    settings.unwrap()
}

/// The client that these variables describe, and its first refresh token.
fn client(pairs: &[(&str, &str)]) -> (Credential, Option<Secret>) {
    let Identity::Client(client) = good(pairs).identity else { panic!("not a client") };
    (client.credential, client.seed)
}

/// The error, or else the gap, that these variables lead to.
fn bad(pairs: &[(&str, &str)]) -> String {
    let all = [CLIENT, pairs].concat();
    let (_, findings) = resolve(&all);
    let text = findings.errors.first().or_else(|| findings.gaps.first()).unwrap().plain();
    assert!(!text.contains("s3cr3t"), "{text}");
    text
}

#[test]
fn the_provider_follows_from_what_is_given() {
    const URL: (&str, &str) = ("EVERGRANT_TOKEN_URL", "https://id.example.com/t");
    const API: (&str, &str) = ("EVERGRANT_UPSTREAM", "https://api.example.com/base");
    const REGION: (&str, &str) = ("EVERGRANT_REGION", "eu-central-1");
    for (pairs, kind, token_url, upstream) in [
        (
            &[REGION][..],
            ProfileKind::Genesys,
            "https://login.mypurecloud.de/oauth/token",
            Some("https://api.mypurecloud.de/"),
        ),
        (&[REGION, API], ProfileKind::Genesys, "https://login.mypurecloud.de/oauth/token", Some(API.1)),
        (&[REGION, URL], ProfileKind::Genesys, URL.1, Some("https://api.mypurecloud.de/")),
        (&[REGION, URL, API], ProfileKind::Oauth2, URL.1, Some(API.1)),
        (&[URL, API], ProfileKind::Oauth2, URL.1, Some(API.1)),
        (&[URL], ProfileKind::Oauth2, URL.1, None),
        (&[("EVERGRANT_PROVIDER", "genesys"), URL, API], ProfileKind::Genesys, URL.1, Some(API.1)),
        (
            &[("GENESYSCLOUD_REGION", "mypurecloud.de")],
            ProfileKind::Genesys,
            "https://login.mypurecloud.de/oauth/token",
            Some("https://api.mypurecloud.de/"),
        ),
        (
            &[("GENESYS_ENV", "usw2.pure.cloud")],
            ProfileKind::Genesys,
            "https://login.usw2.pure.cloud/oauth/token",
            Some("https://api.usw2.pure.cloud/"),
        ),
    ] {
        let settings = good(pairs);
        assert_eq!(settings.profile.kind, kind, "{pairs:?}");
        assert_eq!(settings.profile.token_url.as_deref(), Some(token_url), "{pairs:?}");
        assert_eq!(settings.upstream.as_ref().map(Url::as_str), upstream, "{pairs:?}");
    }
}

#[test]
fn an_issuer_means_oidc_and_stays_as_written() {
    let settings = good(&[("EVERGRANT_ISSUER", "https://id.example.com")]);
    assert_eq!(settings.profile.kind, ProfileKind::Oidc);
    assert_eq!(settings.profile.issuer.as_deref(), Some("https://id.example.com"));
    assert_eq!(settings.profile.token_url, None);
}

#[test]
fn ours_are_stronger_than_the_variables_of_other_tools() {
    let names = ["EVERGRANT_CLIENT_ID", "GENESYSCLOUD_OAUTHCLIENT_ID", "GENESYS_CLOUD_CLIENT_ID", "GENESYS_CLIENT_ID"];
    for start in 0..names.len() {
        let pairs: Vec<(&str, &str)> = names[start..].iter().map(|&name| (name, name)).collect();
        assert_eq!(layers(&pairs).plain(Setting::ClientId).unwrap().value, names[start]);
    }
}

#[test]
fn flags_beat_variables_and_variables_beat_defaults() {
    let found = |value: &str| Found { value: value.to_owned(), origin: Origin::Flag("--region".into()) };
    let flags = Flags { values: [((Setting::Region, false), found("a"))].into(), ..Flags::default() };
    let environment = || Environment::from_pairs([("EVERGRANT_REGION".to_owned(), "b".to_owned())]);
    let with = Layers::read(flags, environment()).unwrap();
    assert_eq!(with.plain(Setting::Region).unwrap().value, "a");
    let without = Layers::read(Flags::default(), environment()).unwrap();
    assert_eq!(without.plain(Setting::Region).unwrap().value, "b");
}

#[test]
fn a_client_uses_client_credentials_unless_it_says_otherwise() {
    const URL: (&str, &str) = ("EVERGRANT_TOKEN_URL", "https://id.example.com/t");
    let (credential, seed) = client(&[URL]);
    assert_eq!((credential.grant, credential.client_auth), (Grant::ClientCredentials, ClientAuth::Basic));
    assert!(seed.is_none());

    let pairs = [
        URL,
        ("EVERGRANT_GRANT", "refresh_token"),
        ("EVERGRANT_REFRESH_TOKEN", "r"),
        ("EVERGRANT_STORE", "file+plain:/tmp/x"),
    ];
    let (credential, seed) = client(&pairs);
    assert_eq!(credential.grant, Grant::RefreshToken);
    assert_eq!(seed, Some("r".into()));
}

#[test]
fn a_ready_token_is_used_only_without_a_client_id() {
    const READY: &[(&str, &str)] = &[("GENESYSCLOUD_ACCESS_TOKEN", "tok"), ("EVERGRANT_REGION", "us-east-1")];
    assert!(matches!(good(READY).identity, Identity::Client(_)));
    assert!(matches!(resolve(READY).0.unwrap().identity, Identity::ReadyToken(token) if token == "tok".into()));
}

#[test]
fn a_rotating_grant_in_memory_needs_permission() {
    let rotating = [
        ("EVERGRANT_REGION", "us-east-1"),
        ("EVERGRANT_GRANT", "refresh_token"),
        ("EVERGRANT_REFRESH_TOKEN", "r3fr3sh"),
    ];
    insta::assert_snapshot!(bad(&rotating), @r"
    error: a refresh token that changes with every use cannot live in memory alone
      in: store = memory
      cause: the newest refresh token would be lost with this process, and the grant with it
    hint: keep it with --store file:PATH (set EVERGRANT_STORE_KEY) or --store file+plain:PATH
    hint: if the provider's refresh tokens do not change, or the loss is acceptable: --allow-volatile
    ");
    good(&[&rotating[..], &[("EVERGRANT_ALLOW_VOLATILE", "1")]].concat());
}

#[test]
fn a_refresh_token_without_its_grant_is_ignored_with_a_warning() {
    let pairs = [CLIENT, &[("EVERGRANT_REGION", "us-east-1"), ("EVERGRANT_REFRESH_TOKEN", "r3fr3sh")]].concat();
    let (settings, findings) = resolve(&pairs);
    assert!(settings.is_some());
    assert_eq!(findings.warnings[0].what, "the refresh token is ignored");
}

#[test]
fn an_id_and_a_secret_of_different_tools_are_pointed_out() {
    let pairs = [("EVERGRANT_CLIENT_ID", "id"), ("GENESYS_CLIENT_SECRET", "x"), ("EVERGRANT_REGION", "us-east-1")];
    let (settings, findings) = resolve(&pairs);
    assert!(settings.is_some());
    assert_eq!(findings.warnings.len(), 1);
    let pairs = [
        ("GENESYSCLOUD_OAUTHCLIENT_ID", "id"),
        ("GENESYSCLOUD_OAUTHCLIENT_SECRET", "x"),
        ("EVERGRANT_REGION", "us-east-1"),
    ];
    assert!(resolve(&pairs).1.warnings.is_empty());
}

#[test]
fn white_space_at_the_end_of_a_secret_is_an_error_and_inside_a_warning() {
    let with =
        |secret| resolve(&[CLIENT, &[("EVERGRANT_REGION", "us-east-1"), ("EVERGRANT_CLIENT_SECRET", secret)]].concat());
    for secret in [" a", "a ", "a\n", "a\nb", "a\tb", "\u{a0}a"] {
        assert_eq!(with(secret).1.errors.len(), 1, "{secret:?}");
    }
    let (settings, findings) = with("a b");
    assert!(settings.is_some() && findings.errors.is_empty());
    assert_eq!(findings.warnings[0].what, "the client secret contains white space");
}

#[test]
fn named_slips_are_explained() {
    const REGION: (&str, &str) = ("EVERGRANT_REGION", "us-east-1");
    insta::assert_snapshot!(bad(&[("EVERGRANT_REGION", "us-east-1.mypurecloud.com")]), @r"
    error: cannot use the value of `region`
      in: EVERGRANT_REGION
      cause: `us-east-1.mypurecloud.com` joins a region's name to a domain; the region us-east-1 is at mypurecloud.com
    hint: write us-east-1 or mypurecloud.com
    ");
    insta::assert_snapshot!(bad(&[("EVERGRANT_TOKEN_URL", "https://login.us-east-1.mypurecloud.com/oauth/token")]), @r"
    error: cannot use the value of `token_url`
      in: EVERGRANT_TOKEN_URL
      cause: `login.us-east-1.mypurecloud.com` joins a region's name to a domain; the region us-east-1 is at mypurecloud.com
    hint: write https://login.mypurecloud.com/oauth/token
    ");
    insta::assert_snapshot!(bad(&[("EVERGRANT_REGION", "eu-central-9")]), @r"
    error: cannot use the value of `region`
      in: EVERGRANT_REGION
      cause: `eu-central-9` is none of the Genesys Cloud regions, nor one of their domains
    hint: did you mean eu-central-1?
    ");
    insta::assert_snapshot!(bad(&[("EVERGRANT_TOKEN_URL", "https://api.mypurecloud.de/oauth/token")]), @r"
    error: cannot use the value of `token_url`
      in: EVERGRANT_TOKEN_URL
      cause: api.mypurecloud.de is the API host; tokens come from the login host
    hint: write https://login.mypurecloud.de/oauth/token, or leave it out and set the region eu-central-1
    ");
    insta::assert_snapshot!(bad(&[("EVERGRANT_TOKEN_URL", "http://id.example.com/t")]), @r"
    error: cannot use the value of `token_url`
      in: EVERGRANT_TOKEN_URL
      cause: http://id.example.com/t would send secrets in plain text beyond this machine
    hint: use https://, or --allow-insecure-http if the network in between is trusted
    ");
    insta::assert_snapshot!(bad(&[REGION, ("EVERGRANT_CLIENT_SECRET", "s3cr3t\n")]), @r"
    error: the client secret ends with white space
      in: EVERGRANT_CLIENT_SECRET
      cause: it probably came along when the secret was copied
    hint: store it again without spaces and line breaks, as with `printf %s SECRET > FILE`
    ");
    insta::assert_snapshot!(bad(&[REGION, ("EVERGRANT_STORE", "redis://:s3cr3t@10.0.0.1/0")]), @r"
    error: the store URL is not safe to use
      in: EVERGRANT_STORE
      cause: redis://10.0.0.1:6379 would send the password unprotected
    hint: use rediss://, or allow this with --allow-insecure-http
    ");
    insta::assert_snapshot!(bad(&[REGION, ("EVERGRANT_STORE", "vault:secret/evergrant")]), @r"
    error: cannot use the value of `store`
      in: EVERGRANT_STORE
      cause: unknown store `vault:secret/evergrant`: expected one of `memory`, `file:PATH`, `file+plain:PATH`, `keyring`, `redis://HOST` or `rediss://HOST`
    hint: write memory, file:PATH, file+plain:PATH, keyring, redis://HOST:PORT or rediss://HOST:PORT
    ");
    insta::assert_snapshot!(bad(&[REGION, ("EVERGRANT_GRANT", "password")]), @r"
    error: cannot use the value of `grant`
      in: EVERGRANT_GRANT
      cause: `password` is none of client_credentials, refresh_token, jwt_bearer, saml2_bearer
    hint: write client_credentials or refresh_token or jwt_bearer or saml2_bearer
    ");
    insta::assert_snapshot!(bad(&[REGION, ("EVERGRANT_CLIENT_AUTH", "none")]), @r"
    error: cannot use the value of `client_auth`
      in: EVERGRANT_CLIENT_AUTH
      cause: a public client (`none`) has nothing to show for client credentials
    hint: use basic or post with a client secret, or --grant refresh_token
    ");
    insta::assert_snapshot!(bad(&[REGION, ("EVERGRANT_TIMEOUT", "30")]), @r"
    error: cannot use the value of `timeout`
      in: EVERGRANT_TIMEOUT
      cause: `30` is no duration: it has no unit; write `30s` for seconds or `30ms` for milliseconds
    hint: write 30s
    ");
    insta::assert_snapshot!(bad(&[("EVERGRANT_PROVIDER", "genesis")]), @r"
    error: cannot use the value of `provider`
      in: EVERGRANT_PROVIDER
      cause: `genesis` is no provider
    hint: did you mean genesys?
    ");
}

#[test]
fn gaps_name_what_to_set() {
    let (_, findings) = resolve(&[]);
    let text: String = findings.gaps.iter().map(Failure::plain).collect();
    insta::assert_snapshot!(text, @r"
    error: there is no provider
      cause: neither a region, nor a token URL, nor an issuer is set
    hint: for Genesys Cloud set EVERGRANT_REGION, for any other OAuth server EVERGRANT_TOKEN_URL
    hint: `evergrant demo` needs neither
    error: there is no client id
      cause: nothing says which OAuth client asks for tokens
    hint: set EVERGRANT_CLIENT_ID and EVERGRANT_CLIENT_SECRET, or read them with --env-file FILE
    ");
    let (_, findings) = resolve(&[("EVERGRANT_CLIENT_ID", "id"), ("EVERGRANT_PROVIDER", "genesys")]);
    let text: String = findings.gaps.iter().map(Failure::plain).collect();
    insta::assert_snapshot!(text, @r"
    error: the provider genesys has no token endpoint
      cause: no region is set, and no token URL
    hint: set EVERGRANT_REGION, as eu-central-1 or mypurecloud.de
    error: there is no client secret
      cause: client authentication basic needs one
    hint: set EVERGRANT_CLIENT_SECRET, or name a file with --client-secret-file FILE or EVERGRANT_CLIENT_SECRET_FILE; `--client-secret-file -` reads standard input
    hint: a public client, which has none, says so with --client-auth none
    ");
}

#[test]
fn a_listener_beyond_loopback_needs_to_know_its_callers() {
    const REGION: (&str, &str) = ("EVERGRANT_REGION", "eu-central-1");
    const OPEN: (&str, &str) = ("EVERGRANT_LISTEN", "127.0.0.1:1,0.0.0.0:7070");
    const SECRET: (&str, &str) = ("EVERGRANT_CALLER_SECRET", "0123456789abcdef");
    insta::assert_snapshot!(bad(&[REGION, OPEN]), @r"
    error: cannot use the value of `listen`
      in: EVERGRANT_LISTEN
      cause: 0.0.0.0:7070 is not loopback, so nobody can tell which user calls, and there is no caller secret
    hint: set EVERGRANT_CALLER_SECRET, or name a file with --caller-secret-file FILE or EVERGRANT_CALLER_SECRET_FILE; `--caller-secret-file -` reads standard input
    hint: or listen on 127.0.0.1 or [::1]; --callers any lets everybody use the token
    ");
    good(&[REGION, OPEN, SECRET]);
    good(&[REGION, ("EVERGRANT_LISTEN", "unix:/run/x.sock,[::1]:0")]);
    let (_, findings) = resolve(&[CLIENT, &[REGION, OPEN, ("EVERGRANT_CALLERS", "any")]].concat());
    assert!(findings.errors.is_empty() && findings.gaps.is_empty(), "{findings:?}");
    insta::assert_snapshot!(findings.warnings[0].plain(), @r"
    error: everybody who can connect may call
      in: EVERGRANT_LISTEN
      cause: 0.0.0.0:7070 is not loopback, and any caller is let in
    hint: a caller secret keeps strangers out: set EVERGRANT_CALLER_SECRET, or name a file with --caller-secret-file FILE or EVERGRANT_CALLER_SECRET_FILE; `--caller-secret-file -` reads standard input
    ");
    insta::assert_snapshot!(bad(&[REGION, ("EVERGRANT_ADMIN_LISTEN", "0.0.0.0:7071")]), @r"
    error: cannot use the value of `admin_listen`
      in: EVERGRANT_ADMIN_LISTEN
      cause: 0.0.0.0:7071 is not loopback, so nobody can tell which user calls, and there is no caller secret
    hint: set EVERGRANT_CALLER_SECRET, or name a file with --caller-secret-file FILE or EVERGRANT_CALLER_SECRET_FILE; `--caller-secret-file -` reads standard input
    hint: or listen on 127.0.0.1 or [::1]; --admin-callers any lets everybody use the token
    ");
}

#[test]
fn slips_about_callers_are_explained() {
    const REGION: (&str, &str) = ("EVERGRANT_REGION", "eu-central-1");
    insta::assert_snapshot!(bad(&[REGION, ("EVERGRANT_CALLERS", "secret")]), @r"
    error: there is no caller secret
      in: EVERGRANT_CALLERS
      cause: `callers` is `secret`, and nothing says which
    hint: set EVERGRANT_CALLER_SECRET, or name a file with --caller-secret-file FILE or EVERGRANT_CALLER_SECRET_FILE; `--caller-secret-file -` reads standard input
    ");
    insta::assert_snapshot!(bad(&[REGION, ("EVERGRANT_CALLERS", "same_user")]), @r"
    error: cannot use the value of `callers`
      in: EVERGRANT_CALLERS
      cause: `same_user` is none of same-user, secret, any
    hint: did you mean same-user?
    ");
    insta::assert_snapshot!(bad(&[REGION, ("EVERGRANT_CALLER_SECRET", "s3cr3t")]), @r"
    error: cannot use the caller secret
      in: EVERGRANT_CALLER_SECRET
      cause: it has fewer than 16 characters, so it could be guessed
    hint: make one with `head -c 24 /dev/urandom | base64`
    ");
    insta::assert_snapshot!(bad(&[REGION, ("EVERGRANT_ALLOW_ORIGIN", "https://a.example,https://b.example/app")]), @r"
    error: cannot use the value of `allow_origin`
      in: EVERGRANT_ALLOW_ORIGIN
      cause: `https://b.example/app` is no origin of the form https://HOST[:PORT]; an origin has no path and no default port
    hint: write https://app.example.com
    ");
    for value in ["*", "null", "app.example.com", "file:///x", "https://a.example:443"] {
        assert!(bad(&[REGION, ("EVERGRANT_ALLOW_ORIGIN", value)]).contains(value), "{value}");
    }
    for value in ["*.example.com", "a b", "https://a.example", "me@a.example", "a.example/x"] {
        assert!(bad(&[REGION, ("EVERGRANT_ALLOWED_HOST", value)]).contains(value), "{value}");
    }
    assert!(bad(&[REGION, ("EVERGRANT_VERDICT_HEADER", "maybe")]).contains("neither on nor off"));
    good(&[
        REGION,
        ("EVERGRANT_ALLOW_ORIGIN", "https://a.example, http://localhost:3000"),
        ("EVERGRANT_ALLOWED_HOST", "gateway.internal,[fd00::1]:7070"),
        ("EVERGRANT_VERDICT_HEADER", "off"),
    ]);
}

#[test]
fn a_rate_limit_is_shared_out_as_the_settings_say() {
    let set = |name, value| good(&[("EVERGRANT_REGION", "eu-central-1"), (name, value)]).pace;
    assert_eq!(set("EVERGRANT_RATE_LIMITED", "wait"), PaceRules::default());
    assert_eq!(set("EVERGRANT_RATE_LIMITED", "answer").when_limited, WhenLimited::Answer);
    let fixed = set("EVERGRANT_RATE_LIMIT", "300/1m").fixed.unwrap();
    assert_eq!((fixed.allowed, fixed.window), (300, Span::from_secs(60)));
    let weights = set("EVERGRANT_CALLER_WEIGHTS", "nightly=3, ui = 1,").weights;
    assert_eq!(weights, [("nightly".to_owned(), 3), ("ui".to_owned(), 1)].into());
}

#[test]
fn slips_about_rate_limits_are_explained() {
    for (name, value, words) in [
        ("EVERGRANT_RATE_LIMITED", "refuse", "`refuse` is neither wait nor answer"),
        ("EVERGRANT_RATE_LIMIT", "300", "it has no `/`"),
        ("EVERGRANT_RATE_LIMIT", "0/60s", "a limit of 0"),
        ("EVERGRANT_RATE_LIMIT", "many/60s", "no whole number"),
        ("EVERGRANT_RATE_LIMIT", "300/60", "no unit"),
        ("EVERGRANT_RATE_LIMIT", "300/1d", "not between 1s and 1h"),
        ("EVERGRANT_CALLER_WEIGHTS", "nightly", "has no `=`"),
        ("EVERGRANT_CALLER_WEIGHTS", "nightly=0", "no whole number from 1 to 1000"),
        ("EVERGRANT_CALLER_WEIGHTS", "a=1,a=2", "a weight already"),
    ] {
        let text = bad(&[(name, value)]);
        assert!(text.contains(words), "{name}={value}: {text}");
    }
}

const URL: (&str, &str) = ("EVERGRANT_TOKEN_URL", "https://id.example.com/t");

#[test]
fn a_grant_of_a_login_is_a_refresh_token_from_then_on() {
    let pairs = [URL, ("EVERGRANT_GRANT", "authorization_code"), ("EVERGRANT_STORE", "file+plain:/tmp/x")];
    assert_eq!(client(&pairs).0.grant, Grant::RefreshToken);
}

#[test]
fn an_assertion_of_a_file_is_kept_as_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("assertion");
    std::fs::write(&path, "a.b.c").unwrap();
    let file = ("EVERGRANT_ASSERTION_FILE", path.to_str().unwrap());
    let pairs = [URL, ("EVERGRANT_GRANT", "saml2_bearer"), file, ("EVERGRANT_TOKEN_FIELD", "orgName=acme, x=y=z")];
    let (credential, _) = client(&pairs);
    assert!(matches!(&credential.grant_assertion, Some(Assertion::File(found)) if *found == path), "{credential:?}");
    let fields = [("orgName".to_owned(), "acme".to_owned()), ("x".to_owned(), "y=z".to_owned())];
    assert_eq!(credential.more_fields, fields);
    std::fs::remove_file(&path).unwrap();
    assert!(bad(&pairs).contains("cannot read the assertion"));
}

#[test]
fn what_an_assertion_lacks_is_named() {
    for (pairs, words) in [
        (&[URL, ("EVERGRANT_GRANT", "jwt_bearer")][..], "EVERGRANT_PRIVATE_KEY"),
        (&[URL, ("EVERGRANT_GRANT", "saml2_bearer")], "the grant saml2_bearer needs one"),
        (&[URL, ("EVERGRANT_CLIENT_AUTH", "private_key_jwt")], "client authentication private_key_jwt needs one"),
        (
            &[URL, ("EVERGRANT_CLIENT_AUTH", "private_key_jwt"), ("EVERGRANT_PRIVATE_KEY", "hunter2")],
            "the private key is not PEM",
        ),
        (&[URL, ("EVERGRANT_CLIENT_AUTH", "tls_client_auth")], "EVERGRANT_CLIENT_CERT"),
        (&[URL, ("EVERGRANT_CLIENT_CERT", "/x.pem")], "there is no client key"),
        (&[URL, ("EVERGRANT_TOKEN_FIELD", "client_secret=x")], "has a setting of its own"),
        (&[URL, ("EVERGRANT_TOKEN_FIELD", "orgName")], "is not NAME=VALUE"),
    ] {
        let text = bad(pairs);
        assert!(text.contains(words) && !text.contains("hunter2"), "{pairs:?}: {text}");
    }
}

#[test]
fn a_secret_may_be_in_the_keyring() {
    let in_keyring = |name| SecretPlace::Keyring(KeyringSecret::new(KeyringName::parse(name).unwrap(), "id"));
    let id = ("EVERGRANT_CLIENT_ID", "id");
    let (settings, findings) = resolve(&[
        URL,
        id,
        ("EVERGRANT_CLIENT_SECRET_IN", " keyring"),
        ("EVERGRANT_CLIENT_SECRET_NEXT_IN", "keyring:next"),
    ]);
    assert!(findings.errors.is_empty() && findings.gaps.is_empty(), "{findings:?}");
    let credential = settings.unwrap().identity.client().unwrap().credential.clone();
    assert_eq!((credential.client_secret, credential.grant), (None, Grant::ClientCredentials));
    let both = SecretPlaces { current: Some(in_keyring("default")), next: Some(in_keyring("next")) };
    assert_eq!(credential.secret_places, both);

    let slips: &[(&[(&str, &str)], &str)] = &[
        (&[URL, id, ("EVERGRANT_CLIENT_SECRET_IN", "wallet")], "no place for a secret"),
        (&[URL, id, ("EVERGRANT_CLIENT_SECRET_IN", "keyring:a/b")], "needs a name"),
        (&[URL, id, ("EVERGRANT_CLIENT_SECRET_NEXT_IN", "keyring:next")], "none that it follows"),
        (&[URL, CLIENT[0], CLIENT[1], ("EVERGRANT_CLIENT_SECRET_IN", "keyring")], "is set twice"),
    ];
    for (pairs, words) in slips {
        let (_, findings) = resolve(pairs);
        let text: String = findings.errors.iter().chain(&findings.gaps).map(Failure::plain).collect();
        assert!(text.contains(words) && !text.contains("s3cr3t"), "{pairs:?}: {text}");
    }
}

#[test]
fn two_secrets_are_set_during_a_change_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("next");
    std::fs::write(&path, "n3xt\n").unwrap();
    let file = path.to_str().unwrap();
    let (credential, _) = client(&[URL, ("EVERGRANT_CLIENT_SECRET_NEXT_FILE", file)]);
    assert_eq!(credential.next_client_secret, Some("n3xt".into()));
    assert_eq!(credential.secret_places, SecretPlaces { current: None, next: Some(SecretPlace::File(path)) });
    let (_, findings) = resolve(&[CLIENT, &[URL, ("EVERGRANT_CLIENT_SECRET_NEXT", "s3cr3t")]].concat());
    let warning = findings.warnings.first().unwrap().plain();
    assert!(warning.contains("the same as the one in use") && !warning.contains("s3cr3t"), "{warning}");
    let alone = [("EVERGRANT_CLIENT_ID", "id"), URL, ("EVERGRANT_CLIENT_SECRET_NEXT", "n3xt")];
    let (_, findings) = resolve(&alone);
    let error = findings.errors.first().unwrap().plain();
    assert!(error.contains("none that it follows") && !error.contains("n3xt"), "{error}");
    assert!(bad(&[URL, ("EVERGRANT_CLIENT_SECRET_NEXT", "n3xt ")]).contains("ends with white space"));
}
