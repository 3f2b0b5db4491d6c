use super::*;
use crate::store::StoreUrl;

async fn login() -> Login {
    let mut profile = Profile::oauth2();
    profile.token_url = Some("https://id.example/token".to_owned());
    profile.authorize_url = Some("https://id.example/authorize?tenant=a".to_owned());
    profile.issuer = Some("https://id.example".to_owned());
    let mut credential = Credential::client_credentials("id", Secret::from("s3cr3t"));
    credential.scope = Some("read write".to_owned());
    let store = Store::open(&StoreUrl::Memory, None).unwrap();
    Login::new(&profile, credential, store, &HttpOptions::default(), None).await.unwrap()
}

fn query(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn redirect(state: &str) -> Redirect {
    Redirect { code: Some(Secret::from("c")), state: Some(state.to_owned()), ..Redirect::default() }
}

#[tokio::test]
async fn the_url_asks_for_a_code_with_a_challenge_and_shows_no_secret() {
    let login = login().await;
    let begun = login.begin("http://127.0.0.1:1/callback").unwrap();
    let query = |name| query(begun.url(), name);
    assert_eq!(query("tenant").as_deref(), Some("a"), "what the configured URL has stays");
    assert_eq!(query("response_type").as_deref(), Some("code"));
    assert_eq!(query("code_challenge_method").as_deref(), Some("S256"));
    assert_eq!(query("code_challenge"), Some(pkce::challenge(&begun.verifier)));
    assert_eq!(query("redirect_uri").as_deref(), Some("http://127.0.0.1:1/callback"));
    assert_eq!(query("scope").as_deref(), Some("read write"));
    assert!(!begun.url().as_str().contains(begun.verifier.expose()) && !begun.url().as_str().contains("s3cr3t"));
}

#[test]
fn offline_access_asks_for_consent() {
    assert!(asks_for_offline_access(Some("openid offline_access")));
    assert!(!asks_for_offline_access(Some("openid offline_access_x")) && !asks_for_offline_access(None));
}

#[tokio::test]
async fn only_what_belongs_to_the_login_is_believed() {
    let login = login().await;
    let begun = login.begin("http://127.0.0.1:1/callback").unwrap();
    let other = login.begin("http://127.0.0.1:1/callback").unwrap();
    let (own, foreign) = (begun.state.expose(), other.state.expose());
    assert_eq!(login.check(&begun, redirect(own)).unwrap().expose(), "c");
    let error = |redirect| login.check(&begun, redirect).unwrap_err();
    assert!(matches!(error(redirect(foreign)), LoginError::NotOurs), "of another login");
    assert!(matches!(error(redirect("")), LoginError::NotOurs));
    assert!(matches!(error(Redirect { state: None, ..redirect(own) }), LoginError::NotOurs));
    let mixed_up = Redirect { issuer: Some("https://evil.example".to_owned()), ..redirect(own) };
    assert!(matches!(error(mixed_up), LoginError::ForeignIssuer), "RFC 9207");
    assert!(matches!(error(Redirect { code: None, ..redirect(own) }), LoginError::NoCode));
    let refused = Redirect { error: Some("access_denied".to_owned()), ..redirect(own) };
    assert!(error(refused).to_string().contains("access_denied"));
    let forged = Redirect { error: Some("access_denied".to_owned()), ..redirect(foreign) };
    assert!(matches!(error(forged), LoginError::NotOurs), "a page cannot end a login either");
}
