//! Help, version, completions and manual: they need no settings.

use crate::support::{Folder, evergrant};

#[test]
fn the_short_help_fits_on_a_screen() {
    insta::assert_snapshot!(evergrant(["-h"]).end().good(), @r"
    Keeps OAuth 2.0 access tokens working, and explains every 401

    Usage: evergrant <COMMAND>

    Commands:
      demo         See it work: a simulated provider, its faults, and two ways to live with them
      token        Print an access token that works
      exec         Run a command with an access token in its environment
      api          Send one API request with a token that works, or read all pages of a collection
      login        Log in as a person, in a browser or on another device
      gateway      Run a local gateway that gives every request a token that works
      ready        Ask the running gateway whether it can serve
      doctor       Look at everything between here and the API, and say what is wrong and what to do
      clock        Measure how far this machine's clock is from the provider's
      explain      Explain a refused request: from a capture, or from a running gateway
      store        Look at the token store, move a credential to another store, or forget it
      secret       Keep the client secret in the desktop's keyring
      simulate     Compare ways to keep a token in simulated worlds, in virtual time
      config       Check the settings, or write a settings file
      completions  Print a completion script for a shell
      man          Print the manual page, or write all of them into a folder
      help         Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help (see more with '--help')
      -V, --version  Print version

    Settings come from flags, from EVERGRANT_* variables, from a profile of the settings file, or are
    defaults, strongest first. `evergrant token --help` lists them; `evergrant config check` shows where
    each one comes from. Secrets are never flags: set EVERGRANT_CLIENT_SECRET, or name a file with
    --client-secret-file.

    Try `evergrant demo`: it needs no account and no network.
    ");
}

#[test]
fn the_help_of_a_command_lists_the_settings() {
    insta::assert_snapshot!(evergrant(["token", "-h"]).end().good(), @r"
    Print an access token that works

    Usage: evergrant token [OPTIONS]

    Options:
          --json                      Print a JSON object with the token and the seconds it has left
          --format <FORMAT>           How to print the token [default: plain] [possible values: plain,
                                      header, env]
          --min-remaining <DURATION>  Refresh a token that has less than this left, as 10m
      -h, --help                      Print help (see more with '--help')

    Settings:
          --config <FILE>                   Settings file to use instead of evergrant/config.toml in the
                                            user's configuration folder [env: EVERGRANT_CONFIG]
          --profile <NAME>                  Profile of the settings file; `gateway` serves several, with
                                            commas or repeated [env: EVERGRANT_PROFILE]
          --env-file <FILE>                 File of NAME=value lines, read as if they were environment
                                            variables
          --provider <PROVIDER>             genesys, oauth2 or oidc; without it a region means genesys,
                                            a token URL oauth2, an issuer oidc [env: EVERGRANT_PROVIDER]
          --region <REGION>                 Genesys Cloud region: an AWS name or a domain; needed only
                                            for a URL that is not given [env: EVERGRANT_REGION]
          --issuer <URL>                    Issuer of an oidc provider; its discovery document names the
                                            token endpoint [env: EVERGRANT_ISSUER]
          --token-url <URL>                 Token endpoint [env: EVERGRANT_TOKEN_URL]
          --upstream <URL>                  API that the tokens are for; the gateway and `api` send
                                            requests to it [env: EVERGRANT_UPSTREAM]
          --client-id <ID>                  OAuth client id [env: EVERGRANT_CLIENT_ID]
          --client-secret-file <FILE>       File that holds the OAuth client secret [env:
                                            EVERGRANT_CLIENT_SECRET_FILE]
          --client-secret-next-file <FILE>  File that holds the client secret that is about to take its
                                            place; used where the provider refuses the other [env:
                                            EVERGRANT_CLIENT_SECRET_NEXT_FILE]
          --client-secret-in <PLACE>        Where else the client secret is: keyring or keyring:NAME,
                                            where `secret set` puts it [env: EVERGRANT_CLIENT_SECRET_IN]
          --client-secret-next-in <PLACE>   Where else the next client secret is: keyring:NAME, where
                                            `secret set --next` puts it [env:
                                            EVERGRANT_CLIENT_SECRET_NEXT_IN]
          --refresh-token-file <FILE>       File that holds the first refresh token; the store keeps its
                                            successors [env: EVERGRANT_REFRESH_TOKEN_FILE]
          --grant <GRANT>                   client_credentials, refresh_token (or authorization_code,
                                            after `login`), jwt_bearer or saml2_bearer; without it a
                                            client that has only a refresh token uses that [env:
                                            EVERGRANT_GRANT]
          --client-auth <METHOD>            Client authentication: basic, post, none, private_key_jwt or
                                            tls_client_auth [default: basic] [env:
                                            EVERGRANT_CLIENT_AUTH]
          --scope <SCOPES>                  Scopes to ask for, separated by spaces [env:
                                            EVERGRANT_SCOPE]
          --audience <AUDIENCE>             Audience to ask for [env: EVERGRANT_AUDIENCE]
          --resource <URI>                  Resource to ask for (RFC 8707) [env: EVERGRANT_RESOURCE]
          --private-key-file <FILE>         File that holds the private key (PEM) that signs assertions
                                            [env: EVERGRANT_PRIVATE_KEY_FILE]
          --key-id <ID>                     Name by which the provider knows the private key (`kid`)
                                            [env: EVERGRANT_KEY_ID]
          --signing-alg <ALG>               Algorithm to sign with; what fits the key if not given [env:
                                            EVERGRANT_SIGNING_ALG]
          --subject <NAME>                  Whom a jwt_bearer assertion is about; the client if not
                                            given [env: EVERGRANT_SUBJECT]
          --assertion-audience <AUDIENCE>   For whom signed assertions are; the token URL if not given
                                            [env: EVERGRANT_ASSERTION_AUDIENCE]
          --assertion-file <FILE>           File that holds an assertion made elsewhere, for jwt_bearer
                                            or saml2_bearer; read for each token request [env:
                                            EVERGRANT_ASSERTION_FILE]
          --client-assertion-file <FILE>    File that holds a JWT made elsewhere that stands for the
                                            client, for private_key_jwt; read for each token request
                                            [env: EVERGRANT_CLIENT_ASSERTION_FILE]
          --client-cert <FILE>              Client certificate (PEM), for tls_client_auth [env:
                                            EVERGRANT_CLIENT_CERT]
          --client-key <FILE>               Private key (PEM) of the client certificate [env:
                                            EVERGRANT_CLIENT_KEY]
          --token-field <NAME=VALUE>        Further field of token requests, as `orgName` for SAML at
                                            Genesys Cloud; may be repeated [env: EVERGRANT_TOKEN_FIELD]
          --store <STORE>                   Where tokens are kept between runs: memory, file:PATH,
                                            file+plain:PATH, keyring, or redis://HOST, also with rediss,
                                            +sentinel and +cluster [default: memory] [env:
                                            EVERGRANT_STORE]
          --store-key-file <FILE>           File that holds the key of an encrypted store: 32 bytes in
                                            base64 [env: EVERGRANT_STORE_KEY_FILE]
          --store-key-in <PLACE>            Where the key of an encrypted store is kept: keyring, which
                                            makes one at the first use [env: EVERGRANT_STORE_KEY_IN]
          --store-passphrase-file <FILE>    File that holds the passphrase of an encrypted store file,
                                            instead of a key [env: EVERGRANT_STORE_PASSPHRASE_FILE]
          --lease-ttl <DURATION>            Lease on a shared store; shorter than the provider's grace
                                            [default: 6s] [env: EVERGRANT_LEASE_TTL]
          --allow-volatile[=<BOOL>]         Let a rotating refresh token live in memory only [default:
                                            false] [env: EVERGRANT_ALLOW_VOLATILE]
          --slack <DURATION>                How long before its end a token is refreshed; a fifth of its
                                            life if not given [env: EVERGRANT_SLACK]
          --settle <DURATION>               How long a new token rests while the old one serves; learned
                                            if not given [env: EVERGRANT_SETTLE]
          --skew-warn <DURATION>            Clock offset from which on a warning is due [default: 10s]
                                            [env: EVERGRANT_SKEW_WARN]
          --probe-path <PATH>               Route of the upstream that shows whether a token works [env:
                                            EVERGRANT_PROBE_PATH]
          --timeout <DURATION>              Bound of `token`, of the start of `exec` and of one `api`
                                            request; only a refresh token on its way is waited for
                                            longer, until its token request ends [default: 30s] [env:
                                            EVERGRANT_TIMEOUT]
          --token-timeout <DURATION>        Bound of one try at the token endpoint [default: 10s] [env:
                                            EVERGRANT_TOKEN_TIMEOUT]
          --mint-budget <N/10m>             How many tokens may be requested in 10 minutes [env:
                                            EVERGRANT_MINT_BUDGET]
          --ca-file <FILE>                  Root certificates (PEM) to trust besides the system's [env:
                                            EVERGRANT_CA_FILE]
          --allow-insecure-http[=<BOOL>]    Let http:// URLs point beyond this machine [default: false]
                                            [env: EVERGRANT_ALLOW_INSECURE_HTTP]
          --log <LEVEL>                     Log level or filter on standard error: error, warn, info,
                                            debug or trace [env: EVERGRANT_LOG]
    ");
}

#[test]
fn the_long_help_tells_what_the_exit_codes_mean() {
    let help = evergrant(["--help"]).end().good();
    insta::assert_snapshot!(help.split("Exit codes:").nth(1).unwrap(), @r"
      0  done
      1  failed for a reason without a code of its own
      2  the command line is wrong
      3  a setting is wrong or missing
      4  the token endpoint refused the credentials
      5  an endpoint could not be reached or did not answer in time
      6  a person has to log in again
      7  the token endpoint answered, but not with a token
      8  the token store cannot be read or written
      9  `api`: the API answered with an error status
     10  `gateway`: the address cannot be listened on
     11  `demo`: a 401 reached a caller of Evergrant
     12  `doctor`: a fault was found
     13  `explain`: there is no HTTP in the capture
     14  `simulate`: a promise was broken in a drawn world
     15  `api --paginate`: an answer is no page, or leads nowhere
     70  evergrant is broken: please report it
    126  `exec`: the command cannot be started
    127  `exec`: the command was not found
    ");
}

#[test]
fn the_gateways_help_knows_where_to_listen() {
    let help = evergrant(["gateway", "--help"]).end().good();
    assert!(help.contains("--listen <ADDRESS>") && help.contains("--admin-listen <ADDRESS>"));
    assert!(!evergrant(["token", "--help"]).end().good().contains("--listen"));
}

#[test]
fn without_a_command_the_help_is_an_error() {
    let stderr = evergrant::<&str>([]).end().failed(2);
    assert!(stderr.contains("Usage: evergrant"), "{stderr}");
}

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = evergrant(["completions", shell]).end().good();
        assert!(script.contains("evergrant") && script.contains("token-url"), "{shell}");
        assert!(!script.contains("client-secret ") && !script.contains("--client-secret'"), "{shell}");
    }
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let folder = Folder::new();
    evergrant(["man", folder.path().to_str().unwrap()]).end().good();
    for name in ["evergrant", "evergrant-token", "evergrant-exec", "evergrant-gateway", "evergrant-config-check"] {
        let page = std::fs::read_to_string(folder.path().join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".TH"), "{name}");
    }
    let page = evergrant(["man"]).end().good();
    assert!(page.contains("EXIT STATUS") && page.contains("refused the credentials"));
}
