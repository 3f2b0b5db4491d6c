//! Signals: what ends a command, what ends a run before it, and what ends nothing.

use evergrant_core::time::Span;
use evergrant_sim::faults::{Event, TokenFault};
use rustix::process::Signal;

use super::{finish, genesys, lines};
use crate::support::{Folder, evergrant, program};

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

#[test]
fn a_signal_while_the_token_is_waited_for_ends_the_run() {
    for option in [&[][..], &["--gateway"], &["--token-file"]] {
        let provider = genesys(Span::from_secs(100));
        provider.handle().apply(Event::token(TokenFault::Slow(Span::from_secs(2))));
        let arguments = ["exec"].iter().chain(option).chain(&["--", "echo", "started"]);
        let (mut running, _home) = evergrant(arguments).client_of(&provider).start();
        running.when(|| provider.handle().ledger().token.in_flight > 0);
        running.signal(Signal::TERM);
        let mut said = lines(&mut running);
        assert_eq!(running.wait().code(), Some(143), "{option:?}");
        assert!(said.next().is_none(), "{option:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_exec_was_started_to_ignore_stays_ignored() {
    for option in ["", "--gateway"] {
        let provider = genesys(Span::from_secs(100));
        provider.handle().apply(Event::token(TokenFault::Slow(Span::from_secs(1))));
        let script = format!(
            r#"trap '' HUP INT; exec "$0" exec {option} -- sh -c 'grep SigIgn: /proc/self/status; read line; exit 6'"#
        );
        let run = program(&["sh", "-c", &script, env!("CARGO_BIN_EXE_evergrant")]).client_of(&provider);
        let (mut running, _home) = run.start();
        running.when(|| provider.handle().ledger().token.in_flight > 0);
        running.signal(Signal::HUP);
        let mut said = lines(&mut running);
        let line = said.next().unwrap().unwrap();
        let ignored = u64::from_str_radix(line.strip_prefix("SigIgn:").unwrap().trim(), 16).unwrap();
        assert_eq!(ignored & 0x4003, 0b11, "HUP and INT, but not TERM: {line}");
        running.signal(Signal::HUP);
        assert_eq!(finish(running, 6), "");
    }
}
