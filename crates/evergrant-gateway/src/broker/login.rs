//! What a caller sent to the token endpoint: who it says it is, and what it asks for.
//!
//! A client authenticates with HTTP Basic or in the form (RFC 6749 section 2.3.1). The RFC wants id and secret
//! form-encoded before they are joined for Basic; hardly any client library does that, those of Genesys Cloud do not.
//! Both readings are kept and either may be right: a text that is no encoding of anything has one reading only.
//!
//! An empty secret is none: a command line tool with a public client sends `id:`.
//!
//! Source: RFC 6749 sections 2.3.1, 3.2 and 4; RFC 7617 section 2.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use evergrant::TokenSource;
use evergrant_core::Secret;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE};

use super::refusal::Refusal;

/// A token request as it was sent.
#[derive(Debug)]
pub(crate) struct Login {
    basic: Option<Vec<Pair>>,
    form_pair: Option<Pair>,
    form: Form,
}

/// A client id and what was given with it.
#[derive(Clone, Debug)]
struct Pair {
    id: String,
    secret: Option<Secret>,
}

/// Who a caller has shown to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    /// The client that this gateway is configured with.
    Client,
    /// Somebody who named that client's id and showed no secret.
    Public,
}

impl Login {
    /// Reads a token request.
    pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Refusal> {
        let form = Form::read(headers, body)?;
        let basic = basic(headers)?;
        let form_pair = form.text("client_id").map(|id| Pair::new(id, form.text("client_secret")));
        Ok(Self { basic, form_pair, form })
    }

    /// The form's fields.
    pub(crate) fn form(&self) -> &Form {
        &self.form
    }

    /// What was presented, for whoever counts wrong tries; `None` if no secret was.
    pub(crate) fn presented(&self) -> Option<(&str, &str)> {
        let pairs = self.basic.iter().flatten().chain(&self.form_pair);
        pairs.filter_map(|pair| Some((pair.id.as_str(), pair.secret.as_ref()?.expose()))).next()
    }

    /// Compares what was presented with the credential's client, for which a local secret is as good as its own.
    /// Everything presented must be right, and everything is compared even if something is wrong already.
    pub(crate) fn check(&self, source: &TokenSource, local_secret: Option<&Secret>) -> Option<Who> {
        let is_local = |pair: &Pair| {
            local_secret.is_some() & (pair.secret.as_ref() == local_secret) & (pair.id == source.client_id())
        };
        let matches = |pair: &Pair| source.is_client(&pair.id, pair.secret.as_ref()) | is_local(pair);
        let is_named = |pair: &Pair| pair.secret.is_none() && pair.id == source.client_id();
        let basic = self.basic.as_ref().map(|readings| readings.iter().fold(false, |any, pair| matches(pair) | any));
        let form = self.form_pair.as_ref().map(matches);
        let all = |basic: Option<bool>, form: Option<bool>| match (basic, form) {
            (Some(basic), Some(form)) => basic & form,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => false,
        };
        // With Basic the id in the form is a repetition without a secret.
        let repeats_id = self.form_pair.as_ref().is_some_and(is_named);
        if all(basic, form) || (basic == Some(true) && repeats_id) {
            return Some(Who::Client);
        }
        let basic_names = self.basic.as_ref().map(|readings| readings.iter().any(is_named));
        all(basic_names, self.form_pair.as_ref().map(is_named)).then_some(Who::Public)
    }
}

impl Pair {
    fn new(id: &str, secret: Option<&str>) -> Self {
        Self { id: id.to_owned(), secret: secret.filter(|secret| !secret.is_empty()).map(Secret::from) }
    }
}

/// The fields of a form, none of them twice.
pub(crate) struct Form(Vec<(String, Secret)>);

impl Form {
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Refusal> {
        let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or(FORM);
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case(FORM) {
            return Err(Refusal::request("the body of a token request is a form: application/x-www-form-urlencoded"));
        }
        let mut fields: Vec<(String, Secret)> = Vec::new();
        for (name, value) in form_urlencoded::parse(body) {
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(Refusal::request("a parameter of the token request is there twice"));
            }
            fields.push((name.into_owned(), Secret::new(value.into_owned())));
        }
        Ok(Self(fields))
    }

    /// A field's value.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.secret(name).map(Secret::expose)
    }

    /// A field's value, unread.
    pub(crate) fn secret(&self, name: &str) -> Option<&Secret> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// The readings of a Basic `Authorization`; `None` without one.
