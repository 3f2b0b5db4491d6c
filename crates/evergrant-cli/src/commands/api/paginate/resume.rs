//! The resume file: how far an export is, so that a stopped one goes on and no item is written twice.
//!
//! After each page the output is made durable first and then the file is replaced as a whole. So it never names more than
//! the output holds; what the output holds beyond it belongs to a page that is read again, and is cut off. It holds the
//! place of the next page, which may be an address of the API, and neither a token nor a field of the header; of query and
//! body it holds hashes. It names the request that it belongs to, and serves no other.
//!
//! A file of another kind is left alone. A damaged one is moved aside, because the next run would write over it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use evergrant::pages::Position;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::output::Target;
use crate::exit;
use crate::failure::Failure;

/// What an export is: two that differ in any of this have nothing to do with each other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Export {
    pub(super) method: String,
    /// Without its query.
    pub(super) url: String,
    pub(super) query_sha256: Option<String>,
    pub(super) body_sha256: Option<String>,
    pub(super) client_id: String,
    pub(super) style: Option<String>,
    pub(super) items: Option<String>,
    pub(super) csv: Option<String>,
    pub(super) template: Option<String>,
    pub(super) output: Target,
}

/// How far it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    /// How long the output was after the last whole page.
    pub(super) bytes: u64,
    /// The columns of the header that was written.
    pub(super) columns: Option<Vec<String>>,
    pub(super) position: Position,
}

/// A resume file.
pub(super) struct ResumeFile {
    path: PathBuf,
    export: Export,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    evergrant_resume: u32,
    export: Export,
    progress: Progress,
}

impl ResumeFile {
    /// The file at `path`, and what it says if it is there.
    pub(super) fn open(path: &Path, export: Export) -> Result<(Self, Option<Progress>), Failure> {
        let file = Self { path: path.to_owned(), export };
        let text = match fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => return Err(foreign(path, "it is no regular file")),
            Ok(metadata) if metadata.len() > MAX_BYTES => return Err(foreign(path, "it is too large for one")),
            Ok(_) => fs::read(path).map_err(|error| unusable(path, &error))?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok((file, None)),
            Err(error) => return Err(unusable(path, &error)),
        };
        let progress = file.read(&text)?;
        Ok((file, Some(progress)))
    }

    /// Replaces it by what is true now. The output must be durable before.
    pub(super) fn save(&self, progress: &Progress) -> Result<(), Failure> {
        let written = Written { evergrant_resume: VERSION, export: self.export.clone(), progress: progress.clone() };
        let replaced =
            serde_json::to_vec(&written).map_err(io::Error::other).and_then(|text| replace(&self.path, &text));
        replaced.map_err(|error| {
            Failure::new(exit::FAILED, "cannot write the resume file")
                .at(self.path.display())
                .because(error)
                .hint("check its folder and the space left; the export goes on from the last page that it names")
        })
    }

    /// Removes it, where nothing happened that could be resumed.
    pub(super) fn remove(&self) {
        // One that stays is read by the next run, which finds nothing done in it.
        let _ = fs::remove_file(&self.path);
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn read(&self, text: &[u8]) -> Result<Progress, Failure> {
        if !text.starts_with(MAGIC) {
            return Err(foreign(&self.path, "it does not begin as one"));
        }
        let version: u32 =
            serde_json::from_slice(text).map_or(VERSION, |Version { evergrant_resume }| evergrant_resume);
        if version != VERSION {
            return Err(Failure::new(exit::USAGE, "the resume file is of another version of evergrant")
                .at(self.path.display())
                .because(format!("its version is {version}, this program writes {VERSION}"))
                .hint("go on with the version that wrote it, or start again with another --resume and --output"));
        }
        let written: Written = serde_json::from_slice(text).map_err(|error| self.damaged(&error))?;
        match self.difference(&written.export) {
            None => Ok(written.progress),
            Some((what, was, is)) => Err(Failure::new(exit::USAGE, "the resume file belongs to another export")
                .at(self.path.display())
                .because(format!("its {what} was {was} and is {is}"))
                .hint("repeat the command that began it, or start this one with another --resume and --output")),
        }
    }

    /// The first thing in which this export differs from the one that was begun.
    fn difference(&self, begun: &Export) -> Option<(&'static str, String, String)> {
        let (was, is) = (begun, &self.export);
        let plain = |text: &str| format!("`{text}`");
        let given = |text: &Option<String>| text.as_ref().map_or_else(|| "none".to_owned(), |text| plain(text));
        let hash = |hash: &Option<String>| match hash {
            Some(hash) => format!("one with the hash {}", hash.get(..12).unwrap_or(hash)),
            None => "none".to_owned(),
        };
        let pairs = [
            ("method", plain(&was.method), plain(&is.method)),
            ("URL", plain(&was.url), plain(&is.url)),
            ("query", hash(&was.query_sha256), hash(&is.query_sha256)),
            ("body", hash(&was.body_sha256), hash(&is.body_sha256)),
            ("client id", plain(&was.client_id), plain(&is.client_id)),
            ("--style", given(&was.style), given(&is.style)),
            ("--items", given(&was.items), given(&is.items)),
            ("--csv", given(&was.csv), given(&is.csv)),
            ("--template", given(&was.template), given(&is.template)),
            ("output", was.output.shown(), is.output.shown()),
        ];
        let other_file = || ("output", "one file".to_owned(), "another".to_owned());
        let named = pairs.into_iter().find(|(_, was, is)| was != is);
        named.or_else(|| (was.output != is.output).then(other_file))
    }

    fn damaged(&self, error: &serde_json::Error) -> Failure {
        let failure = Failure::new(exit::FAILED, "the resume file is damaged").at(format!(
            "{}:{}:{}",
            self.path.display(),
            error.line(),
            error.column()
        ));
        let aside = aside(&self.path);
        match fs::rename(&self.path, &aside) {
            Ok(()) => failure
                .because(format!("it was moved to {}", aside.display()))
                .hint("how far the output is cannot be known any more: start again with another --output"),
            Err(error) => failure
                .because(format!("it cannot be moved aside: {error}"))
                .hint("move it away and start again with another --output"),
        }
    }
}

