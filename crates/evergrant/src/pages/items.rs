//! Where the items of a page are, and what else a page says about its collection.

use sha2::{Digest as _, Sha256};

use super::error::PageError;
use super::text::{Json, JsonPath};

/// How many items there are in all, as an answer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Total(pub(super) u64);

/// What an answer says about the size of the whole.
pub(super) fn total(answer: Json<'_>) -> Option<Total> {
    TOTALS.into_iter().find_map(|name| answer.at(&JsonPath::new(name))?.as_number()).map(Total)
}

/// The items of an answer, and the place where they were found.
///
/// A later page, and one that says that there are none at all, may leave the list out: Genesys Cloud's queries do.
pub(super) fn find<'a>(
    answer: Json<'a>,
    place: Option<&JsonPath>,
    is_required: bool,
) -> Result<(Option<String>, Vec<Json<'a>>), PageError> {
    if let Some(place) = place {
        return match answer.at(place) {
            Some(list) if !list.is_null() => match list.elements() {
                Some(items) => Ok((Some(place.to_string()), items)),
                None => Err(not_a_list(place, answer)),
            },
            Some(_) | None if is_required => Err(not_a_list(place, answer)),
            Some(_) | None => Ok((Some(place.to_string()), Vec::new())),
        };
    }
    if let Some(items) = answer.elements() {
        return Ok((Some(String::new()), items));
    }
    let fields = answer.fields();
    let lists: Vec<_> = fields.iter().filter(|(_, value)| value.text().starts_with('[')).collect();
    let known = LISTS.into_iter().find_map(|name| lists.iter().find(|(field, _)| field == name).copied());
    let found = known.or(if let [only] = lists.as_slice() { Some(*only) } else { None });
    match found {
        Some((name, list)) => {
            let place = JsonPath::new(&format!("/{}", name.replace('~', "~0").replace('/', "~1")));
            Ok((Some(place.to_string()), list.elements().unwrap_or_default()))
        }
        // An object without any field is how some queries say that nothing was found.
        None if lists.is_empty() && (!is_required || (fields.is_empty() && answer.text().starts_with('{'))) => {
            Ok((None, Vec::new()))
        }
        None => Err(PageError::NoItems { fields: names(answer) }),
    }
}

/// What tells a page from another one; `None` for an empty page.
pub(super) fn digest(items: &[Json<'_>]) -> Option<String> {
    let mut hash = Sha256::new();
    items.iter().for_each(|item| hash.update(item.text()));
    (!items.is_empty()).then(|| short(&hash.finalize()))
}

/// As [`digest`], of any bytes.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    short(&Sha256::digest(bytes))
}

fn short(hash: &[u8]) -> String {
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn not_a_list(place: &JsonPath, answer: Json<'_>) -> PageError {
    PageError::NotAList { path: place.to_string(), fields: names(answer) }
}

fn names(answer: Json<'_>) -> Vec<String> {
    answer.fields().into_iter().map(|(name, _)| name).collect()
}

const TOTALS: [&str; 3] = ["total", "totalHits", "totalResults"];

/// What Genesys Cloud, SCIM and OData call the list, the commonest first.
const LISTS: [&str; 9] =
    ["entities", "Resources", "conversations", "results", "items", "userDetails", "value", "data", "records"];