fn basic(headers: &HeaderMap) -> Result<Option<Vec<Pair>>, Refusal> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    let unreadable = || Refusal::client("the Authorization of a token request is Basic with the client id and secret");
    let text = field.to_str().map_err(|_| unreadable())?.trim();
    if fields.next().is_some() {
        return Err(unreadable());
    }
    let (scheme, encoded) = text.split_once(' ').unwrap_or((text, ""));
    if text.is_empty() || (scheme.eq_ignore_ascii_case("bearer") && encoded.trim().is_empty()) {
        return Ok(None);
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(unreadable());
    }
    let decoded = BASE64.decode(encoded.trim()).map_err(|_| unreadable())?;
    let decoded = String::from_utf8(decoded).map_err(|_| unreadable())?;
    let (id, secret) = decoded.split_once(':').ok_or_else(unreadable)?;
    let as_sent = Pair::new(id, Some(secret));
    let decoded = Pair::new(&form_decoded(id), Some(&form_decoded(secret)));
    Ok(Some(vec![as_sent, decoded]))
}

/// Text that was form-encoded as one value; `&` and `=` stand for themselves, as encoding would have hidden them.
fn form_decoded(text: &str) -> String {
    let whole = text.replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(whole.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

const FORM: &str = "application/x-www-form-urlencoded";
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD as ENCODE;
    use evergrant::Credential;
    use evergrant::grant::ClientAuth;
    use evergrant_core::profile::Profile;
    use http::HeaderValue;

    use super::*;

    fn source(id: &str, secret: Option<&str>) -> TokenSource {
        let mut credential = Credential::client_credentials(id, secret.unwrap_or_default().into());
        if secret.is_none() {
            credential.client_secret = None;
            credential.client_auth = ClientAuth::None;
            credential.grant = evergrant::grant::Grant::RefreshToken;
        }
        let mut profile = Profile::oauth2();
        profile.token_url = Some("http://127.0.0.1:1/token".to_owned());
        TokenSource::builder(profile, credential).build().unwrap()
    }

    fn login(authorization: Option<&str>, body: &str) -> Result<Login, Refusal> {
        let mut headers = HeaderMap::new();
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap());
        }
        Login::read(&headers, body.as_bytes())
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", ENCODE.encode(pair))
    }

    #[tokio::test]
    async fn the_client_is_known_in_every_form() {
        let source = source("my id", Some("a+b%41&c=d:e"));
        let who = |authorization: Option<&str>, body: &str| login(authorization, body).unwrap().check(&source, None);
        let raw = basic("my id:a+b%41&c=d:e");
        let encoded = basic("my+id:a%2Bb%2541%26c%3Dd%3Ae");
        let form = "client_id=my+id&client_secret=a%2Bb%2541%26c%3Dd%3Ae";
        assert_eq!(who(Some(&raw), ""), Some(Who::Client));
        assert_eq!(who(Some(&raw.replace("Basic", "bAsIc ").replace('=', "")), ""), Some(Who::Client));
        assert_eq!(who(Some(&encoded), ""), Some(Who::Client));
        assert_eq!(who(None, form), Some(Who::Client));
        assert_eq!(who(Some(""), form), Some(Who::Client));
        assert_eq!(who(Some("Bearer "), form), Some(Who::Client));
        assert_eq!(who(Some(&raw), form), Some(Who::Client));
        assert_eq!(who(Some(&raw), "client_id=my+id"), Some(Who::Client));
    }

    #[tokio::test]
    async fn whatever_is_wrong_is_wrong() {
        let source = source("id", Some("secret"));
        let who = |authorization: Option<&str>, body: &str| login(authorization, body).unwrap().check(&source, None);
        for pair in ["id:Secret", "id:secret ", "ID:secret", ":secret", "id:secretsecret", "id:secre"] {
            assert_eq!(who(Some(&basic(pair)), ""), None, "{pair}");
        }
        assert_eq!(who(None, "client_id=id&client_secret=wrong"), None);
        assert_eq!(who(Some(&basic("id:secret")), "client_id=id&client_secret=wrong"), None);
        assert_eq!(who(Some(&basic("id:wrong")), "client_id=id&client_secret=secret"), None);
        assert_eq!(who(Some(&basic("id:secret")), "client_id=other"), None);
        assert_eq!(who(None, "grant_type=client_credentials"), None);
    }

    #[tokio::test]
    async fn while_the_secret_is_changed_either_one_is_right() {
        let mut credential = Credential::client_credentials("id", "old".into());
        credential.next_client_secret = Some("new".into());
        let mut profile = Profile::oauth2();
        profile.token_url = Some("http://127.0.0.1:1/token".to_owned());
        let source = TokenSource::builder(profile, credential).build().unwrap();
        let who = |pair: &str| login(Some(&basic(pair)), "").unwrap().check(&source, None);
        assert_eq!([who("id:old"), who("id:new")], [Some(Who::Client); 2]);
        assert_eq!([who("id:oldnew"), who("id:other")], [None; 2]);
        source.replace_client_secret("new".into());
        assert_eq!([who("id:old"), who("id:new")], [None, Some(Who::Client)]);
    }

    #[tokio::test]
    async fn a_local_secret_is_as_good_as_the_clients_and_no_better() {
        let source = source("id", Some("secret"));
        let local = Secret::from("local");
        let who = |local, pair: &str| login(Some(&basic(pair)), "").unwrap().check(&source, local);
        assert_eq!([who(Some(&local), "id:local"), who(Some(&local), "id:secret")], [Some(Who::Client); 2]);
        assert_eq!([who(Some(&local), "other:local"), who(Some(&local), "id:loca")], [None; 2]);
        assert_eq!([who(None, "id:local"), who(Some(&local), "id:")], [None, Some(Who::Public)]);
    }

    #[tokio::test]
    async fn an_id_without_a_secret_is_public() {
        let source = source("id", Some("secret"));
        let who = |authorization: Option<&str>, body: &str| login(authorization, body).unwrap().check(&source, None);
        assert_eq!(who(None, "client_id=id"), Some(Who::Public));
        assert_eq!(who(Some(&basic("id:")), "client_id=id"), Some(Who::Public));
        assert_eq!(who(None, "client_id=other"), None);
        assert_eq!(who(Some(&basic("id:")), "client_id=other"), None);
        assert_eq!(who(Some(&basic("other:")), ""), None);
    }

    #[tokio::test]
    async fn a_client_without_a_secret_needs_none() {
        let source = source("id", None);
        let who = |body: &str| login(None, body).unwrap().check(&source, None);
        assert_eq!(who("client_id=id"), Some(Who::Client));
        assert_eq!(who("client_id=id&client_secret="), Some(Who::Client));
        assert_eq!(who("client_id=id&client_secret=x"), None);
    }

    #[test]
    fn what_cannot_be_read_is_refused_and_never_printed() {
        for authorization in ["Bearer s3cret", "Basic", "Basic s3cret!", "Basic czNjcmV0", "s3cret"] {
            let refusal = login(Some(authorization), "").unwrap_err();
            assert!(!format!("{refusal:?}").contains("s3cret"), "{refusal:?}");
        }
        assert!(login(None, "a=s3cret&a=s3cret").is_err());
        let login = login(Some(&basic("id:s3cret")), "client_secret=s3cret&code=s3cret").unwrap();
        assert!(!format!("{login:?}").contains("s3cret"), "{login:?}");
    }

    #[test]
    fn json_is_no_form_and_a_missing_type_is() {
        let read = |media_type: &'static str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(media_type))]);
            Login::read(&headers, b"grant_type=client_credentials").is_ok()
        };
        assert!(read("application/x-www-form-urlencoded; charset=utf-8"));
        assert!(read("Application/X-WWW-Form-Urlencoded"));
        assert!(!read("application/json"));
        assert!(login(None, "grant_type=client_credentials").is_ok());
    }
}
