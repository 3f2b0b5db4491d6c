//! The snippet with its usual repair: sleep for a second after the refresh, so that the new token is known by then.
//!
//! Only the caller that refreshed sleeps; others take the new token at once.
//!
//! Source: forum advice on first requests that fail after a refresh; atlan-python PR 592 sleeps five seconds.

use evergrant_core::time::Span;

use super::rules::Rules;
use super::snippet;

pub(super) const RULES: Rules = Rules { pause: |_| Span::from_secs(1), ..snippet::RULES };
