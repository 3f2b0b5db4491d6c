//! What the exit code of `evergrant` means.
//!
//! Scripts may rely on these numbers: a number never changes its meaning. They stay below 128, where shells report
//! signals. `exec` passes the code of its child through (128 + n if signal n ended it), so there these codes occur only
//! when the child was not started.

/// The command did its work.
pub(crate) const OK: u8 = 0;
/// The command failed for a reason without a code of its own, such as an output that cannot be written.
pub(crate) const FAILED: u8 = 1;
/// The command line was wrong.
pub(crate) const USAGE: u8 = 2;
/// A setting is wrong or missing.
pub(crate) const CONFIG: u8 = 3;
/// The token endpoint refused the credentials.
pub(crate) const REJECTED: u8 = 4;
/// An endpoint could not be reached, or did not answer in time.
pub(crate) const UNREACHABLE: u8 = 5;
/// A person has to log in again: the grant cannot be renewed.
pub(crate) const LOGIN_REQUIRED: u8 = 6;
/// The token endpoint answered, but not with a token.
pub(crate) const BAD_ANSWER: u8 = 7;
/// The token store cannot be read or written.
pub(crate) const STORE: u8 = 8;
/// The API answered `api` with an error status.
pub(crate) const API_STATUS: u8 = 9;
/// The gateway cannot listen on its address.
pub(crate) const LISTEN: u8 = 10;
/// `demo` ended with a 401 in the lane of Evergrant.
pub(crate) const DEMO_401: u8 = 11;
/// `doctor` found a fault; a warning is none.
pub(crate) const DOCTOR_FAULT: u8 = 12;
/// `explain` found no HTTP in its input.
pub(crate) const NO_HTTP: u8 = 13;
/// `simulate` found a promise broken in a drawn world.
pub(crate) const PROMISE_BROKEN: u8 = 14;
/// `api --paginate` got an answer that is no page, or that leads nowhere.
pub(crate) const NO_PAGE: u8 = 15;
/// Evergrant is broken: please report it.
pub(crate) const INTERNAL: u8 = 70;
/// `exec` found the command but could not start it.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// `exec` did not find the command.
pub(crate) const NOT_FOUND: u8 = 127;

/// Every code with its meaning, for help texts and the manual.
pub(crate) const TABLE: &[(u8, &str)] = &[
    (OK, "done"),
    (FAILED, "failed for a reason without a code of its own"),
    (USAGE, "the command line is wrong"),
    (CONFIG, "a setting is wrong or missing"),
    (REJECTED, "the token endpoint refused the credentials"),
    (UNREACHABLE, "an endpoint could not be reached or did not answer in time"),
    (LOGIN_REQUIRED, "a person has to log in again"),
    (BAD_ANSWER, "the token endpoint answered, but not with a token"),
    (STORE, "the token store cannot be read or written"),
    (API_STATUS, "`api`: the API answered with an error status"),
    (LISTEN, "`gateway`: the address cannot be listened on"),
    (DEMO_401, "`demo`: a 401 reached a caller of Evergrant"),
    (DOCTOR_FAULT, "`doctor`: a fault was found"),
    (NO_HTTP, "`explain`: there is no HTTP in the capture"),
    (PROMISE_BROKEN, "`simulate`: a promise was broken in a drawn world"),
    (NO_PAGE, "`api --paginate`: an answer is no page, or leads nowhere"),
    (INTERNAL, "evergrant is broken: please report it"),
    (NOT_EXECUTABLE, "`exec`: the command cannot be started"),
    (NOT_FOUND, "`exec`: the command was not found"),
];
