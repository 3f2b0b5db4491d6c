//! Where items go, and how far they have got.
//!
//! Of a regular file, named or as standard output, the length is known, so an export that was stopped can be cut back to
//! its last whole page. What went into a pipe is gone.
//!
//! What a named file holds is replaced by the first page and not before: an export that brings none leaves it as it was.
//!
//! The reader of a pipe or a terminal may let us wait for ever, and a signal must end the export all the same. So these are
//! written to by a thread of its own, which may stay behind with a page of which nobody knows how much was written.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{OFlags, fcntl_getfl};
use serde::{Deserialize, Serialize};

use super::resume::sync_name;
use crate::exit;
use crate::failure::Failure;

/// What an output is, as a resume file names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Target {
    /// A file by its path.
    File(PathBuf),
    /// Standard output, which is a file.
    StandardOutput {
        /// Its device.
        device: u64,
        /// Its number there.
        inode: u64,
    },
    /// Standard output, which is a pipe or a terminal.
    Pipe,
}

/// An open output.
pub(super) struct Output {
    file: Arc<File>,
    target: Target,
    bytes: u64,
    kind: Kind,
    /// A terminal's.
    filter: Filter,
    /// What the file held before is still there.
    is_old: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// What was written can be cut back and made durable.
    File,
    /// A person looks at it.
    Terminal,
    /// A pipe, a device.
    Other,
}

impl Target {
    /// The output that the command line names; nothing is opened for writing yet.
    pub(super) fn of(path: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = path {
            return std::path::absolute(path).map(Self::File).map_err(|error| unwritable(path.display(), &error));
        }
        let metadata = standard_output().and_then(|file| file.metadata());
        let metadata = metadata.map_err(|error| unwritable("standard output", &error))?;
        Ok(match metadata.is_file() {
            true => Self::StandardOutput { device: metadata.dev(), inode: metadata.ino() },
            false => Self::Pipe,
        })
    }

    /// Its name for a person.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::StandardOutput { .. } | Self::Pipe => "standard output".to_owned(),
        }
    }
}

impl Output {
    /// Opens it: for a new export, or for one that left it `begun` with so many bytes. May wait for the reader of a pipe.
    pub(super) fn open(target: Target, begun: Option<u64>, can_be_resumed: bool) -> Result<Self, Failure> {
        match begun {
            Some(bytes) => Self::reopen(target, bytes),
            None => Self::create(target, can_be_resumed),
        }
    }

    /// Opens it for its first page. A file that holds something is replaced then, unless it `must_be_new`.
    fn create(target: Target, must_be_new: bool) -> Result<Self, Failure> {
        let failed = |error: io::Error| unwritable(target.shown(), &error);
        let (file, bytes) = match &target {
            Target::File(path) => {
                let is_used = path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0);
                if must_be_new && is_used {
                    return Err(Failure::new(exit::USAGE, "the output holds something already")
                        .at(path.display())
                        .because("no resume file says which pages it holds")
                        .hint("name another --output, remove this one, or name the --resume file of its export"));
                }
                (OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?, 0)
            }
            Target::StandardOutput { .. } => {
                let mut file = standard_output().map_err(failed)?;
                let end = if appends(&file) { SeekFrom::End(0) } else { SeekFrom::Current(0) };
                let bytes = file.seek(end).map_err(failed)?;
                (file, bytes)
            }
            Target::Pipe => (standard_output().map_err(failed)?, 0),
        };
        let mut output = Self::locked(file, target, bytes)?;
        output.is_old = matches!(output.target, Target::File(_)) && output.is_file();
        if must_be_new {
            output.sync_name()?;
        }
        Ok(output)
    }

    /// Opens it as a stopped export left it, and cuts off what was written after its last whole page.
    fn reopen(target: Target, bytes: u64) -> Result<Self, Failure> {
        let failed = |error: io::Error| unwritable(target.shown(), &error);
        let file = match &target {
            // A run that was stopped before it opened the file left none.
            Target::File(path) => OpenOptions::new().write(true).create(bytes == 0).truncate(false).open(path),
            Target::StandardOutput { .. } | Target::Pipe => standard_output(),
        };
        let output = Self::locked(file.map_err(failed)?, target.clone(), bytes)?;
        if output.is_file() {
            let mut file = &*output.file;
            let length = file.metadata().map_err(failed)?.len();
            if length < bytes {
                return Err(shorter(&target, length, bytes));
            }
            file.set_len(bytes).and_then(|()| file.seek(SeekFrom::Start(bytes))).map_err(failed)?;
        }
        if bytes == 0 {
            output.sync_name()?;
        }
        Ok(output)
    }

    /// Can what was written be cut back?
    pub(super) fn is_file(&self) -> bool {
        self.kind == Kind::File
    }

    /// Is a person looking at it?
    pub(super) fn is_terminal(&self) -> bool {
        self.kind == Kind::Terminal
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// How long it is.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes a page. If this is given up, which it can be for a pipe or a terminal alone, a part of it may be written, or
    /// be written later.
    pub(super) async fn write(&mut self, page: Vec<u8>) -> io::Result<()> {
        let length = page.len() as u64;
        if self.is_file() {
            if std::mem::take(&mut self.is_old) {
                self.file.set_len(0)?;
            }
            (&*self.file).write_all(&page)?;
        } else {
            let page = if self.is_terminal() { self.filter.shown(&page) } else { page };
            let file = Arc::clone(&self.file);
            tokio::task::spawn_blocking(move || (&*file).write_all(&page)).await.map_err(io::Error::other)??;
        }
        if !self.is_terminal() {
            self.bytes += length;
        }
        Ok(())
    }

    /// Makes what was written durable, as far as it can be.
    pub(super) fn sync(&self) -> io::Result<()> {
        if self.is_file() { self.file.sync_data() } else { Ok(()) }
    }

    /// Makes the name of a new file durable: after a power cut its resume file must not be there without it.
    fn sync_name(&self) -> Result<(), Failure> {
        let Target::File(path) = &self.target else { return Ok(()) };
        if !self.is_file() {
            return Ok(());
        }
        let synced = path.canonicalize().and_then(|path| sync_name(&path));
        synced.map_err(|error| unwritable(self.target.shown(), &error))
    }

    /// Takes the file for this process alone: two exports into one file would be none.
    fn locked(file: File, target: Target, bytes: u64) -> Result<Self, Failure> {
        let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
        if is_file && matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)) {
            return Err(Failure::new(exit::FAILED, "another process writes into the output")
                .at(target.shown())
                .hint("wait for its end, or name another --output"));
        }
        let kind = match (is_file, file.is_terminal()) {
            (true, _) => Kind::File,
            (false, true) => Kind::Terminal,
            (false, false) => Kind::Other,
        };
        Ok(Self { file: Arc::new(file), target, bytes, kind, filter: Filter::default(), is_old: false })
    }
}

