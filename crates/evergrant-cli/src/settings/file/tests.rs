use super::*;

fn parse(text: &str) -> Result<SettingsFile, Failure> {
    SettingsFile::parse(Path::new("/etc/c.toml"), text)
}

fn value(file: &SettingsFile, profile: Option<&str>, key: Setting) -> Option<String> {
    let asked = profile.map(|name| Found { value: name.to_owned(), origin: Origin::Flag("--profile".into()) });
    file.profile(asked.as_ref()).unwrap().get(&(key, false)).map(|found| found.value.clone())
}

#[test]
fn a_profile_lies_over_the_shared_keys() {
    let file = parse("scope = \"all\"\nregion = \"a\"\n[profile.default]\nregion = \"b\"\n[profile.x]\nregion = \"c\"")
        .unwrap();
    assert_eq!(value(&file, None, Setting::Region).as_deref(), Some("b"));
    assert_eq!(value(&file, Some("x"), Setting::Region).as_deref(), Some("c"));
    assert_eq!(value(&file, Some("x"), Setting::Scope).as_deref(), Some("all"));
}

#[test]
fn three_spellings_of_a_profile_mean_the_same() {
    for header in ["profile.x", "profiles.x", "x"] {
        let file = parse(&format!("[{header}]\nclient-id = \"me\"")).unwrap();
        assert_eq!(value(&file, Some("x"), Setting::ClientId).as_deref(), Some("me"), "{header}");
    }
}

#[test]
fn an_unknown_profile_lists_the_known_ones() {
    let file = parse("[profile.staging]\n[profile.prod]").unwrap();
    let asked = Found { value: "stagin".to_owned(), origin: Origin::Variable("EVERGRANT_PROFILE".into()) };
    insta::assert_snapshot!(file.profile(Some(&asked)).unwrap_err().plain(), @r"
    error: there is no profile `stagin`
      in: EVERGRANT_PROFILE
      cause: /etc/c.toml has the profiles `prod`, `staging`
    hint: did you mean `--profile staging`?
    ");
}

#[test]
fn a_typo_points_at_its_key_and_hides_its_value() {
    insta::assert_snapshot!(parse("[profile.prod]\n  tokn_url = \"https://hunter2\"").unwrap_err().plain(), @r"
    error: unknown setting `tokn_url`
      in: /etc/c.toml:2:3 (profile.prod.tokn_url)
        |
      2 |   tokn_url = .................
        |   ^^^^^^^^ this is no setting
    hint: did you mean `token_url`?
    ");
}

#[test]
fn a_wrong_type_points_at_the_value() {
    insta::assert_snapshot!(parse("[profile.prod]\ntimeout = 30").unwrap_err().plain(), @r#"
    error: `timeout` has a value of the wrong type
      in: /etc/c.toml:2:11 (profile.prod.timeout)
      cause: expected a text in quotes, found an integer
        |
      2 | timeout = 30
        |           ^^ expected a text in quotes, found an integer
    hint: write `timeout = "30s"`
    "#);
    insta::assert_snapshot!(parse("allow_volatile = \"yes\"").unwrap_err().plain(), @r#"
    error: `allow_volatile` has a value of the wrong type
      in: /etc/c.toml:1:18 (allow_volatile)
      cause: expected true or false, found a string
        |
      1 | allow_volatile = "yes"
        |                  ^^^^^ expected true or false, found a string
    hint: write `allow_volatile = true`
    "#);
}

#[test]
fn a_secret_is_refused_without_repeating_it() {
    let text = parse("client_secret = \"hunter2\"").unwrap_err().plain();
    assert!(!text.contains("hunter2"));
    insta::assert_snapshot!(text, @r"
    error: `client_secret` is a secret
      in: /etc/c.toml:1:1 (client_secret)
      cause: settings files end up in backups and in version control
        |
      1 | client_secret = .........
        | ^^^^^^^^^^^^^ secrets do not belong here
    hint: set EVERGRANT_CLIENT_SECRET, or name a file with --client-secret-file FILE or EVERGRANT_CLIENT_SECRET_FILE; `--client-secret-file -` reads standard input
    ");
}

#[test]
fn broken_toml_points_at_the_place_without_repeating_it() {
    let text = parse("region = \"a\"\nclient_secret = \"hunter2").unwrap_err().plain();
    assert!(!text.contains("hunter2"));
    insta::assert_snapshot!(text, @r#"
    error: the settings file is not valid TOML
      in: /etc/c.toml:2:25
      cause: invalid basic string, expected `"`
        |
      2 | client_secret = ........
        |                         ^ here
    hint: text values need quotes, as in `region = "eu-central-1"`
    "#);
}

#[test]
fn a_setting_is_no_table() {
    insta::assert_snapshot!(parse("[region]\nname = \"x\"").unwrap_err().plain(), @r#"
    error: `region` has a value of the wrong type
      in: /etc/c.toml:1:1 (region)
      cause: expected a text in quotes, found a table
        |
      1 | [region]
        | ^^^^^^^^ expected a text in quotes, found a table
    hint: write `region = "eu-central-1"`
    "#);
}

#[test]
fn a_list_is_a_text_or_an_array_of_texts() {
    for (text, expected) in [
        ("allow_origin = \"https://a.example, https://b.example\"", Some("https://a.example, https://b.example")),
        ("allow_origin = [\"https://a.example\", \"https://b.example\"]", Some("https://a.example,https://b.example")),
        ("allow_origin = [1]", None),
        ("scope = [\"a\"]", None),
    ] {
        let file = SettingsFile::parse(Path::new("c"), text);
        let value = file.ok().map(|file| file.profile(None).unwrap()[&(Setting::AllowOrigin, false)].value.clone());
        assert_eq!(value.as_deref(), expected, "{text}");
    }
}
