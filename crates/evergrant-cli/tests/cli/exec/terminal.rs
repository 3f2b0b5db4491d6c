//! Stopping and going on, under a shell with job control on a terminal of its own.

use std::io::{Read as _, Write as _};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use evergrant_core::time::Span;

use super::genesys;
use crate::support::{Running, program};

const PATIENCE: Duration = Duration::from_secs(30);

/// A terminal with a shell, by `script`, which makes one.
struct Terminal {
    running: Running,
    shown: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn types(&mut self, keys: &str) {
        self.running.child().stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the terminal shows this after all that was waited for before.
    fn shows(&mut self, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(wanted) {
                self.seen.drain(..at + wanted.len());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("`{wanted}` is not shown ({error}), but:\n{}", self.seen),
            }
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_command_stops_with_its_terminal_and_goes_on_with_its_gateway() {
    let provider = genesys(Span::from_secs(100));
    let run = program(&["script", "--quiet", "--return", "--command", "bash --norc --noprofile -i", "/dev/null"]);
    let run = run.client_of(&provider).env("EVERGRANT_PROVIDER", "genesys").env("TERM", "dumb");
    let (mut running, _home) = run.env("EVERGRANT", env!("CARGO_BIN_EXE_evergrant")).start();
    let mut output = running.child().stdout.take().unwrap();
    let (sender, shown) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = output.read(&mut bytes) {
            if sender.send(bytes[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut terminal = Terminal { running, shown, seen: String::new() };
    // Each word is put together by the shell, so that what is typed is not taken for what is said.
    let waits =
        r#"echo sta"rt"ed; read line; curl --silent "$EVERGRANT_GATEWAY_URL/api/v2/users/me"; echo en"d"ed; exit 6"#;
    terminal.types(&format!("\"$EVERGRANT\" exec --gateway -- bash -c '{waits}'\n"));
    terminal.shows("started");
    terminal.types("\x1a");
    terminal.shows("Stopped");
    terminal.types("echo mean\"while\"\n");
    terminal.shows("meanwhile");
    terminal.types("fg\n");
    terminal.shows("exec --gateway");
    terminal.types("go on\n");
    terminal.shows(r#""path":"/api/v2/users/me""#);
    terminal.shows("ended");
    terminal.types("echo code=$?\n");
    terminal.shows("code=6");
    // The command stops itself, as an editor does; nobody but its parent is told.
    let stops = r#"echo ag"ai"n; kill -STOP $$; echo wo"k"en"#;
    terminal.types(&format!("\"$EVERGRANT\" exec -- bash -c '{stops}'\n"));
    terminal.shows("again");
    terminal.shows("Stopped");
    terminal.types("fg\n");
    terminal.shows("woken");
    terminal.types("exit\n");
    assert!(terminal.running.wait().success());
}
