//! `evergrant store`: what the token store holds, and moving or forgetting it. No token is ever shown.
//!
//! A store names credentials by a hash, so the one that the settings describe is marked. A credential is asked for by
//! the first digits of its name; where there is only one, or one of these settings, it need not be named. What is
//! forgotten has to be named always.

mod text;

use evergrant::clock;
use evergrant::core::time::Span;
use evergrant::store::{Contents, CredentialKey, Listed, MoveError, OtherLogin, Record, Stamp, Store, StoreUrl};
use serde_json::{Value, json};

use crate::args::{MoveArgs, StoreCommand};
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::launch;
use crate::render;
use crate::settings::layers::Layers;
use crate::settings::resolve::{Settings, StoreSettings};

/// Runs a subcommand.
pub(crate) fn run(command: &StoreCommand, layers: &Layers) -> Result<u8, Failures> {
    let settings = StoreSettings::resolve(layers)?;
    if settings.url == StoreUrl::Memory {
        return Err(Failure::new(exit::CONFIG, "there is no store to look at")
            .at("store = memory")
            .because("what is kept in memory ends with each process")
            .hint("name the store with --store file:PATH, or EVERGRANT_STORE")
            .into());
    }
    let store = settings.open()?;
    launch::small_runtime()?.block_on(act(command, layers, &settings, &store))?;
    Ok(exit::OK)
}

async fn act(command: &StoreCommand, layers: &Layers, settings: &StoreSettings, store: &Store) -> Result<(), Failures> {
    let contents = store.contents().await.map_err(|error| launch::store_failure(&error))?;
    let ours = Ours::of(layers);
    match command {
        StoreCommand::List(args) => list(&contents, settings, &ours, args.json)?,
        StoreCommand::Show(args) => show(find(&contents, args.credential.as_deref(), &ours)?, &ours, args.json)?,
        StoreCommand::Move(args) => {
            let destination = StoreSettings::destination(layers, args)?;
            let key = &find(&contents, args.credential.as_deref(), &ours)?.key;
            move_to(key, (settings, store), &destination, args).await?;
        }
        StoreCommand::Forget(args) => {
            let key = &find(&contents, Some(&args.credential), &ours)?.key;
            forget(key, settings, store, args.json).await?;
        }
    }
    Ok(())
}

async fn forget(key: &CredentialKey, settings: &StoreSettings, store: &Store, as_json: bool) -> Result<(), Failure> {
    store.forget(key, clock::boot() + PATIENCE).await.map_err(|error| launch::store_failure(&error))?;
    told(as_json, json!({ "forgotten": key.as_str() }), || {
        format!(
            "Forgotten. A process that still runs with {} asks for a login when its access token ends.",
            settings.url
        )
    })
}

fn list(contents: &Contents, settings: &StoreSettings, ours: &Ours, as_json: bool) -> Result<(), Failure> {
    if as_json {
        let credentials: Vec<Value> = contents.credentials.iter().map(|listed| shape(listed, ours)).collect();
        let (store, beside) = (settings.url.to_string(), &contents.beside);
        return render::json(&json!({ "store": store, "credentials": credentials, "beside": beside }));
    }
    for path in &contents.beside {
        Failure::new(exit::STORE, "a file lies beside the store that is no part of it")
            .at(path.display())
            .because("it was damaged and kept, or a crash left it unfinished")
            .hint("remove it once its tokens are not wanted any more")
            .print_warning();
    }
    if contents.credentials.is_empty() {
        let what = if contents.exists { "holds no credential" } else { "does not exist yet" };
        anstream::eprintln!("{} {what}.", settings.url);
        return Ok(());
    }
    render::data(text::table(&contents.credentials, ours).as_bytes())
}

fn show(listed: &Listed, ours: &Ours, as_json: bool) -> Result<(), Failure> {
    if as_json { render::json(&shape(listed, ours)) } else { render::data(text::sheet(listed, ours).as_bytes()) }
}

async fn move_to(
    key: &CredentialKey,
    (settings, store): (&StoreSettings, &Store),
    destination: &StoreSettings,
    args: &MoveArgs,
) -> Result<(), Failure> {
    if destination.url == settings.url {
        return Err(move_failure(&MoveError::SamePlace));
    }
    if destination.url == StoreUrl::Memory {
        return Err(Failure::new(exit::USAGE, "the credential was not moved")
            .because("what is kept in memory ends with this command")
            .hint("name a store that lasts with --to"));
    }
    let other = destination.open()?;
    let other_login = if args.replace { OtherLogin::IsReplaced } else { OtherLogin::Stays };
    let moved = store.move_to(&other, key, other_login, clock::boot() + PATIENCE).await;
    let moved = moved.map_err(|error| move_failure(&error))?;
    let shape = json!({
        "moved": key.as_str(),
        "generation": moved.generation,
        "replaced": moved.replaced,
        "from": settings.url.to_string(),
        "to": destination.url.to_string(),
    });
    told(args.json, shape, || {
        let replaced = moved.replaced.map(|old| format!(", in place of generation {old}")).unwrap_or_default();
        format!(
            "Moved generation {} from {} to {}{replaced}.\n\
             hint: set EVERGRANT_STORE={}, and its key, for everything that used the old store, and restart it",
            moved.generation, settings.url, destination.url, destination.url
        )
    })
}

