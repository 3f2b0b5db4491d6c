//! Where the items of a page are, and what else a page says about its collection.

use sha2::{Digest as _, Sha256};

use super::answer::Answer;
use super::error::PageError;
use super::text::{Json, JsonPath};

/// How many items there are in all, as an answer says.
pub(super) fn total(answer: &Answer<'_>) -> Option<u64> {
    TOTALS.into_iter().find_map(|name| answer.number(name))
}

/// The items of an answer, and the place where they were found.
///
/// A later page, and one that says that there are none at all, may leave the list out: Genesys Cloud's queries do.
pub(super) fn find<'a>(
    answer: &Answer<'a>,
    place: Option<&JsonPath>,
    is_required: bool,
) -> Result<(Option<String>, Vec<Json<'a>>), PageError> {
    if let Some(place) = place {
        let not_a_list = || PageError::NotAList { path: place.to_string(), fields: answer.names() };
        let items = match answer.at(place) {
            Some(list) => list.elements().ok_or_else(not_a_list)?,
            None if is_required => return Err(not_a_list()),
            None => Vec::new(),
        };
        return Ok((Some(place.to_string()), items));
    }
    if let Some(items) = answer.whole().elements() {
        return Ok((Some(String::new()), items));
    }
    let lists = answer.lists();
    let known = LISTS.into_iter().find_map(|name| lists.iter().find(|(field, _)| *field == name));
    let only = if let [only] = lists.as_slice() { Some(only) } else { None };
    if let Some((name, list)) = known.or(only) {
        return Ok((Some(JsonPath::field(name).to_string()), list.elements().unwrap_or_default()));
    }
    // An object without any field is how some queries say that nothing was found.
    if lists.is_empty() && (!is_required || answer.whole().compact() == "{}") {
        return Ok((None, Vec::new()));
    }
    Err(PageError::NoItems { fields: answer.names() })
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

const TOTALS: [&str; 3] = ["total", "totalHits", "totalResults"];

/// What Genesys Cloud, SCIM and OData call the list, the commonest first.
const LISTS: [&str; 9] =
    ["entities", "Resources", "conversations", "results", "items", "userDetails", "value", "data", "records"];
