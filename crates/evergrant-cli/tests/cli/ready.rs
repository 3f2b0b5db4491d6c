//! `evergrant ready`.

use crate::gateway::{FREE_PORTS, address, log_of};
use crate::support::{closed_port, evergrant, provider};

#[test]
fn a_gateway_that_holds_a_token_is_ready() {
    let provider = provider();
    let (mut running, _home) = evergrant(FREE_PORTS).client_of(&provider).start();
    let admin = address(&mut log_of(&mut running), "admin");
    let ended = evergrant(["ready", "--wait", "30s"]).env("EVERGRANT_ADMIN_LISTEN", &admin).end();
    assert_eq!(ended.shown(), "exit code: 0\n--- stdout\n--- stderr\n");
}

#[test]
fn a_gateway_without_a_token_is_not() {
    let provider = provider();
    let wrong = evergrant(FREE_PORTS).client_of(&provider).env("EVERGRANT_CLIENT_SECRET", "not-the-secret");
    let (mut running, _home) = wrong.start();
    let admin = address(&mut log_of(&mut running), "admin");
    let said = evergrant(["ready", "--wait", "300ms", "--admin-listen", &admin]).end().failed(1);
    insta::assert_snapshot!(said.replace(&admin, "ADDRESS"), @r"
    error: the gateway is not ready
      in: ADDRESS
      cause: no usable token
    hint: its log and its status page say more
    ");
}

#[test]
fn a_gateway_that_is_not_there_yet_is_waited_for() {
    let (provider, admin) = (provider(), closed_port().to_string());
    let (waiting, _waiting_home) = evergrant(["ready", "--wait", "60s", "--admin-listen", &admin]).start();
    let words = ["gateway", "--listen", "127.0.0.1:0", "--admin-listen", &admin];
    let (_running, _home) = evergrant(words).client_of(&provider).start();
    assert_eq!(waiting.wait().code(), Some(0));
}

#[test]
fn nobody_and_somebody_else_are_not_ready() {
    let nobody = evergrant(["ready", "--admin-listen", &closed_port().to_string()]).end().failed(5);
    assert!(nobody.contains("no gateway answers") && nobody.contains("hint: start one with"), "{nobody}");
    let other = provider();
    let other = evergrant(["ready", "--admin-listen", &other.addr().to_string()]).end().failed(5);
    assert!(other.contains("what answers there is no gateway of Evergrant"), "{other}");
}
