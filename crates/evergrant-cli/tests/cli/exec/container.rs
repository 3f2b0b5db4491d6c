//! As process 1, in a PID namespace of its own as in a container.
//!
//! The namespace is made by `unshare`: as it is for root, and inside a user namespace for everybody else, which root in a
//! container without the right to make namespaces is too. A system that allows neither fails these tests: there is no
//! other way to be process 1.

use std::process::Command;

use evergrant_core::time::Span;

use super::{genesys, lines};
use crate::support::{Run, program};

const UNSHARE: [&str; 5] = ["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"];

/// The binary as process 1.
fn first_process(arguments: &[&str]) -> Run {
    let mut words = UNSHARE.to_vec();
    let [unshare, flags @ ..] = UNSHARE;
    let tried = Command::new(unshare).args(flags).arg("true").output().expect("util-linux has unshare");
    if !tried.status.success() {
        words.extend(["--user", "--map-root-user"]);
    }
    words.push(env!("CARGO_BIN_EXE_evergrant"));
    words.extend(arguments);
    program(&words)
}

/// Makes three orphans, which end at a word, and waits until nothing is left of them, for ten seconds at most.
const ORPHANS: &str = r#"
    mkfifo "$HOME/word" && exec 9<>"$HOME/word"
    for n in 1 2 3; do (sh -c 'echo $$ >> "$HOME/orphans"; read word <&9' &); done
    until [ "$(wc -l < "$HOME/orphans")" = 3 ]; do sleep 0.01; done
    for orphan in $(cat "$HOME/orphans"); do
        until grep -qx 'PPid:	1' /proc/$orphan/status; do sleep 0.01; done
    done
    echo "orphans of $PPID"
    printf 'a\nb\nc\n' >&9
    for orphan in $(cat "$HOME/orphans"); do
        tries=0
        while [ -e /proc/$orphan ] && [ $tries -lt 1000 ]; do sleep 0.01; tries=$((tries + 1)); done
        [ -e /proc/$orphan ] && grep State: /proc/$orphan/status
    done
    exit 5"#;

#[test]
fn the_first_process_of_a_container_leaves_no_zombies() {
    let provider = genesys(Span::from_secs(100));
    for option in [&[][..], &["--gateway"]] {
        let arguments = [&["exec"], option, &["--", "sh", "-c", ORPHANS]].concat();
        let ended = first_process(&arguments).client_of(&provider).end();
        assert_eq!((ended.code(), ended.stdout.as_str()), (5, "orphans of 1\n"), "{option:?}: {}", ended.stderr);
    }
}

/// The ends of orphans arrive together with that of the command, and whose is whose is not mixed up.
#[test]
fn the_exit_code_stays_the_commands_among_orphans_that_end() {
    let provider = genesys(Span::from_secs(100));
    let crowd = "n=0; while [ $n -lt 20 ]; do (sh -c 'exit 9' &); n=$((n + 1)); done;";
    for (end, code) in [("exit 7", 7), ("kill -KILL $$", 137), ("exit 0", 0)] {
        for _ in 0..3 {
            let script = format!("{crowd} {end}");
            let ended = first_process(&["exec", "--", "sh", "-c", &script]).client_of(&provider).end();
            assert_eq!(ended.code(), code, "{end}: {}", ended.stderr);
        }
    }
}

#[test]
fn a_signal_to_the_first_process_of_a_container_reaches_the_command() {
    let provider = genesys(Span::from_secs(100));
    let script = r#"trap 'exit 6' TERM; echo child of $PPID; kill -TERM $PPID; while :; do sleep 0.05; done"#;
    let (mut running, _home) = first_process(&["exec", "--", "sh", "-c", script]).client_of(&provider).start();
    assert_eq!(lines(&mut running).next().unwrap().unwrap(), "child of 1");
    assert_eq!(running.wait().code(), Some(6));
}
