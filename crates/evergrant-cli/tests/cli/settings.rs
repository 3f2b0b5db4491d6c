//! `evergrant config`, and slips in settings as the user sees them.

use crate::support::{Folder, evergrant};

#[test]
fn check_shows_where_each_setting_comes_from_and_no_secret() {
    let run = evergrant(["config", "check", "--client-id", "me"])
        .config("scope = \"read\"\n[profile.default]\nregion = \"eu-central-1\"\n")
        .env("EVERGRANT_CLIENT_SECRET", "s3cr3t");
    insta::assert_snapshot!(run.end().good(), @r"
    settings file ~/.config/evergrant/config.toml, profile default
    region               eu-central-1                 ~/.config/evergrant/config.toml:3:10 (profile.default.region)
    client_id            me                           --client-id
    client_secret        (secret)                     EVERGRANT_CLIENT_SECRET
    client_auth          basic                        default
    scope                read                         ~/.config/evergrant/config.toml:1:9 (scope)
    redirect_uri         http://127.0.0.1:0/callback  default
    store                memory                       default
    lease_ttl            6s                           default
    allow_volatile       false                        default
    listen               127.0.0.1:7070               default
    admin_listen         127.0.0.1:7071               default
    callers              same-user                    default
    admin_callers        same-user                    default
    verdict_header       on                           default
    rate_limited         wait                         default
    skew_warn            10s                          default
    timeout              30s                          default
    token_timeout        10s                          default
    upstream_timeout     5m                           default
    allow_insecure_http  false                        default
    ok: complete
    ");
}

#[test]
fn the_strongest_layer_wins_for_every_kind_of_setting() {
    let file = "scope = \"file\"\nallow_volatile = false\n[profile.p]\ntimeout = \"1s\"\n";
    let layers = |flags: &[&str], variables: bool| {
        let mut run = evergrant(["config", "check", "--json", "--profile", "p"].iter().chain(flags)).config(file);
        if variables {
            run = run.env("EVERGRANT_SCOPE", "env").env("EVERGRANT_ALLOW_VOLATILE", "1").env("EVERGRANT_TIMEOUT", "2s");
        }
        let json: serde_json::Value = serde_json::from_str(&run.end().good()).unwrap();
        ["scope", "allow_volatile", "timeout", "token_timeout"].map(|name| {
            let setting = &json["settings"][name];
            format!("{} {}", setting["value"].as_str().unwrap(), setting["from"].as_str().unwrap())
        })
    };
    let flags = ["--scope", "flag", "--allow-volatile=false", "--timeout", "3s"];
    let by_flags = ["flag --scope", "false --allow-volatile", "3s --timeout", "10s default"];
    assert_eq!(layers(&flags, true), by_flags);
    let by_variables = ["env EVERGRANT_SCOPE", "1 EVERGRANT_ALLOW_VOLATILE", "2s EVERGRANT_TIMEOUT", "10s default"];
    assert_eq!(layers(&[], true), by_variables);
    let by_file = [
        "file ~/.config/evergrant/config.toml:1:9 (scope)",
        "false ~/.config/evergrant/config.toml:2:18 (allow_volatile)",
        "1s ~/.config/evergrant/config.toml:4:11 (profile.p.timeout)",
        "10s default",
    ];
    assert_eq!(layers(&[], false), by_file);
}

#[test]
fn check_works_without_any_setting() {
    let ended = evergrant(["config", "check", "--json"]).end();
    let json: serde_json::Value = serde_json::from_str(&ended.good()).unwrap();
    assert_eq!(json["complete"], false);
    assert_eq!(json["settings"]["store"]["from"], "default");
}

#[test]
fn check_points_at_a_slip_in_the_file() {
    let run = evergrant(["config", "check"]).config("[profile.prod]\nclient_idd = \"me\"\n");
    insta::assert_snapshot!(run.end().failed(3), @r"
    error: unknown setting `client_idd`
      in: ~/.config/evergrant/config.toml:2:1 (profile.prod.client_idd)
        |
      2 | client_idd = ....
        | ^^^^^^^^^^ this is no setting
    hint: did you mean `client_id`?
    ");
}

#[test]
fn a_value_in_the_file_that_cannot_be_used_is_pointed_at() {
    let run = evergrant(["token"]).config("[profile.default]\nregion = \"us-east-1.mypurecloud.com\"\n");
    insta::assert_snapshot!(run.end().failed(3), @r#"
    error: cannot use the value of `region`
      in: ~/.config/evergrant/config.toml:2:10 (profile.default.region)
      cause: `us-east-1.mypurecloud.com` joins a region's name to a domain; the region us-east-1 is at mypurecloud.com
        |
      2 | region = "us-east-1.mypurecloud.com"
        |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^ this value
    hint: write us-east-1 or mypurecloud.com
    error: there is no client id
      cause: nothing says which OAuth client asks for tokens
    hint: set EVERGRANT_CLIENT_ID and EVERGRANT_CLIENT_SECRET, or read them with --env-file FILE
    "#);
}

#[test]
fn a_password_in_the_file_is_not_repeated() {
    for line in
        ["token_url = \"https://me:hunter2@h/\"", "store = \"redis://:hunter2@h\"", "upstream = \"ftp://h/?k=hunter2\""]
    {
        let stderr = evergrant(["token"]).config(&format!("[profile.default]\n{line}\n")).end().failed(3);
        assert!(stderr.contains("config.toml:2:") && !stderr.contains("hunter2"), "{stderr}");
    }
}

#[test]
fn a_file_in_the_current_folder_is_not_read() {
    let folder = Folder::new();
    folder.file("config.toml", "token_url = \"https://evil.example\"");
    folder.file("evergrant.toml", "token_url = \"https://evil.example\"");
    folder.file(".env", "EVERGRANT_TOKEN_URL=https://evil.example");
    let stderr = evergrant(["token"]).folder(&folder).end().failed(3);
    assert!(stderr.contains("there is no provider"), "{stderr}");
}

#[test]
fn a_missing_file_that_was_asked_for_is_an_error() {
    insta::assert_snapshot!(evergrant(["token", "--config", "/nowhere/c.toml"]).end().failed(3), @r"
    error: cannot read the settings file
      in: /nowhere/c.toml
      cause: there is no such file (--config)
    hint: `evergrant config init --config /nowhere/c.toml` writes one
    ");
    let run = evergrant(["token"]).env("EVERGRANT_CONFIG", "/nowhere/c.toml");
    insta::assert_snapshot!(run.end().failed(3), @r"
    error: cannot read the settings file
      in: /nowhere/c.toml
      cause: there is no such file (EVERGRANT_CONFIG)
    hint: `evergrant config init --config /nowhere/c.toml` writes one
    ");
    insta::assert_snapshot!(evergrant(["token", "--profile", "prod"]).end().failed(3), @r"
    error: there is no profile `prod`
      in: --profile
      cause: there is no settings file
    hint: `evergrant config init` writes one
    ");
    insta::assert_snapshot!(evergrant(["token", "--env-file", "/nowhere/.env"]).end().failed(3), @r"
    error: cannot read the env file
      in: /nowhere/.env
      cause: No such file or directory (os error 2)
    hint: give `--env-file` the path of a file with lines such as EVERGRANT_REGION=eu-central-1
    ");
}

#[test]
fn init_writes_a_file_once() {
    let folder = Folder::new();
    let path = folder.path().join("new/config.toml");
    let path = path.to_str().unwrap();
    let init = || evergrant(["config", "init", "--config", path]).end();
    assert_eq!(init().good(), format!("{path}\n"));
    assert!(init().failed(3).contains("--force"));
    evergrant(["config", "init", "--force", "--config", path]).end().good();
    evergrant(["config", "check", "--config", path]).end().good();
}

#[test]
fn init_writes_where_the_binary_looks() {
    let ended = evergrant(["config", "init"]).end();
    assert_eq!(ended.good(), "~/.config/evergrant/config.toml\n");
}

#[test]
fn slips_on_the_command_line_are_usage_errors() {
    insta::assert_snapshot!(evergrant(["tokn"]).end().failed(2), @r"
    error: unrecognized subcommand 'tokn'

      tip: a similar subcommand exists: 'token'

    Usage: evergrant <COMMAND>

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(evergrant(["token", "--regoin", "x"]).end().failed(2), @r"
    error: unexpected argument '--regoin' found

      tip: a similar argument exists: '--region'

    Usage: evergrant token --region <REGION>

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(evergrant(["token", "--client-secret", "hunter2"]).end().failed(2), @r"
    error: `--client-secret` is no flag: a secret never is
      in: --client-secret
      cause: every user of this machine can read the command lines of all programs
    hint: set EVERGRANT_CLIENT_SECRET, or name a file with --client-secret-file FILE or EVERGRANT_CLIENT_SECRET_FILE; `--client-secret-file -` reads standard input
    ");
    insta::assert_snapshot!(evergrant(["token", "--store", "redis://:hunter2@h/0"]).end().failed(2), @r"
    error: the store URL holds a user name or password
      in: --store
      cause: every user of this machine can read the command lines of all programs
    hint: set EVERGRANT_STORE instead
    error: there is no provider
      cause: neither a region, nor a token URL, nor an issuer is set
    hint: for Genesys Cloud set EVERGRANT_REGION, for any other OAuth server EVERGRANT_TOKEN_URL
    hint: `evergrant demo` needs neither
    error: there is no client id
      cause: nothing says which OAuth client asks for tokens
    hint: set EVERGRANT_CLIENT_ID and EVERGRANT_CLIENT_SECRET, or read them with --env-file FILE
    ");
    insta::assert_snapshot!(evergrant(["token", "--min-remaining", "10"]).end().failed(2), @r"
    error: invalid value '10' for '--min-remaining <DURATION>': it has no unit; write `10s` for seconds or `10ms` for milliseconds

    For more information, try '--help'.
    ");
}
