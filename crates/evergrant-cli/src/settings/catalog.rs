//! Every setting there is, once.
//!
//! A setting has one name in four spellings: `--token-url`, `EVERGRANT_TOKEN_URL`, `token_url` in a file, and its words
//! in messages. All of them, the help texts, the check for unknown keys and the file that `config init` writes are made
//! from the table below, so that they cannot disagree.
//!
//! Secrets are the exception: they come from the environment only, or from the file named by their `-file` companion,
//! which is no secret and therefore has all forms. Some may be in the keyring: their `-in` companion says so. A value on a command line is readable by every user of the machine;
//! a value in a settings file ends up in backups and in version control.
//!
//! `also` lists the variables of other tools that are read when ours is not set, strongest first: those of the Genesys
//! Cloud command line and Terraform provider, of the official samples, and of common scripts.

mod table;

pub(crate) use table::SPECS;

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
    /// The OAuth client secret that is about to take its place.
    ClientSecretNext,
    /// Where else the client secret is.
    ClientSecretIn,
    /// Where else the one is that is about to take its place.
    ClientSecretNextIn,
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
    /// The key that signs assertions.
    PrivateKey,
    /// The name by which the provider knows that key.
    KeyId,
    /// The algorithm that it signs with.
    SigningAlg,
    /// Whom a signed assertion is about.
    Subject,
    /// For whom a signed assertion is.
    AssertionAudience,
    /// An assertion made elsewhere, spent for a token.
    Assertion,
    /// An assertion made elsewhere, shown instead of a client secret.
    ClientAssertion,
    /// The client's certificate.
    ClientCert,
    /// The key of the client's certificate.
    ClientKey,
    /// Further fields of token requests.
    TokenField,
    /// Where a person logs in.
    AuthorizeUrl,
    /// Where a login on another device begins.
    DeviceUrl,
    /// Where a login in the browser comes back to.
    RedirectUri,
    /// Where tokens are kept between runs.
    Store,
    /// The key of an encrypted store.
    StoreKey,
    /// Where else the key of an encrypted store is.
    StoreKeyIn,
    /// The passphrase that the key of an encrypted store file is made from.
    StorePassphrase,
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
