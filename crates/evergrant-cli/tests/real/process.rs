//! A child process whose output is read line by line, and which ends with the test that started it.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Output {
    written: Mutex<Written>,
    grew: Condvar,
}

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    /// How many of the two outputs have ended.
    closed: usize,
}

/// A running program; killed when dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    /// Open for as long as the process should live: the foreign parts end when it closes.
    input: Option<ChildStdin>,
    output: Arc<Output>,
}

impl Process {
    /// Starts a program and reads both of its outputs.
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let output = Arc::new(Output::default());
        read(child.stdout.take(), &output);
        read(child.stderr.take(), &output);
        Self { name: name.to_owned(), input: child.stdin.take(), child, output }
    }

    /// The first value that `find` makes of a line, also of one that was written before.
    pub(crate) fn line<T>(&self, find: impl Fn(&str) -> Option<T>) -> T {
        self.line_within(PATIENCE, find)
    }

    /// Its standard input.
    pub(crate) fn input(&self) -> &ChildStdin {
        self.input.as_ref().expect("the input closes with the process")
    }

    /// Gives it this input and closes it; for programs that live on after that.
    pub(crate) fn with_input(mut self, text: &str) -> Self {
        self.input.take().expect("the input is open").write_all(text.as_bytes()).expect("it reads its input");
        self
    }

    /// The first value that `find` makes of a line within this time.
    pub(crate) fn line_within<T>(&self, patience: Duration, find: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + patience;
        let mut written = self.output.written.lock().unwrap();
        loop {
            if let Some(found) = written.lines.iter().find_map(|line| find(line)) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let is_over = left.is_zero() || written.closed == 2;
            assert!(!is_over, "{} never said what was waited for; it said:\n{}", self.name, written.lines.join("\n"));
            written = self.output.grew.wait_timeout(written, left).unwrap().0;
        }
    }

    /// The system's number for it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written so far.
    pub(crate) fn said(&self) -> String {
        self.output.written.lock().unwrap().lines.join("\n")
    }

    /// Closes its standard input, at which the foreign parts end, and waits until it has ended.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        drop(self.input.take());
        let is_open = |written: &mut Written| written.closed < 2;
        let written = self.output.written.lock().unwrap();
        let (written, waited) = self.output.grew.wait_timeout_while(written, PATIENCE, is_open).unwrap();
        let said = written.lines.join("\n");
        assert!(!waited.timed_out(), "{} did not end; it said:\n{said}", self.name);
        drop(written);
        (self.child.wait().unwrap(), said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; both calls then have nothing to do.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.name, self.said());
        }
    }
}

fn read(from: Option<impl Read + Send + 'static>, output: &Arc<Output>) {
    let (from, output) = (from.expect("both outputs are pipes"), Arc::clone(output));
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            output.written.lock().unwrap().lines.push(line);
            output.grew.notify_all();
        }
        output.written.lock().unwrap().closed += 1;
        output.grew.notify_all();
    });
}
