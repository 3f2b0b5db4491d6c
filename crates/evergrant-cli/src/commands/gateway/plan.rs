//! What the settings say that a gateway is to be: its profiles, checked each and together.
//!
//! It is read at the start, and again for every reload, from the same flags and variables. Everything that is wrong is
//! reported in one run. What is wrong between two profiles names both: one listener for two of them, one credential
//! with two ways to keep its token, a secret that would go to two providers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use evergrant::store::CredentialKey;
use evergrant::{SecretPlace, SecretPlaces};
use evergrant_gateway::{Address, Upstream};

use super::watch::{Content, content};
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::settings::catalog::{SPECS, Setting, Spec};
use crate::settings::env_names::Environment;
use crate::settings::flags::Flags;
use crate::settings::layers::Layers;
use crate::settings::origin::Origin;
use crate::settings::resolve::Settings;
use crate::sockets::Sockets;

/// What does not change while a gateway runs.
pub(crate) struct Inputs {
    pub(crate) flags: Flags,
    pub(crate) environment: Environment,
    pub(crate) sockets: Sockets,
}

/// What is found when the settings are read.
pub(crate) struct Reading {
    /// The files that they come from, as they were before they were looked at.
    pub(crate) files: Vec<(PathBuf, Content)>,
    /// What works and is probably not meant.
    pub(crate) warnings: Vec<Failure>,
    /// The profiles, the first one first; never empty.
    pub(crate) plans: Result<Vec<Plan>, Failures>,
}

/// A profile that can be served.
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) settings: Settings,
    pub(crate) upstream: Upstream,
    /// What is logged, as it was written.
    pub(crate) log: Option<String>,
    /// How its token is kept.
    keeping: Keeping,
    /// Where the client secrets come from.
    secret_origins: Vec<Origin>,
    listen_origin: Origin,
    admin_origin: Option<Origin>,
}

impl Inputs {
    /// Reads the settings of every profile that is asked for.
    pub(crate) fn read(&self) -> Reading {
        match self.layers() {
            Ok(layers) => read(&layers),
            Err(failure) => Reading { files: Vec::new(), warnings: Vec::new(), plans: Err(failure.into()) },
        }
    }

    /// The layers of every profile, with the sockets that belong to it.
    pub(crate) fn layers(&self) -> Result<Vec<Layers>, Failure> {
        let mut layers = Layers::read_all(&self.flags, &self.environment)?;
        self.sockets.assign(&mut layers)?;
        Ok(layers)
    }
}

/// Checks profiles, each and together.
pub(crate) fn read(profiles: &[Layers]) -> Reading {
    let mut files: Vec<_> = profiles.iter().flat_map(Layers::files).collect();
    files.sort();
    files.dedup();
    let files = files.into_iter().map(|path| (path.clone(), content(&path))).collect();
    let (mut warnings, mut failures, mut plans) = (Vec::new(), Vec::new(), Vec::new());
    for layers in profiles {
        let (settings, findings) = Settings::resolve(layers);
        let of_profile = |failure: Failure| if profiles.len() > 1 { in_profile(failure, layers) } else { failure };
        warnings.extend(findings.warnings.into_iter().map(of_profile));
        failures.extend(findings.errors.into_iter().chain(findings.gaps).map(of_profile));
        match settings.map(|settings| Plan::new(layers, settings)).transpose() {
            Ok(plan) => plans.extend(plan),
            Err(failure) => failures.push(of_profile(failure)),
        }
    }
    if failures.is_empty() {
        failures.extend(clashes(&plans));
        failures.extend(contradictions(&plans));
        warnings.extend(plans.iter().skip(1).filter_map(|plan| ignored_admin(plan, &plans[0])));
    }
    for findings in [&mut warnings, &mut failures] {
        let mut seen = Vec::new();
        findings.retain(|finding| {
            let is_new = !seen.contains(finding);
            seen.push(finding.clone());
            is_new
        });
    }
    Reading { files, warnings, plans: if failures.is_empty() { Ok(plans) } else { Err(Failures(failures)) } }
}

/// A finding that has no place of its own is about its profile.
fn in_profile(failure: Failure, layers: &Layers) -> Failure {
    match failure.place {
        Some(_) => failure,
        None => failure.at(format!("profile `{}`", layers.profile_name())),
    }
}

impl Plan {
    fn new(layers: &Layers, settings: Settings) -> Result<Self, Failure> {
        let upstream = super::upstream(&settings)?;
        settings.access.check_system(&settings.listen)?;
        Ok(Self {
            name: layers.profile_name().to_owned(),
            upstream,
            log: layers.plain(Setting::Log).map(|found| found.value),
            keeping: keeping(layers),
            secret_origins: [Setting::ClientSecret, Setting::ClientSecretNext]
                .into_iter()
                .filter_map(|key| layers.secret_origin(key))
                .collect(),
            listen_origin: layers.origin(Setting::Listen).unwrap_or(Origin::Default),
            admin_origin: layers.origin(Setting::AdminListen),
            settings,
        })
    }

