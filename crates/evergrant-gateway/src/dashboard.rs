//! The dashboard's files, and what a browser may do with them.
//!
//! One page, its style and its scripts, as plain files beside this module and inside the program: nothing is built and
//! nothing is loaded from elsewhere. The policy lets the page run its own scripts and talk to its own listener; it may
//! not be framed, so that no other page can put it under a stranger's pointer.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue};

/// A file of the dashboard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asset {
    path: &'static str,
    pub(crate) content_type: &'static str,
    text: &'static str,
}

impl Asset {
    /// The file at this path.
    pub(crate) fn at(path: &str) -> Option<Self> {
        ASSETS.iter().find(|asset| asset.path == path).copied()
    }

    pub(crate) fn body(self) -> Bytes {
        Bytes::from_static(self.text.as_bytes())
    }
}

/// Fields that every answer of the admin listener carries.
pub(crate) fn protect(headers: &mut HeaderMap) {
    for (name, value) in PROTECTION {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

const PROTECTION: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' \
                      data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

macro_rules! asset {
    ($path:literal, $type:expr, $file:literal) => {
        Asset { path: $path, content_type: $type, text: include_str!(concat!("dashboard/", $file)) }
    };
}

const ASSETS: [Asset; 9] = [
    asset!("/", HTML, "index.html"),
    asset!("/dashboard/style.css", CSS, "style.css"),
    asset!("/dashboard/main.js", JS, "main.js"),
    asset!("/dashboard/feed.js", JS, "feed.js"),
    asset!("/dashboard/plots.js", JS, "plots.js"),
    asset!("/dashboard/dom.js", JS, "dom.js"),
    asset!("/dashboard/panels.js", JS, "panels.js"),
    asset!("/dashboard/timeline.js", JS, "timeline.js"),
    asset!("/dashboard/words.js", JS, "words.js"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_page_names_is_there() {
        for asset in ASSETS {
            let names = asset.text.split(['"', '\'']).filter(|name| name.ends_with(".js") || name.ends_with(".css"));
            for name in names {
                let path = name.strip_prefix("./").map_or_else(|| name.to_owned(), |name| format!("/dashboard/{name}"));
                assert!(Asset::at(&path).is_some(), "{} names {name}", asset.path);
            }
        }
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere_and_nothing_is_inline() {
        for asset in ASSETS {
            let text = asset.text.replace("http://www.w3.org/2000/svg", "");
            for forbidden in ["http://", "https://", "style=\"", "onclick", "innerHTML", "eval("] {
                assert!(!text.contains(forbidden), "{} has {forbidden}", asset.path);
            }
        }
        assert!(!Asset::at("/").unwrap().text.contains("<script>"));
    }
}
