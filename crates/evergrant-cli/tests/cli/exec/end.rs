//! How a command ends when `exec` is not there to end it.

use evergrant_core::time::Span;
use rustix::process::Signal;

use super::{genesys, lines};
use crate::support::{Folder, evergrant};

const TRAPS: &str = r#"trap 'touch "$DONE"; exit' TERM; echo ready; while :; do sleep 0.05; done"#;

#[test]
#[cfg(target_os = "linux")]
fn a_command_is_ended_when_nobody_serves_it_any_more() {
    let provider = genesys(Span::from_secs(100));
    for option in ["--gateway", "--token-file"] {
        let folder = Folder::new();
        let done = folder.path().join("done");
        let run = evergrant(["exec", option, "--", "sh", "-c", TRAPS]).client_of(&provider).env("DONE", &done);
        let (mut running, _home) = run.env("XDG_RUNTIME_DIR", folder.path()).start();
        let mut said = lines(&mut running);
        assert_eq!(said.next().unwrap().unwrap(), "ready");
        running.signal(Signal::KILL);
        running.wait();
        // The command is the last to have this pipe.
        assert!(said.next().is_none());
        assert!(done.exists(), "{option}");
    }
}

#[test]
fn every_other_signal_reaches_the_command_beside_a_gateway_too() {
    let provider = genesys(Span::from_secs(100));
    for (name, signal) in [("HUP", Signal::HUP), ("USR1", Signal::USR1), ("TERM", Signal::TERM)] {
        let script = format!("trap 'echo {name}; exit 5' {name}; echo ready; while :; do sleep 0.05; done");
        let (mut running, _home) =
            evergrant(["exec", "--gateway", "--", "sh", "-c", &script]).client_of(&provider).start();
        let mut said = lines(&mut running);
        assert_eq!(said.next().unwrap().unwrap(), "ready");
        running.signal(signal);
        assert_eq!(said.next().unwrap().unwrap(), name);
        assert_eq!(running.wait().code(), Some(5));
    }
}
