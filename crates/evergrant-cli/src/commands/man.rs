//! `evergrant man [DIR]`: the manual, made from the same source as the help texts.

use std::path::Path;

use clap::builder::Resettable;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::args;
use crate::exit;
use crate::failure::Failure;
use crate::render;

/// Prints `evergrant(1)`, or writes one page per command into a folder.
pub(crate) fn run(dir: Option<&Path>) -> Result<u8, Failure> {
    let command = args::command();
    match dir {
        None => render::data(&page(&command, "evergrant"))?,
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(|error| cannot_write(dir, &error))?;
            write_all(dir, &command, "evergrant")?;
        }
    }
    Ok(exit::OK)
}

fn write_all(dir: &Path, command: &clap::Command, name: &str) -> Result<(), Failure> {
    let path = dir.join(format!("{name}.1"));
    std::fs::write(&path, page(command, name)).map_err(|error| cannot_write(&path, &error))?;
    for sub in command.get_subcommands() {
        write_all(dir, sub, &format!("{name}-{}", sub.get_name()))?;
    }
    Ok(())
}

fn page(command: &clap::Command, name: &str) -> Vec<u8> {
    // The exit codes get a section of their own, and the command `help` needs no page.
    let command = command
        .clone()
        .name(name.to_owned())
        .bin_name(name.replace('-', " "))
        .after_long_help(Resettable::Reset)
        .disable_help_subcommand(true);
    let mut page = Vec::new();
    // Writing into memory cannot fail.
    let _ = Man::new(command).render(&mut page);
    let _ = exit_codes().to_writer(&mut page);
    page
}

fn exit_codes() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in exit::TABLE {
        roff.control("TP", []).text([bold(code.to_string())]).text([roman(*meaning)]);
    }
    roff
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(exit::FAILED, "cannot write the manual")
        .at(path.display())
        .because(error)
        .hint("name a folder that you may write to")
}