fn told(as_json: bool, shape: Value, words: impl FnOnce() -> String) -> Result<(), Failure> {
    if as_json {
        return render::json(&shape);
    }
    anstream::eprintln!("{}", words());
    Ok(())
}

fn move_failure(error: &MoveError) -> Failure {
    let code = match error {
        MoveError::Source(_) | MoveError::Destination(_) | MoveError::NotForgotten(_) => exit::STORE,
        MoveError::SamePlace => exit::USAGE,
        MoveError::Nothing
        | MoveError::Newer { .. }
        | MoveError::OtherLogin { .. }
        | MoveError::Differs { .. }
        | MoveError::Unverified => exit::FAILED,
    };
    let is_copied = matches!(error, MoveError::NotForgotten(_));
    let what =
        if is_copied { "the credential was copied and not removed here" } else { "the credential was not moved" };
    Failure::new(code, what).because(error).hint(error.hint())
}

/// The credentials that the settings describe, if they describe any: as they are, and after a login.
struct Ours(Vec<CredentialKey>);

impl Ours {
    fn of(layers: &Layers) -> Self {
        let key = |layers: &Layers| {
            let settings = Settings::resolve(layers).0?;
            let credential = &settings.identity.client()?.credential;
            Some(CredentialKey::new(settings.token_place(), credential, settings.label()))
        };
        Self([key(layers), key(&layers.with_grant_of_a_login())].into_iter().flatten().collect())
    }

    fn has(&self, key: &CredentialKey) -> bool {
        self.0.contains(key)
    }
}

/// The credential whose name begins like this; unnamed, the one of these settings or the only one.
fn find<'a>(contents: &'a Contents, asked: Option<&str>, ours: &Ours) -> Result<&'a Listed, Failure> {
    let all = &contents.credentials;
    let found: Vec<&Listed> = match asked {
        Some(text) => {
            let text = text.to_ascii_lowercase();
            all.iter().filter(|listed| !text.is_empty() && listed.key.as_str().starts_with(&text)).collect()
        }
        None => match all.iter().filter(|listed| ours.has(&listed.key)).collect::<Vec<_>>() {
            found if found.is_empty() => all.iter().collect(),
            found => found,
        },
    };
    match (found.as_slice(), asked) {
        ([one], _) => Ok(one),
        ([], Some(text)) => Err(Failure::new(exit::FAILED, "the store holds no such credential")
            .because(format!("no name in it begins with `{text}`"))
            .hint("`evergrant store list` shows the names")),
        ([], None) => Err(Failure::new(exit::FAILED, "the store holds no credential")
            .hint("`evergrant login` or the first token puts one there")),
        ([..], _) => Err(Failure::new(exit::USAGE, "several credentials are meant")
            .because(found.iter().map(|listed| listed.key.short()).collect::<Vec<_>>().join(", "))
            .hint("give the first digits of one of them")),
    }
}

/// A credential as JSON.
fn shape(listed: &Listed, ours: &Ours) -> Value {
    let mut shape = json!({
        "credential": listed.key.as_str(),
        "of_these_settings": ours.has(&listed.key),
    });
    let record = match &listed.record {
        Ok(record) => record,
        Err(cause) => {
            shape["damaged"] = json!(cause);
            return shape;
        }
    };
    shape["generation"] = json!(record.generation);
    shape["access_token"] = json!(record.access_token.is_some());
    shape["refresh_token"] = json!(record.refresh_token.is_some());
    shape["token_type"] = json!(record.token_type);
    shape["expires_in"] = json!(record.expires_in.map(Span::as_secs));
    shape["issued_secs_ago"] = json!(issued_ago(record).map(Span::as_secs));
    shape["in_doubt"] = record.intent.as_ref().map_or(Value::Null, |intent| {
        json!({ "host": intent.owner.host, "pid": intent.owner.pid, "secs_ago": age(&intent.at).map(Span::as_secs) })
    });
    shape["mints_in_10m"] = json!(record.mints_within(MINT_WINDOW, clock::now()));
    shape
}

fn issued_ago(record: &Record) -> Option<Span> {
    record.issued.as_ref().and_then(|issued| age(&issued.sent))
}

/// On another boot the wall clock tells: good enough for a person.
fn age(stamp: &Stamp) -> Option<Span> {
    stamp.age(clock::now(), None)
}

/// How long somebody else may hold a lease: a refresh takes seconds at most.
const PATIENCE: Span = Span::from_secs(15);

const MINT_WINDOW: Span = Span::from_secs(600);

#[cfg(test)]
mod tests {
    use evergrant::store::StoreError;

    use super::*;

    #[test]
    fn a_copy_that_stayed_behind_is_not_called_unmoved() {
        let failure = move_failure(&MoveError::NotForgotten(StoreError::ShuttingDown));
        assert_eq!(failure.what, "the credential was copied and not removed here");
        assert!(failure.hints[0].contains("run the same move again"), "{failure:?}");
        assert_eq!(move_failure(&MoveError::Nothing).what, "the credential was not moved");
    }
}
