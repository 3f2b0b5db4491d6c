//! Looks for texts in the memory of another process, and in the files of a folder.
//!
//! Every readable mapping of the process is read through `/proc/PID/mem` while it runs. A text is looked for as it is
//! and with two bytes for each character, which is how JavaScript keeps some strings. The reader must be the process's
//! parent or privileged, which a test that started it is.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Texts to look for.
pub(crate) struct Needles {
    texts: Vec<String>,
    /// Each text in both forms, with the text's index, by the first bytes of the form.
    forms: HashMap<[u8; 8], Vec<(usize, Vec<u8>)>>,
    /// Can a form begin with these two bytes?
    begins: Vec<bool>,
}

impl Needles {
    /// Texts of at least eight characters; shorter ones would be found by accident.
    pub(crate) fn new(texts: impl IntoIterator<Item = String>) -> Self {
        let texts: Vec<String> = texts.into_iter().collect();
        let mut forms: HashMap<[u8; 8], Vec<(usize, Vec<u8>)>> = HashMap::new();
        let mut begins = vec![false; 1 << 16];
        for (index, text) in texts.iter().enumerate() {
            assert!(text.len() >= 8 && text.is_ascii(), "not a text to look for");
            for form in [text.as_bytes().to_vec(), text.bytes().flat_map(|byte| [byte, 0]).collect()] {
                begins[pair(form[0], form[1])] = true;
                let first = *form.first_chunk().unwrap();
                forms.entry(first).or_default().push((index, form));
            }
        }
        Self { texts, forms, begins }
    }

    /// The texts that a running process has in its memory.
    pub(crate) fn in_process(&self, pid: u32) -> BTreeSet<&str> {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
        let mut found = BTreeSet::new();
        let mut chunk = vec![0; CHUNK];
        for (start, end) in maps.lines().filter_map(readable) {
            let mut at = start;
            while at < end {
                let want = usize::try_from(end - at).unwrap().min(CHUNK);
                // A mapping may go away or have no memory behind it; what cannot be read holds nothing.
                let Ok(read) = memory.read_at(&mut chunk[..want], at) else { break };
                if read == 0 {
                    break;
                }
                self.scan(&chunk[..read], &mut found);
                let is_last = at + read as u64 >= end;
                // The next chunk begins a little before the end of this one, for a text that lies across it.
                at += if is_last { read } else { read.saturating_sub(OVERLAP).max(1) } as u64;
            }
        }
        found
    }

    /// The texts that the files below a folder hold.
    pub(crate) fn in_folder(&self, folder: &Path) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => found.extend(self.in_folder(&path)),
                false => self.scan(&std::fs::read(&path).unwrap_or_default(), &mut found),
            }
        }
        found
    }

    fn scan<'a>(&'a self, bytes: &[u8], found: &mut BTreeSet<&'a str>) {
        let mut last = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            if self.begins[pair(last, byte)] && at > 0 {
                let here = &bytes[at - 1..];
                let same = here.first_chunk().and_then(|first: &[u8; 8]| self.forms.get(first));
                let hits = same.into_iter().flatten().filter(|(_, form)| here.starts_with(form));
                found.extend(hits.map(|(index, _)| self.texts[*index].as_str()));
            }
            last = byte;
        }
    }
}

fn pair(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

/// The range of a line of `maps`, if it can be read.
fn readable(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_whitespace();
    let (range, mode) = (words.next()?, words.next()?);
    let (start, end) = range.split_once('-')?;
    let is_special = line.ends_with("[vvar]") || line.ends_with("[vsyscall]");
    let number = |text| u64::from_str_radix(text, 16).ok();
    (mode.starts_with('r') && !is_special).then_some((number(start)?, number(end)?))
}

const CHUNK: usize = 1 << 20;
/// Longer than any text here in its longer form.
const OVERLAP: usize = 4096;

#[test]
fn a_text_in_memory_is_found_in_both_forms() {
    let needles = Needles::new(["a-text-that-is-here".to_owned(), "b-text-that-is-not".to_owned()]);
    let mut found = BTreeSet::new();
    needles.scan(b"..a-text-that-is-here..b-text-that-is-no", &mut found);
    assert_eq!(found.iter().copied().collect::<Vec<_>>(), ["a-text-that-is-here"]);
    let wide: Vec<u8> = "a-text-that-is-here".bytes().flat_map(|byte| [byte, 0]).collect();
    let mut found = BTreeSet::new();
    needles.scan(&wide, &mut found);
    assert_eq!(found.len(), 1);
    assert!(readable("7f00-7f10 ---p 00000000 00:00 0").is_none());
}