    /// Do both trust the same servers, and show them the same certificate?
    pub(crate) fn has_same_trust(&self, other: &Self) -> bool {
        let files = [Setting::CaFile, Setting::ClientCert, Setting::ClientKey];
        files.iter().all(|file| self.keeping.get(file) == other.keeping.get(file))
    }

    /// The client that its secret belongs to, and where that is known.
    fn client(&self) -> Option<(&str, &str)> {
        let client = self.settings.identity.client()?;
        Some((self.settings.token_place(), &client.credential.client_id))
    }

    /// What tells its credential apart, if it has a client.
    pub(crate) fn key(&self) -> Option<CredentialKey> {
        let client = self.settings.identity.client()?;
        Some(CredentialKey::new(self.settings.token_place(), &client.credential, self.settings.label()))
    }
}

/// Two listeners that are one.
fn clashes(plans: &[Plan]) -> Vec<Failure> {
    let mut all: Vec<(String, &Address, &Origin)> = Vec::new();
    for Plan { name, settings, listen_origin, .. } in plans {
        all.extend(settings.listen.gateway.iter().map(|address| (format!("profile `{name}`"), address, listen_origin)));
    }
    if let Some(Plan { settings, admin_origin, .. }) = plans.first() {
        let origin = admin_origin.as_ref().unwrap_or(&Origin::Default);
        all.extend(settings.listen.admin.iter().map(|address| ("the admin listener".to_owned(), address, origin)));
    }
    let pairs = all.iter().enumerate().flat_map(|(at, one)| all[at + 1..].iter().map(move |two| (one, two)));
    pairs
        .filter(|((_, one, _), (_, two, _))| one.clashes_with(two))
        .map(|((one, address, of_one), (two, other, of_two))| {
            Failure::new(exit::CONFIG, format!("{one} and {two} would listen on the same address"))
                .at(address)
                .because(format!("{one}: {address} ({of_one})"))
                .because(format!("{two}: {other} ({of_two})"))
                .hint("give each profile a `listen` of its own in the settings file; a flag or a variable holds for all of them")
        })
        .collect()
}

/// Two profiles of which one cannot be as it is.
fn contradictions(plans: &[Plan]) -> Vec<Failure> {
    let pairs = plans.iter().enumerate().flat_map(|(at, one)| plans[at + 1..].iter().map(move |two| (one, two)));
    pairs
        .filter_map(|(one, two)| if one.key() == two.key() { two_ways(one, two) } else { stray_secret(one, two) })
        .collect()
}

/// One credential has one token, and one way to keep it.
fn two_ways(one: &Plan, two: &Plan) -> Option<Failure> {
    let mut differences = kept_otherwise(one, two);
    let secrets = |plan: &Plan| {
        let credential = plan.settings.identity.client().map(|client| client.credential.clone());
        credential.map(|credential| {
            let SecretPlaces { current, next } = credential.secret_places;
            let in_keyring = [current, next].map(|place| place.as_ref().and_then(SecretPlace::keyring).cloned());
            (credential.client_secret, credential.next_client_secret, in_keyring)
        })
    };
    if let (Some(of_one), Some(of_two)) = (secrets(one), secrets(two)) {
        differences.extend((of_one.0 != of_two.0).then_some(Setting::ClientSecret));
        differences.extend((of_one.1 != of_two.1).then_some(Setting::ClientSecretNext));
        differences.extend((of_one.2[0] != of_two.2[0]).then_some(Setting::ClientSecretIn));
        differences.extend((of_one.2[1] != of_two.2[1]).then_some(Setting::ClientSecretNextIn));
    }
    if one.settings.identity.seed() != two.settings.identity.seed() {
        differences.push(Setting::RefreshToken);
    }
    let names: Vec<String> = differences.iter().map(|setting| setting.spec().file_key()).collect();
    (!names.is_empty()).then(|| {
        Failure::new(
            exit::CONFIG,
            format!("profiles `{}` and `{}` have the same client, and keep its token in two ways", one.name, two.name),
        )
        .because(format!("they share one token and differ in {}", names.join(", ")))
        .hint("write these settings above the first table of the settings file, where they hold for every profile")
    })
}

