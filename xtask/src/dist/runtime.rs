//! What is linked in that is no crate: Rust's standard library and, in the static program, musl.
//!
//! Their licences are where their files come from: the toolchain has a page with all works that the standard library is
//! made of, and Debian's package of musl the notices of its authors. The version of musl is read from the archive that the
//! toolchain links, which holds it as text.

use std::fs;
use std::path::{Path, PathBuf};

use super::at;
use crate::shell::{self, Failure, command};

/// Something linked in that is no crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Runtime {
    pub(super) name: &'static str,
    pub(super) version: String,
    pub(super) licence: &'static str,
}

/// What a build for this target links in, each with the text of its licences.
pub(super) fn linked_in(target: &str) -> Result<Vec<(Runtime, String)>, Failure> {
    let sysroot = PathBuf::from(shell::stdout(&mut command("rustc", ["--print", "sysroot"]))?.trim());
    let page = sysroot.join("share/doc/rust/COPYRIGHT-library.html");
    let page = fs::read_to_string(&page).map_err(|error| at(&page, &error))?;
    let said = shell::stdout(&mut command("rustc", ["-vV"]))?;
    let version = said.lines().find_map(|line| line.strip_prefix("release: ")).unwrap_or_default().to_owned();
    let std = Runtime { name: "rust-std", version, licence: "MIT OR Apache-2.0" };
    let mut linked = vec![(std, without_tags(&page))];
    if target.ends_with("-musl") {
        let archive = sysroot.join("lib/rustlib").join(target).join("lib/self-contained/libc.a");
        let bytes = fs::read(&archive).map_err(|error| at(&archive, &error))?;
        let version = musl_version(&bytes).ok_or_else(|| Failure::new("libc.a does not say which musl it is", ""))?;
        let text = fs::read_to_string(MUSL).map_err(|error| at(Path::new(MUSL), &error))?;
        linked.push((Runtime { name: "musl", version, licence: "MIT" }, text));
    }
    Ok(linked)
}

/// The text of a page: its tags are dropped, and of several empty lines one stays.
fn without_tags(page: &str) -> String {
    let mut text = String::new();
    for (number, part) in page.split('<').enumerate() {
        text.push_str(if number == 0 { part } else { part.split_once('>').map_or("", |(_, text)| text) });
    }
    for (name, sign) in
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&#39;", "'"), ("&amp;", "&")]
    {
        text = text.replace(name, sign);
    }
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.dedup_by(|line, before| line.is_empty() && before.is_empty());
    lines.join("\n")
}

/// The first text between zeros that is three numbers: `1.2.5`.
fn musl_version(archive: &[u8]) -> Option<String> {
    let is_version = |text: &&[u8]| {
        let numbers: Vec<_> = text.split(|byte| *byte == b'.').collect();
        let is_number = |number: &&[u8]| (1..=3).contains(&number.len()) && number.iter().all(u8::is_ascii_digit);
        numbers.len() == 3 && numbers.iter().all(is_number)
    };
    let found = archive.split(|byte| *byte == 0).find(is_version)?;
    Some(String::from_utf8_lossy(found).into_owned())
}

const MUSL: &str = "/usr/share/doc/musl-dev/copyright";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_text() {
        let page = "<html>\n\n\n<p class=\"x\">Copyright &copy; A &amp; B\n</p><pre>1 &lt; 2</pre></html>";
        assert_eq!(without_tags(page), "\nCopyright &copy; A & B\n1 < 2");
    }

    #[test]
    fn the_version_stands_between_zeros() {
        assert_eq!(musl_version(b"1.2.3.4\0a1.2.3\0\x7f\x001.2.5\0").as_deref(), Some("1.2.5"));
        assert_eq!(musl_version(b"1.2\0"), None);
    }
}
