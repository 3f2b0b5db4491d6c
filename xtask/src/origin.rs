//! What is shipped does not tell where it was built.
//!
//! A panic names its place, and a compiler names places as it was given them: the builder's home, the folder of the
//! source, and the host of the registry that the crates came from are then in the program. So rustc is told other names for them,
//! the ones that cargo's own `trim-paths` has, which is not stable yet: `h2-0.4.20/src/...` for a crate, `src/...` for
//! a file of this repository, `rust/...` for the standard library.
//!
//! Limits: C code is compiled by build scripts. That of aws-lc-sys names its files without the folder by itself where it is optimised.
//! Whether all of this held is not assumed: [`must_not_show_in`] looks into the finished program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{self, Failure, command};

/// The folders of this machine that nobody else has to know.
struct Folders {
    /// Where cargo keeps what it downloads.
    cargo: PathBuf,
    toolchain: PathBuf,
    source: PathBuf,
}

impl Folders {
    fn here() -> Result<Self, Failure> {
        let home = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cargo = home("CARGO_HOME").or_else(|| home("HOME").map(|home| home.join(".cargo")));
        let toolchain = shell::stdout(&mut command("rustc", ["--print", "sysroot"]))?;
        Ok(Self {
            cargo: cargo.ok_or_else(|| Failure::new("neither CARGO_HOME nor HOME is set", ""))?,
            toolchain: PathBuf::from(toolchain.trim()),
            source: shell::root(),
        })
    }

    /// What rustc shall say instead; of two that fit it takes the later one.
    fn flags(&self) -> Vec<String> {
        let mut names = vec![
            (self.source.clone(), ""),
            (self.cargo.clone(), "cargo"),
            (self.toolchain.join("lib/rustlib/src/rust"), "rust"),
        ];
        // Each registry has a folder with its host in its name. One that is not there yet is found by the check.
        let registries = fs::read_dir(self.cargo.join("registry/src"));
        names.extend(registries.into_iter().flatten().flatten().map(|registry| (registry.path(), "")));
        names.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect()
    }

    /// The first of them that these bytes name.
    fn named_in(&self, bytes: &[u8]) -> Option<&Path> {
        [&self.cargo, &self.toolchain, &self.source].into_iter().map(PathBuf::as_path).find(|folder| {
            let name = format!("{}/", folder.display());
            bytes.windows(name.len()).any(|place| place == name.as_bytes())
        })
    }
}

/// Hides the folders from what cargo builds, with further flags of rustc.
pub(crate) fn hide_from<'a>(cargo: &'a mut Command, flags: &[String]) -> Result<&'a mut Command, Failure> {
    let all = [Folders::here()?.flags().as_slice(), flags].concat();
    // Flags may have spaces in them.
    Ok(cargo.env("CARGO_ENCODED_RUSTFLAGS", all.join("\x1f")))
}

/// Refuses a program or a library that names one of the folders.
pub(crate) fn must_not_show_in(program: &Path) -> Result<(), Failure> {
    let bytes = fs::read(program).map_err(|error| Failure::new(format!("{}: {error}", program.display()), ""))?;
    match Folders::here()?.named_in(&bytes) {
        None => Ok(()),
        Some(folder) => {
            Err(Failure::new(format!("{} names {}, where it was built", program.display(), folder.display()), ""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_names_the_folder_of_its_source_is_refused() {
        let scratch = std::env::temp_dir().join(format!("evergrant-origin-{}", std::process::id()));
        let source = shell::root();
        for (text, is_refused) in
            [("h2-0.4.20/src/lib.rs", false), (&*format!("x{}/src/lib.rs", source.display()), true)]
        {
            fs::write(&scratch, text).unwrap();
            let checked = must_not_show_in(&scratch);
            fs::remove_file(&scratch).unwrap();
            assert_eq!(checked.is_err(), is_refused, "{text}: {checked:?}");
        }
    }

    #[test]
    fn what_rustc_compiles_with_the_flags_names_none_of_the_folders() {
        let scratch = std::env::temp_dir().join(format!("evergrant-origin-rustc-{}", std::process::id()));
        fs::create_dir_all(&scratch).unwrap();
        let folders = Folders { source: scratch.clone(), ..Folders::here().unwrap() };
        // A panic of ours, and one of the standard library that is compiled into it.
        let text =
            "pub fn ours(a: &[u8]) -> u8 { a[a.len() - 9] }\npub fn theirs(a: &mut Vec<u8>) -> u8 { a.remove(7) }\n";
        let (from, to) = (scratch.join("place.rs"), scratch.join("place.o"));
        fs::write(&from, text).unwrap();
        let compile = |flags: &[String]| {
            let (from, to) = (from.display().to_string(), to.display().to_string());
            let how = ["--crate-type=lib", "--emit=obj", "-Copt-level=1", "-o", &to, &from];
            shell::capture(&mut command("rustc", how.into_iter().chain(flags.iter().map(String::as_str)))).unwrap();
            fs::read(&to).unwrap()
        };
        let (plain, hidden) = (compile(&[]), compile(&folders.flags()));
        fs::remove_dir_all(&scratch).unwrap();
        assert!(folders.named_in(&plain).is_some());
        assert_eq!(folders.named_in(&hidden), None);
    }
}