/// Would the resume file at `path`, or what is written beside it, be the output?
pub(super) fn writes_into(path: &Path, output: &Target) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    [path.to_owned(), with_suffix(path, NEW)].iter().any(|own| match output {
        Target::File(output) => {
            place(own) == place(output) || identity(own).is_some_and(|own| identity(output) == Some(own))
        }
        Target::StandardOutput { device, inode } => identity(own) == Some((*device, *inode)),
        Target::Pipe => false,
    })
}

/// Where a file is, or will be.
fn place(path: &Path) -> PathBuf {
    let below_its_folder = |_missing| {
        let name = path.file_name().unwrap_or_default();
        fs::canonicalize(folder(path)).map(|folder| folder.join(name))
    };
    fs::canonicalize(path).or_else(below_its_folder).unwrap_or_else(|_missing| path.to_owned())
}

/// The folder that holds a file.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// Makes the name of a new file durable.
pub(super) fn sync_name(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

/// The hash of a query or body.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Deserialize)]
struct Version {
    evergrant_resume: u32,
}

/// Writes beside the file, and renames: it has its old content or its new one whenever this process ends.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let beside = with_suffix(path, NEW);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text)?;
    file.sync_data()?;
    let is_new = !path.exists();
    fs::rename(&beside, path)?;
    // An older state after a power cut is as good as this one; none at all is not.
    if is_new { sync_name(path) } else { Ok(()) }
}

/// A name beside the file that nothing has.
fn aside(path: &Path) -> PathBuf {
    let named = |number: u32| with_suffix(path, &format!(".damaged-{number}"));
    (1..1_000).map(named).find(|name| !name.exists()).unwrap_or_else(|| named(1_000))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn foreign(path: &Path, cause: &str) -> Failure {
    Failure::new(exit::USAGE, "the file is no resume file of evergrant")
        .at(path.display())
        .because(format!("{cause}; it was left as it is"))
        .hint("name another file with --resume")
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(exit::FAILED, "cannot read the resume file")
        .at(path.display())
        .because(error)
        .hint("check the path and its permissions")
}

/// What is appended to its name while it is written.
const NEW: &str = ".new";
const VERSION: u32 = 1;
const MAGIC: &[u8] = br#"{"evergrant_resume":"#;
/// A next link is a few kilobytes at most.
const MAX_BYTES: u64 = 1 << 20;