/// Standard output without the buffer of the standard library.
fn standard_output() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// A terminal gets no control characters, neither ASCII's nor those from U+0080 to U+009F: what an API says must not be
/// able to write elsewhere on it. Text may come in any pieces.
#[derive(Default)]
struct Filter {
    /// The byte that such a character begins with has come, and was kept back.
    has_lead: bool,
}

impl Filter {
    fn shown(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            let had_lead = std::mem::replace(&mut self.has_lead, byte == LEAD);
            let moves_the_cursor = match had_lead {
                true => (0x80..=0x9f).contains(&byte),
                false => byte.is_ascii_control() && !matches!(byte, b'\n' | b'\t'),
            };
            if had_lead && !moves_the_cursor {
                shown.push(LEAD);
            }
            if !moves_the_cursor && !self.has_lead {
                shown.push(byte);
            }
        }
        shown
    }
}

fn appends(file: &File) -> bool {
    fcntl_getfl(file).is_ok_and(|flags| flags.contains(OFlags::APPEND))
}

fn shorter(target: &Target, length: u64, bytes: u64) -> Failure {
    let failure = Failure::new(exit::FAILED, "the output is shorter than the resume file says")
        .at(target.shown())
        .because(format!("it has {length} bytes, and {bytes} were written"));
    match target {
        Target::File(_) => failure.hint("remove the resume file and the output, and start again"),
        Target::StandardOutput { .. } | Target::Pipe => {
            failure.hint("append with >> to the file of the first run; a new one needs a new resume file")
        }
    }
}

/// Why nothing can be written.
pub(super) fn unwritable(place: impl std::fmt::Display, error: &io::Error) -> Failure {
    Failure::new(exit::FAILED, "cannot write the items")
        .at(place)
        .because(error)
        .hint("check the file, its folder, and the space left")
}

/// The first byte of U+0080 to U+00BF in UTF-8.
const LEAD: u8 = 0xc2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_no_control_characters_however_the_text_is_cut() {
        let text = "a\u{1b}[2J\tb\r\u{9b}2J\u{80}\u{9f}\u{a0}\u{bf}ü\u{7f}é\u{20ac}\u{1f41b}\n";
        let expected = "a[2J\tb2J\u{a0}\u{bf}üé\u{20ac}\u{1f41b}\n";
        for size in 1..=text.len() {
            let mut filter = Filter::default();
            let shown: Vec<u8> = text.as_bytes().chunks(size).flat_map(|piece| filter.shown(piece)).collect();
            assert_eq!(String::from_utf8(shown).unwrap(), expected, "{size}");
        }
    }
}