/// A secret of a flag or a variable that holds for all profiles, though they are different clients.
fn stray_secret(one: &Plan, two: &Plan) -> Option<Failure> {
    if one.client() == two.client() {
        return None;
    }
    let is_for_all = |origin: &Origin| match origin {
        Origin::SecretFile { named_by, .. } => !matches!(**named_by, Origin::File(_)),
        Origin::Flag(_) | Origin::Variable(_) | Origin::EnvFile { .. } | Origin::Socket(_) | Origin::Default => true,
        Origin::File(_) => false,
    };
    let origin = one.secret_origins.iter().find(|origin| is_for_all(origin) && two.secret_origins.contains(origin))?;
    Some(
        Failure::new(
            exit::CONFIG,
            format!(
                "one client secret would be used for the two clients of profiles `{}` and `{}`",
                one.name, two.name
            ),
        )
        .at(origin)
        .because("a flag or a variable holds for every profile")
        .hint("name a file for each profile with `client_secret_file` in the settings file"),
    )
}

/// The status pages show all profiles; where, the first one says.
fn ignored_admin(plan: &Plan, first: &Plan) -> Option<Failure> {
    let origin = plan.admin_origin.as_ref().filter(|origin| Some(*origin) != first.admin_origin.as_ref())?;
    (plan.settings.listen.admin != first.settings.listen.admin).then(|| {
        Failure::new(exit::CONFIG, format!("the admin listener of profile `{}` is ignored", plan.name))
            .at(origin)
            .because(format!("one gateway has one, and profile `{}`, the first, says where it is", first.name))
            .hint(format!("take it away, or put it into profile `{}`", first.name))
    })
}

/// The settings in which two profiles want one token kept differently; its secrets are looked at elsewhere.
pub(crate) fn kept_otherwise(one: &Plan, two: &Plan) -> Vec<Setting> {
    SPECS.iter().map(|spec| spec.key).filter(|key| one.keeping.get(key) != two.keeping.get(key)).collect()
}

/// What was written about how a token is kept, and what was in the files that it names.
type Keeping = BTreeMap<Setting, (Option<String>, Option<Content>)>;

fn keeping(layers: &Layers) -> Keeping {
    let written = |spec: &Spec| {
        let text = layers.plain(spec.key).map(|found| found.value);
        let text = text.or_else(|| spec.default.map(str::to_owned));
        match kept_by(spec.key) {
            KeptBy::Text => (text, None),
            KeptBy::File => {
                let content = text.as_deref().map(|path| content(Path::new(path)));
                (text, content)
            }
            // A secret that cannot be read has been complained about.
            KeptBy::Secret => {
                (None, layers.secret(spec.key).ok().flatten().map(|found| Content::of(found.value.expose())))
            }
            KeptBy::Place => (layers.secret_origin(spec.key).map(|origin| origin.to_string()), None),
            KeptBy::Nothing => (None, None),
        }
    };
    SPECS.iter().map(|spec| (spec.key, written(spec))).collect()
}

/// What of a setting counts for how a token is kept.
enum KeptBy {
    Text,
    /// The path, and what is in the file.
    File,
    Secret,
    /// Where it comes from: it is read again for each token request.
    Place,
    /// Not this one: it makes another credential, can be replaced, or is about something else.
    Nothing,
}

fn kept_by(setting: Setting) -> KeptBy {
    match setting {
        Setting::Provider
        | Setting::ClientAuth
        | Setting::KeyId
        | Setting::SigningAlg
        | Setting::AssertionAudience
        | Setting::TokenField
        | Setting::Store
        | Setting::StoreKeyIn
        | Setting::LeaseTtl
        | Setting::Slack
        | Setting::Settle
        | Setting::SkewWarn
        | Setting::ProbePath
        | Setting::Timeout
        | Setting::TokenTimeout
        | Setting::MintBudget
        | Setting::AllowInsecureHttp => KeptBy::Text,
        Setting::ClientCert | Setting::ClientKey | Setting::CaFile => KeptBy::File,
        Setting::PrivateKey | Setting::StoreKey | Setting::StorePassphrase => KeptBy::Secret,
        Setting::Assertion | Setting::ClientAssertion => KeptBy::Place,
        Setting::Region
        | Setting::Issuer
        | Setting::TokenUrl
        | Setting::Upstream
        | Setting::ClientId
        | Setting::ClientSecret
        | Setting::ClientSecretNext
        | Setting::ClientSecretIn
        | Setting::ClientSecretNextIn
        | Setting::RefreshToken
        | Setting::AccessToken
        | Setting::Grant
        | Setting::Scope
        | Setting::Audience
        | Setting::Resource
        | Setting::Subject
        | Setting::AuthorizeUrl
        | Setting::DeviceUrl
        | Setting::RedirectUri
        | Setting::AllowVolatile
        | Setting::Listen
        | Setting::AdminListen
        | Setting::Callers
        | Setting::AdminCallers
        | Setting::CallerSecret
        | Setting::AllowedHost
        | Setting::AllowOrigin
        | Setting::VerdictHeader
        | Setting::Broker
        | Setting::RateLimited
        | Setting::RateLimit
        | Setting::CallerWeights
        | Setting::UpstreamTimeout
        | Setting::Log => KeptBy::Nothing,
    }
}
